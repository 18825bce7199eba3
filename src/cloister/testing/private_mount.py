"""Run a command on a mounted file system, inside a mount namespace that nobody else sees.

For tests and benchmarks: the machine's own mount table is never touched, and everything is gone
when the command ends, however it ends. It is also the smallest example of how the pieces of
`cloister.volume.fuse` fit together::

    python -m cloister.testing.private_mount /tmp/empty-directory -- sh -c 'echo hi > file; ls -l'
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from cloister.errors import CloisterError, UnsupportedError
from cloister.testing.file_volume import describe_volume
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.volume.filesystem import Filesystem
from cloister.volume.fuse.mount import open_and_mount, raise_read_ahead
from cloister.volume.fuse.process import VolumeServerProcess
from cloister.volume.fuse.session import SessionOptions

__all__ = ["MountedRun", "enter_private_namespace", "main", "open_memory", "run_mounted"]

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_MS_REC_PRIVATE: Final = 0x4000 | 0x40000
_TIMEOUT_S: Final = 30.0
_READY: Final = b"ready"


@dataclass(frozen=True, slots=True)
class MountedRun:
    """What came of a command: its exit status, the final state, and the store's troubles.

    `failure` is what kept the server from committing at the end; `state` is then empty.
    """

    status: int
    state: bytes
    troubles: tuple[CloisterError, ...]
    failure: CloisterError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    mount_point: Path
    user_namespace: bool
    read_only: bool


def run_mounted(
    command: Sequence[str],
    *,
    mount_point: Path,
    open_filesystem: Callable[[bytes], Filesystem],
    describe: Callable[[Filesystem], bytes],
    config: bytes,
    options: SessionOptions,
    user_namespace: bool,
    read_only: bool,
) -> MountedRun:
    """Serve a file system, and run `command` in it as its working directory.

    Args:
        command: Program and arguments, found on PATH. It sees `CLOISTER_SERVER_PID`.
        mount_point: An existing directory; what is mounted there is seen by the command only.
        open_filesystem: As `VolumeServerProcess.start` has it.
        describe: The same.
        config: Given to `open_filesystem`.
        options: How to serve.
        user_namespace: Mount as root of a new user namespace, as an ordinary user would.
        read_only: Let the kernel refuse changes.

    Raises:
        UnsupportedError: This machine cannot mount or unshare.
        CloisterError: The file system could not be opened or served.
    """
    server = VolumeServerProcess.start(open_filesystem=open_filesystem, describe=describe)
    try:
        server.open(config, timeout_s=_TIMEOUT_S)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        place = _Place(mount_point=mount_point, user_namespace=user_namespace, read_only=read_only)
        pid = os.fork()
        if pid == 0:
            ours.close()
            variables = os.environ | {"CLOISTER_SERVER_PID": str(server.pid)}
            _inside(theirs, command, place, variables)
        theirs.close()
        with ours:
            data, descriptors, _, _ = socket.recv_fds(ours, 4096, 1)
            if not descriptors:
                os.waitpid(pid, 0)
                raise UnsupportedError(data.decode() or "unshare failed", code="machine.fuse")
            raise_read_ahead(data.decode())
            server.serve(descriptors[0], options=options, timeout_s=_TIMEOUT_S)
            os.close(descriptors[0])
            ours.send(_READY)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return _result(server, status)
    finally:
        server.kill()


def _result(server: VolumeServerProcess, status: int) -> MountedRun:
    try:
        state = server.finish(grace_s=_TIMEOUT_S, timeout_s=_TIMEOUT_S)
    except CloisterError as e:
        return MountedRun(status, b"", tuple(server.troubles), e)
    return MountedRun(status, state, tuple(server.troubles), None)


def enter_private_namespace(*, user_namespace: bool) -> None:
    """Leave the machine's mount namespace, so that what is mounted from here on stays private.

    Raises:
        UnsupportedError: Not allowed on this machine.
    """
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | (_CLONE_NEWUSER if user_namespace else 0)):
        raise UnsupportedError(
            f"unshare failed: {os.strerror(ctypes.get_errno())}", code="machine.namespaces"
        )
    if user_namespace:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    if libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None):
        raise UnsupportedError(
            f"private mounts failed: {os.strerror(ctypes.get_errno())}", code="machine.namespaces"
        )


def _inside(
    channel: socket.socket, command: Sequence[str], place: _Place, variables: dict[str, str]
) -> NoReturn:
    """Mount, hand the device out, wait until it is served, become the command."""
    try:
        enter_private_namespace(user_namespace=place.user_namespace)
        mounted = open_and_mount(place.mount_point, name="cloister-test", read_only=place.read_only)
        socket.send_fds(channel, [mounted.device.encode()], [mounted.descriptor])
        os.close(mounted.descriptor)
        if channel.recv(16) == _READY:
            os.chdir(place.mount_point)
            os.execvpe(command[0], list(command), variables)  # noqa: S606 a test's own command
    except UnsupportedError as e:
        channel.send(str(e).encode())
    except BaseException:  # noqa: BLE001 the outermost frame of this process
        traceback.print_exc()
    finally:
        os._exit(70)


def open_memory(config: bytes) -> Filesystem:
    """Make a `MemoryFilesystem`; `config` is its capacity in bytes in decimal, or empty."""
    return MemoryFilesystem(clock=time.time_ns, capacity=int(config or 1 << 40))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command on a mount; return its exit status."""
    parser = argparse.ArgumentParser(prog="cloister.testing.private_mount")
    parser.add_argument("mount_point", type=Path)
    parser.add_argument("--user-namespace", action="store_true")
    parser.add_argument("--no-writeback", action="store_true")
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--owner", type=int, help="user and group shown for every file")
    parser.add_argument("--filesystem", default="cloister.testing.private_mount:open_memory")
    parser.add_argument("--config", default="")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args(arguments)
    module, _, name = chosen.filesystem.partition(":")
    run = run_mounted(
        chosen.command,
        mount_point=chosen.mount_point,
        open_filesystem=getattr(importlib.import_module(module), name),
        describe=describe_volume,
        config=chosen.config.encode(),
        options=SessionOptions(
            writeback=not chosen.no_writeback,
            owner=None if chosen.owner is None else (chosen.owner, chosen.owner),
        ),
        user_namespace=chosen.user_namespace,
        read_only=chosen.read_only,
    )
    for trouble in run.troubles:
        sys.stderr.write(f"trouble: {trouble}\n")
    if run.failure is not None:
        sys.stderr.write(f"failure: {run.failure}\n")
    return run.status


if __name__ == "__main__":
    sys.exit(main())
