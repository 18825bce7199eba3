"""Cells that a confined workload makes: as confined as those made outside, and where allowed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import cloister
from cloister.confinement import Bind, Command, Sandbox, SandboxSpec
from integration.apart import run_apart, users

everybody = pytest.mark.parametrize("user_id", users())

_BASE = str(Path(sys.base_prefix).resolve())
_SOURCES = str(Path(cloister.__file__).resolve().parent.parent)
_VISIBLE = {_BASE, sys.prefix, _SOURCES}
_PROBE = """
import json, os, socket
def main(pipe):
    def fails(attempt):
        try:
            return str(attempt())
        except BaseException as e:
            return type(e).__name__
    found = {
        "ids": [os.getpid(), os.getppid()],
        "host": os.uname().nodename,
        "environment": dict(os.environ),
        "tree": [name for name in ("/code", "/run", "/.cells", "/proc/1") if os.path.exists(name)],
        "secret": fails(lambda: open("/run/secret").read()),
        "written": open("/scratch/a", "w").write("abc"),
        "outside": fails(lambda: open("/usr/lib/a", "w")),
        "socket": fails(socket.socket),
        "fork": fails(os.fork),
        "memory": fails(lambda: len(bytearray(1 << 30))),
    }
    os.write(pipe, json.dumps(found).encode())
"""
_MAKER = """
import json, os, sys
from cloister.confinement.cell import CellSpec, Warm
from cloister.errors import CloisterError
spec = CellSpec(memory_bytes=1 << 28, scratch_bytes=1 << 20, processor_s=9, tasks=8)
os.makedirs("/run/x"); open("/run/secret", "w").write("s")
try:
    with Warm(spec) as warm:
        warm.start()
        for _ in range(2):
            with warm.fork({"probe.py": sys.argv[1].encode()}, "probe:main") as cell:
                print(os.read(cell.fileno(), 9999).decode())
                assert cell.wait(9).status == 0
        print(json.dumps(sorted(warm.missing)))
except CloisterError as e:
    print(json.dumps(e.code))
"""


def _workload(code: str, *arguments: str, cells: bool) -> list[Any]:
    """Run a program of Python in a sandbox; return what each of its lines says."""
    reader, writer = os.pipe()
    binds = tuple(Bind(str(Path(path).resolve()), path) for path in sorted(_VISIBLE))
    with Sandbox(SandboxSpec(binds=binds, cells=cells)) as sandbox:
        sandbox.start()
        command = Command((sys.executable, "-c", code, *arguments), {"PYTHONPATH": _SOURCES}, "/")
        sandbox.go(command, stdout=writer, stderr=2, listeners={})
        os.close(writer)
        with os.fdopen(reader) as stream:
            lines = stream.read().splitlines()
        ended = sandbox.wait(timeout_s=30)
    assert ended is not None
    assert ended.status == 0, lines
    return [json.loads(line) for line in lines]


@everybody
@pytest.mark.spec("CELL-60")
def test_a_workload_makes_cells_as_confined_as_outside(user_id: int) -> None:
    """The same layers, none missing, and nothing of the workload's own tree."""
    if user_id and os.geteuid() == 0 and not os.access(_SOURCES, os.R_OK):
        pytest.skip("this user cannot read the sources")
    *found, missing = run_apart(user_id, _workload_with_cells)
    assert missing == []
    assert found[0] == found[1]
    assert found[0] == {
        "ids": [1, 0],
        "host": "cell",
        "environment": {},
        "tree": [],
        "secret": "FileNotFoundError",
        "written": 3,
        "outside": "OSError",
        "socket": "PermissionError",
        "fork": "PermissionError",
        "memory": "MemoryError",
    }


def _workload_with_cells() -> list[Any]:
    return _workload(_MAKER, _PROBE, cells=True)


@everybody
@pytest.mark.spec("CELL-61")
def test_a_workload_that_may_not_makes_none(user_id: int) -> None:
    """Without the policy's word there is no namespace to make a cell with."""
    (code,) = run_apart(user_id, _workload_without_cells)
    assert code == "machine.namespaces"


def _workload_without_cells() -> list[Any]:
    return _workload(_MAKER, _PROBE, cells=False)


_REACH = """
import ctypes, json, os
libc = ctypes.CDLL(None, use_errno=True)
def tried(call, *arguments):
    return ctypes.get_errno() if call(*arguments) < 0 else 0
def written(path):
    try:
        os.close(os.open(path, os.O_WRONLY))
        return True
    except OSError:
        return False
lines = open("/proc/self/status").read().splitlines()
status = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
print(json.dumps({
    "effective": int(status["CapEff"], 16),
    "bounding": int(status["CapBnd"], 16),
    "mounts here": tried(libc.mount, b"x", b"/tmp", b"tmpfs", 0, None),
    "umounts": tried(libc.umount2, b"/proc", 2),
    "own network": tried(libc.unshare, 0x40000000),
    "switches": written("/proc/sys/kernel/hostname") or os.path.exists("/.cells/sys"),
    "others": sorted(name for name in os.listdir("/.cells") if not name.isdigit()),
}))
"""


@everybody
@pytest.mark.spec("CELL-61")
def test_what_cells_take_reaches_nothing_of_the_workloads_own(user_id: int) -> None:
    """No mount, no switch and no namespace but below a new user namespace."""
    (found,) = run_apart(user_id, _reach)
    mapping = 1 << 6 | 1 << 7 | 1 << 31  # SETGID, SETUID, SETFCAP
    assert found["effective"] in ({mapping} if user_id == 0 else {0})
    assert found["bounding"] == found["effective"]
    refused = {1}  # EPERM
    assert {found["mounts here"], found["umounts"], found["own network"]} == refused
    assert found["switches"] is False
    assert found["others"] == ["self", "thread-self"]


def _reach() -> list[Any]:
    return _workload(_REACH, cells=True)
