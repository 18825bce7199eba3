"""Workloads that spend, in runs from end to end: what was spent outlives them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from cloister.keyservice.embedded import ensure_service, running_service
from cloister.launcher.receipt import verify_run_receipt
from integration.apart import run_apart, users
from integration.launcher.launchbench import LaunchBench

pytestmark = pytest.mark.fuse

_PYTHON = ("/usr/bin/python3", "/code/main.py")
needs_python = pytest.mark.skipif(
    not Path(_PYTHON[0]).exists(), reason="needs the distribution's python3"
)

# Written from MEM-90 and MEM-91 alone, for an interpreter that has nothing of ours.
_SPENDER = """
import json, os, socket

def text(value):
    head = bytes([0x60 + len(value)]) if len(value) < 24 else bytes([0x78, len(value)])
    return head + value.encode()

def question(budget, principal, amount):
    body = b"\\xa4" + text("amount") + bytes([amount]) + text("budget") + text(budget)
    body += text("version") + b"\\x01" + text("principal") + text(principal)
    return len(body).to_bytes(2, "big") + body + bytes(510 - len(body))

def item(data, at):
    kind, size = data[at] >> 5, data[at] & 31
    at += 1
    if size >= 24:
        more = 1 << (size - 24)
        size, at = int.from_bytes(data[at:at + more], "big"), at + more
    if kind == 3:
        return data[at:at + size].decode(), at + size
    return size, at

def ask(desk, frame):
    desk.sendall(frame)
    found = b""
    while len(found) < 512:
        found += desk.recv(512 - len(found))
    at, answer = 3, {}
    for _ in range(found[2] & 31):
        name, at = item(found, at)
        answer[name], at = item(found, at)
    return answer["code"] or answer["left"]

names = os.environ.get("LISTEN_FDNAMES", "").split(":")
said = [names]
if "desk" in names:
    desk = socket.socket(fileno=3 + names.index("desk"))
    said.append(desk.family == socket.AF_UNIX)
    for wanted in (("queries", "alice", 2), ("queries", "alice", 1), ("queries", "eve", 1),
                   ("other", "alice", 1), ("open", "eve", 1)):
        said.append(ask(desk, question(*wanted)))
    said.append(ask(desk, bytes([255]) * 512))
print(json.dumps(said))
"""

_BUDGETS = """budgets:
  queries: {limit: 4, principals: [alice, bob], roles: [main]}
  open: {limit: 100, principals: any, roles: [main]}
"""


def _with_budgets(text: str) -> str:
    """Let `main` spend and have a network; `other` is the same program and may do neither."""
    first = text.index("workloads:\n") + len("workloads:\n")
    block = text[first:]
    other = block.replace("main:", "other:", 1)
    shielded = block.rstrip("\n") + (
        "\n    instances: {maximum: 1}\n    connections: {main: [7000]}\n"
    )
    return text[:first] + shielded + other + _BUDGETS


def _run(bench: LaunchBench, **changes: Any) -> dict[str, Any]:
    """Run; return what the program said, and what the receipt says of spending."""
    bench.output["stdout"] = b""
    outcome = bench.run(**changes)
    receipt = verify_run_receipt(
        (bench.folder / "receipt.json").read_bytes(),
        ca=bench.domain.ca,
        service=bench.domain.identity,
        origin=bench.domain.origin,
    )
    return {
        "status": outcome.status,
        "said": json.loads(bench.output["stdout"]),
        "spent": receipt.body.get("spent"),
    }


def _kill_the_key_service(bench: LaunchBench) -> None:
    """End it at once, and start another over what it left on the disk."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(bench.url.removeprefix("unix://"))
        peer = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", peer)
    os.kill(pid, signal.SIGKILL)
    while running_service(bench.domain) is not None:
        time.sleep(0.01)
    assert ensure_service(bench.domain, deadline_s=20) == bench.url


def _inside() -> Any:
    folder = Path(tempfile.mkdtemp(prefix="cloister-budgets-"))
    try:
        bench = LaunchBench.create(folder).prepare(
            _SPENDER, command=_PYTHON, listen=True, edit=_with_budgets
        )
        shielded = {"index": 0, "redirected": False}
        found = [_run(bench, **shielded)]
        _kill_the_key_service(bench)
        found += [_run(bench, **shielded), _run(bench, workload="other")]
        (job,) = bench.owner.jobs()
        budgets = bench.owner.client.budgets(job.namespace, job.name, of="queries")
        counted = {
            budget.name: [budget.total, {each.principal: each.amount for each in budget.spent}]
            for budget in budgets
        }
        return {"runs": found, "counted": counted}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@needs_python
@pytest.mark.spec("MEM-76", "MEM-90", "MEM-91", "MEM-92", "RR-8", "POL-87")
def test_a_run_goes_on_where_the_one_before_it_was() -> None:
    """Also where the key service was killed in between; another role has no desk."""
    found = run_apart(users()[0], _inside)
    assert "runs" in found, found
    first, second, other = found["runs"]
    assert first["status"] == second["status"] == other["status"] == 0
    assert first["said"][:4] == [["api", "desk"], True, 2, 1]
    assert second["said"][:4] == [["api", "desk"], True, "budget.spent", 0]
    refused = ["budget.principal", "budget.unknown"]
    assert first["said"][4:] == [*refused, 99, "message.malformed"]
    assert second["said"][4:] == [*refused, 98, "message.malformed"]
    assert other["said"] == [["api"]]
    assert [run["spent"] for run in found["runs"]] == [
        {"queries": 3, "open": 1},
        {"queries": 1, "open": 1},
        None,
    ]
    assert found["counted"] == {"open": [2, {}], "queries": [4, {"alice": 4}]}
