"""Run a function in a forked child with a mount namespace of its own, as a chosen user.

As root, the child sees a /dev/fuse that everybody may open and an interpreter that everybody may
read, which is how a desktop looks to its user; nothing on the machine itself is changed.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloister.confinement import syscalls
from cloister.errors import CloisterError

__all__ = ["ORDINARY_USER", "run_apart", "users"]

ORDINARY_USER = 1000


def users() -> list[int]:
    """Return whom tests can run as: root and an ordinary user, or whoever runs the tests."""
    return [0, ORDINARY_USER] if os.geteuid() == 0 else [os.geteuid()]


def run_apart(
    user_id: int, function: Callable[..., Any], *arguments: Any, fuse: int | None = 0o020666
) -> Any:
    """Return what `function` returned there (as JSON has it); fail with its traceback otherwise.

    A `CloisterError` comes back as a dictionary with its code. `fuse` is the mode of /dev/fuse
    there; None takes the device away.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            _arrange(user_id, fuse)
            report = _outcome(function, arguments)
            with os.fdopen(writer, "w") as stream:
                json.dump(report, stream)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    os.waitpid(pid, 0)
    if not text:
        pytest.fail("the child died without a report")
    report = json.loads(text)
    if "skip" in report:
        pytest.skip(report["skip"])
    if "failure" in report:
        pytest.fail(report["failure"])
    return report["result"]


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[str, Any]:
    try:
        return {"result": function(*arguments)}
    except CloisterError as e:
        if e.code in {
            "machine.namespaces",
            "machine.nftables",
            "machine.fuse",
            "machine.kernel",
        } and not os.environ.get("CLOISTER_TEST_EXPECTS_FAILURE"):
            return {"skip": f"this machine cannot: {e.public}"}
        return {"result": {"code": e.code, "public": e.public, "hint": e.hint}}
    except BaseException:  # noqa: BLE001  # reported to the parent
        return {"failure": traceback.format_exc()}


def _arrange(user_id: int, fuse: int | None) -> None:
    if os.geteuid() != 0:
        return
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    _open_up(Path(sys.base_prefix))
    _replace_devices(fuse)
    if user_id:
        os.setgroups([])
        os.setresgid(user_id, user_id, user_id)
        os.setresuid(user_id, user_id, user_id)
        syscalls.set_dumpable(1)  # as in a program that this user started


def _replace_devices(fuse: int | None) -> None:
    """Show the devices of the machine, with a /dev/fuse of the given mode."""
    syscalls.mount("none", "/mnt", "tmpfs", 0, "mode=0755")
    os.umask(0)
    for name in ("null", "zero", "full", "random", "urandom", "ptmx"):
        Path(f"/mnt/{name}").touch()
        syscalls.mount(f"/dev/{name}", f"/mnt/{name}", None, syscalls.MS_BIND)
    for name in ("pts", "shm"):
        Path(f"/mnt/{name}").mkdir()
        syscalls.mount(f"/dev/{name}", f"/mnt/{name}", None, syscalls.MS_BIND)
    if fuse is not None:
        os.mknod("/mnt/fuse", fuse, os.makedev(10, 229))
    os.umask(0o022)
    syscalls.mount("/mnt", "/dev", None, syscalls.MS_BIND | syscalls.MS_REC)


def _open_up(folder: Path) -> None:
    """Make a folder reachable for everybody where a parent is closed, such as /root."""
    for parent in reversed(folder.parents):
        if not parent.stat().st_mode & 0o001:
            held = os.open(folder, os.O_PATH)
            syscalls.mount("none", str(parent), "tmpfs", 0, "mode=0755")
            folder.mkdir(parents=True)
            source = f"/proc/self/fd/{held}"
            syscalls.mount(source, str(folder), None, syscalls.MS_BIND | syscalls.MS_REC)
            os.close(held)
            return
