"""The control: the same attempts outside of a cell, where each has to succeed.

A program that reads one order a line and answers with one line: it forks for each, into namespaces
of its own where the table asks for them. So that nothing on the machine changes, an attempt finds
copies in a fresh folder in the place of what a cell must not touch.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from escape.inside import AREAS, perform

_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
_NEW_USERS = 0x10000000
_PRIVATE = 0x4000 | 0x40000
_LIMIT_S = 60
_MEMORY_BYTES = 64 << 20


def main() -> None:
    """Answer orders until there are no more."""
    for area in AREAS:
        importlib.import_module(f"escape.{area}")
    null = os.open(os.devnull, os.O_RDWR)
    for line in sys.stdin:
        order = json.loads(line)
        sys.stdout.write(json.dumps(_attempted(order, null)) + "\n")
        sys.stdout.flush()


def _attempted(order: dict[str, Any], null: int) -> dict[str, str]:
    """Perform one attempt in a child, and say how the child ended if it says nothing."""
    reader, writer = os.pipe()
    folder = tempfile.mkdtemp(dir=order["folder"])
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            signal.alarm(_LIMIT_S)
            os.dup2(null, 1)  # some become other programs, which talk
            os.setpgid(0, 0)
            if order["apart"]:
                _go_apart()
            (outcome,) = perform([order["name"]], _place(order["place"], folder))
            os.write(writer, json.dumps(outcome).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    shutil.rmtree(folder, ignore_errors=True)
    if text:
        outcome = json.loads(text)
        return {str(key): str(value) for key, value in outcome.items()}
    if os.WIFSIGNALED(status):
        return {"denied": signal.Signals(os.WTERMSIG(status)).name}
    return {"through": "it became another program"}


def _go_apart() -> None:
    """Enter namespaces of every kind but users, and be a child in them."""
    libc = ctypes.CDLL(None, use_errno=True)
    user = os.geteuid()
    flags = _NAMESPACES | (0 if user == 0 else _NEW_USERS)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if user:
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", "utf-8")
    if libc.mount(b"none", b"/", None, _PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            os.kill(os.getpid(), os.WTERMSIG(status))
        os._exit(0)


def _place(place: dict[str, Any], folder: str) -> dict[str, Any]:
    """Put copies and stand-ins where a cell has the runtime, its code, its pipe and its scratch."""
    ours, theirs = socket.socketpair()
    theirs.send(b"said before")
    places = Path(folder)
    copies = [str(places / name) for name in ("runtime.py", "code.py")]
    for copy in copies:
        shutil.copyfile(os.__file__, copy)
    (places / ".host").mkdir()
    (places / "scratch").mkdir()
    (places / "null").touch()
    return {
        **place,
        "folder": str(places / "scratch"),
        "read_only": copies,
        "root": folder,
        "null": str(places / "null"),
        "memory_bytes": _MEMORY_BYTES,
        "pipe": ours.detach(),
        "peer": theirs.detach(),
    }


if __name__ == "__main__":
    main()
