"""Run the tasks of a cluster under the network shield, as `run_native` runs them without one.

Everything happens in namespaces of its own: what crosses between relays goes over a loopback that
nobody else uses, so all of it can be recorded and looked at.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest

from cloister.cli.demo.capture import Capture, Stream
from cloister.launcher.rendezvous import Cluster, ClusterRole
from integration.cli.desk import Desk
from integration.distributed.native import FinishedTask, NativeRun

__all__ = ["run_shielded"]

_ROOT: Final = Path(__file__).parents[3]
_HERE: Final = (str(_ROOT / "src"), str(_ROOT / "tests"))
_ROLE: Final = re.compile(r"(?ms)^workloads:\n  task:\n(.*)\Z")


def run_shielded(
    cluster: Cluster,
    command: Sequence[str],
    code: Path,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    forever: Sequence[str] = (),
    seconds: float = 180,
    lifetime_s: int | None = None,
    capture: bool = False,
) -> NativeRun:
    """Run `command` for each task by `cloister cluster run`.

    Args:
        cluster: Who takes part; names and addresses follow from the policy.
        command: Beside the interpreter; what lies in `code` is in /code.
        code: A folder with the program.
        folder: Where everything lies.
        environment: Further variables of the policy.
        forever: Roles that serve until all others have ended.
        seconds: The deadline of the job.
        lifetime_s: How long certificates last; None is what a draft says.
        capture: Whether to record what crosses.
    """
    if os.geteuid() != 0:
        pytest.skip("records what crosses a network namespace: needs root")
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode:
        pytest.skip("network namespaces are not allowed here")
    folder.mkdir(exist_ok=True)
    order = {
        "cluster": asdict(cluster),
        "command": list(command),
        "code": str(code),
        "folder": str(folder),
        "environment": dict(environment or {}),
        "forever": list(forever),
        "seconds": seconds,
        "lifetime": [] if lifetime_s is None else ["--lifetime", str(lifetime_s)],
        "capture": capture,
    }
    done = subprocess.run(
        ["unshare", "--net", sys.executable, __file__],
        input=json.dumps(order),
        text=True,
        capture_output=True,
        timeout=seconds + 120,
        check=False,
        env={**os.environ, "PYTHONPATH": ":".join(_HERE)},
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return NativeRun(
        {name: FinishedTask(name, **task) for name, task in json.loads(done.stdout).items()},
        tuple(
            Stream(int(file.suffixes[0][1:]), int(file.suffixes[1][1:]), {0: file.read_bytes()})
            for file in sorted(folder.glob("stream*"))
        ),
    )


def policy_text(drafted: str, cluster: Cluster, environment: Mapping[str, str]) -> str:
    """Return a policy in which each role of the cluster is what `task` is in a draft."""
    found = _ROLE.search(drafted)
    assert found is not None
    body = found.group(1)
    variables = ", ".join(f"{name}: {json.dumps(value)}" for name, value in environment.items())
    body = body.replace("environment: {}", f"environment: {{{variables}}}")
    names = [role.name for role in cluster.roles]
    peers = ", ".join(f"{name}: any" for name in names)
    roles = "".join(
        f"  {role.name}:\n"
        + body.replace(
            "    output:",
            f"    instances: {{maximum: {len(role.hosts)}, restarts: 0}}\n"
            f"    connections: {{{peers}}}\n    output:",
        )
        for role in cluster.roles
    )
    told = (
        f"cluster: {{framework: {cluster.framework}, roles: [{', '.join(names)}], "
        f"port: {cluster.port}}}\n"
    )
    return f"{drafted[: found.start()]}{told}workloads:\n{roles}"


def _is_report(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _run_inside(order: dict[str, Any]) -> dict[str, dict[str, Any]]:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    folder = Path(order["folder"])
    roles = tuple(
        ClusterRole(role["name"], tuple(role["hosts"])) for role in order["cluster"]["roles"]
    )
    cluster = Cluster(order["cluster"]["framework"], roles, order["cluster"]["port"])
    desk = Desk(folder)
    shutil.copytree(order["code"], folder / "code")
    desk.run("init", ".cloister", "--name", "example.org").good()
    try:
        desk.run(
            "policy", "draft", "--name", "job", "--workload", "task", "--code", "code",
            "--command", " ".join(["python", *order["command"]]), "--output", "drafted.yaml",
            *order["lifetime"],
        ).good()  # fmt: skip
        drafted = (folder / "drafted.yaml").read_text()
        text = policy_text(drafted, cluster, order["environment"])
        (folder / "policy.yaml").write_text(text)
        desk.run("policy", "apply", "policy.yaml").good()
        tap = Capture() if order["capture"] else None
        until = [
            word
            for role in roles
            if order["forever"] and role.name not in order["forever"]
            for word in ("--until", role.name)
        ]
        ran = desk.run(
            "cluster", "run", "policy.yaml", "--code", "code", "--job", "job",
            "--deadline", str(int(order["seconds"])), *until, timeout_s=order["seconds"] + 60,
        )  # fmt: skip
        if tap is not None:
            assert tap.stop() == 0, "the capture lost frames"
            for number, stream in enumerate(tap.streams()):
                name = f"stream{number}.{stream.source_port}.{stream.target_port}"
                (folder / name).write_bytes(stream.content())
    finally:
        desk.stop_service()
    found = {}
    for role, index in cluster.tasks():
        name = f"{role}-{index}"
        lines = [line for line in ran.stdout.splitlines() if line.startswith(f"[{name}] ")]
        said = [line for line in ran.stderr.splitlines() if line.startswith(f"[{name}] ")]
        texts = [line.partition("] ")[2] for line in [*said, *lines]]
        # Output and errors share one stream: what a program reports comes last, as it does alone.
        texts.sort(key=_is_report)
        found[name] = {
            "status": ran.status,
            "output": "".join(f"{text}\n" for text in texts),
            "errors": ran.stdout[-3000:] + ran.stderr[-3000:],
        }
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_run_inside(json.load(sys.stdin))))
