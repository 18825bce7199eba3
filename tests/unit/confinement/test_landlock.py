"""Landlock rulesets: their bytes, what a version lacks, and that they hold without namespaces."""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from cloister.confinement import landlock, syscalls
from cloister.confinement.landlock import Grant


def _confined(grants: list[Grant], attempt: Callable[[], object]) -> str:
    """Return what an attempt failed with in a child under a ruleset; empty where it worked."""
    abi = landlock.version()
    if abi < max(landlock.LANDLOCK_LAYERS.values()):
        pytest.skip(f"this kernel's Landlock is of version {abi}")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.forbid_new_privileges()
            landlock.apply_ruleset(grants, abi)
            attempt()
        except OSError as e:
            os.write(writer, type(e).__name__.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        found = stream.read().decode()
    os.waitpid(pid, 0)
    return found


@pytest.mark.parametrize(
    ("abi", "size", "first"),
    [(1, 8, 0x1FFF), (2, 8, 0x3FFF), (3, 8, 0x7FFF), (4, 16, 0x7FFF), (5, 16, 0xFFFF)],
)
@pytest.mark.spec("CELL-22")
def test_a_ruleset_handles_all_that_a_version_knows(abi: int, size: int, first: int) -> None:
    """Every right of files, and of the network and other processes where it can."""
    attributes = landlock.ruleset_attributes(abi)
    assert len(attributes) == size
    assert struct.unpack_from("=Q", attributes) == (first,)
    assert landlock.ruleset_attributes(9) == struct.pack("=QQQ", 0xFFFF, 3, 3)


@pytest.mark.spec("CELL-40")
def test_what_a_version_lacks_has_names() -> None:
    """The layers that are missing are told by name, the oldest kernel's all of them."""
    assert landlock.lacking(0) == tuple(landlock.LANDLOCK_LAYERS)
    assert landlock.lacking(4) == ("landlock-devices", "landlock-scopes")
    assert landlock.lacking(7) == ()


@pytest.mark.spec("CELL-22")
def test_files_outside_cannot_be_read_or_written(tmp_path: Path) -> None:
    """Without any namespace, only what is granted works, and reading is not writing."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "a").write_text("a")
    (outside / "b").write_text("b")
    grants = [Grant(str(inside))]
    assert _confined(grants, (inside / "a").read_text) == ""
    assert _confined(grants, (outside / "b").read_text) == "PermissionError"
    assert _confined(grants, lambda: (inside / "a").write_text("c")) == "PermissionError"
    assert _confined(grants, lambda: list(outside.iterdir())) == "PermissionError"
    assert (inside / "a").read_text() == "a"


@pytest.mark.spec("CELL-22")
def test_what_may_be_written_cannot_hold_devices_or_sockets(tmp_path: Path) -> None:
    """A scratch takes files and folders, and nothing that is executed or connected to."""
    grants = [Grant(str(tmp_path), writable=True)]
    assert _confined(grants, lambda: (tmp_path / "file").write_text("x")) == ""
    assert _confined(grants, lambda: os.mkfifo(tmp_path / "fifo")) == "PermissionError"

    def bind() -> None:
        with socket.socket(socket.AF_UNIX) as local:
            local.bind(str(tmp_path / "socket"))

    assert _confined(grants, bind) == "PermissionError"
    readable = [Grant("/usr"), *(Grant(path) for path in ("/bin", "/lib") if Path(path).exists())]
    execute = "PermissionError"
    assert _confined(readable, lambda: os.execv("/bin/true", ["true"])) == execute  # noqa: S606  # that is the attempt


@pytest.mark.spec("CELL-22")
def test_nobody_else_can_be_signalled_or_reached() -> None:
    """No signal to a process outside, no connection to a port or an abstract socket."""
    assert _confined([], lambda: os.kill(os.getppid(), signal.SIGCONT)) == "PermissionError"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        found = _confined([], lambda: socket.create_connection(address, 2))
    assert found == "PermissionError"
    with socket.socket(socket.AF_UNIX) as server:
        name = f"\0cloister-landlock-{os.getpid()}"
        server.bind(name)
        server.listen()

        def connect() -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(name)

        assert _confined([], connect) == "PermissionError"
