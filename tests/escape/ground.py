"""What attempts aim at: a trusted process with a secret, services, and cells to try from."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cloister.confinement.cell import CellSpec, Warm
from cloister.confinement.cell_filter import ALLOWED, MACHINES, NARROWED
from escape.table import APART, PROBES, Place

__all__ = ["SPEC", "Control", "Ground", "cell_files", "prepare", "tried_in_one_cell", "try_in_cell"]

SPEC: Final = CellSpec(memory_bytes=1 << 28, scratch_bytes=1 << 20, processor_s=60, tasks=8)
_CANARY: Final = "canary-of-the-trusted-side-5f0c"
_FOLDER: Final = Path(__file__).parent
_SIGNALLED: Final = 128


@dataclass(frozen=True)
class Ground:
    """What is there, and the `Place` that a cell is told."""

    place: Place
    folder: Path


@contextlib.contextmanager
def prepare(folder: Path) -> Iterator[Ground]:
    """Make a secret, in a file, in memory and in a SysV segment, and services to be reached."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    trusted = folder / "volumes"
    trusted.mkdir()
    (trusted / "secret").write_text(_CANARY, "utf-8")
    held = ctypes.create_string_buffer(_CANARY.encode())
    with contextlib.ExitStack() as stack:
        segment = libc.shmget(0, 4096, 0o1666)
        stack.callback(libc.shmctl, segment, 0, None)
        ctypes.memmove(libc.shmat(segment, None, 0), held, len(held))
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        name = f"cloister-escape-{os.getpid()}"
        path = str(folder / "service")
        for address in ("\0" + name, path):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen()
        column = MACHINES.get(platform.machine(), ("", 0))[1]
        listed = [table[column] for group in (ALLOWED, NARROWED) for table in group.values()]
        yield Ground(
            Place(
                secret=str(trusted / "secret"),
                canary=_CANARY,
                folder="/scratch",
                scratch_bytes=SPEC.scratch_bytes,
                inodes=600,
                read_only=(os.__file__, "/cell/escape/table.py"),
                root="",
                null="/dev/null",
                memory_bytes=SPEC.memory_bytes + (2 << 30),
                tasks=64,
                pipe=3,
                trusted=os.getpid(),
                address=ctypes.addressof(held),
                tcp=tcp.getsockname()[1],
                abstract=name,
                path=path,
                shm=segment,
                listed=tuple(number for number in listed if number is not None),
                peer=-1,
            ),
            folder,
        )


def cell_files(names: list[str]) -> dict[str, bytes]:
    """Return these attempts as a recipe's files."""
    areas = {PROBES[name].run.__module__.rpartition(".")[2] for name in names}
    names = ["inside", "table", *areas]
    return {f"escape/{name}.py": (_FOLDER / f"{name}.py").read_bytes() for name in names}


def try_in_cell(warm: Warm, name: str, place: Place) -> dict[str, str]:
    """Try one thing in a fresh cell; say how it was denied, or what came through."""
    text, status = _run(warm, [name], place, "")
    if text:
        outcomes: list[dict[str, str]] = json.loads(text)
        return outcomes[0]
    if status > _SIGNALLED:
        return {"denied": signal.Signals(status - _SIGNALLED).name}
    return {"mistake": f"the cell said nothing, and ended with {status}"}


def tried_in_one_cell(
    warm: Warm, names: list[str], place: Place, before: str = ""
) -> dict[str, dict[str, str]]:
    """Try several things, one after another, in one cell, after some lines of Python.

    What is returned is empty where the cell ended before it had said anything.
    """
    text, _ = _run(warm, names, place, before)
    if not text:
        return {}
    return dict(zip(names, json.loads(text), strict=True))


def _run(warm: Warm, names: list[str], place: Place, before: str) -> tuple[bytes, int]:
    order = {"names": names, "place": asdict(place), "before": before}
    files = {**cell_files(names), "order.json": json.dumps(order).encode()}
    with warm.fork(files, "escape.inside:main") as cell:
        text = b""
        while data := os.read(cell.fileno(), 1 << 16):
            text += data
        return text, cell.wait(60).status


class Control:
    """The program that tries the same outside."""

    def __init__(self, ground: Ground) -> None:
        """Start it; it sees the standard library and the attempts, and not this process."""
        self._ground = ground
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-B", "-m", "escape.outside"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(_FOLDER.parent), "PATH": os.defpath},
            text=True,
            start_new_session=True,
        )

    def attempt(self, name: str) -> dict[str, str]:
        """Return what came of one attempt outside of a cell."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        order: dict[str, Any] = {
            "name": name,
            "apart": PROBES[name].control == APART,
            "place": asdict(self._ground.place),
            "folder": str(self._ground.folder),
        }
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        found: dict[str, str] = json.loads(stdout.readline())
        return found

    def close(self) -> None:
        """Let it end."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(30)
