"""What the next use finds of the one before: run by `test_around_a_cell`, in cells.

`leave` keeps a canary that came over the pipe in every place that there is. `find` looks for it,
in those places and in the memory of its own process, which began as a copy of the warm parent.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import json
import os
import sys
from pathlib import Path

__all__ = ["find", "leave", "leave_and_find"]

_KEPT: list[object] = []
_STEP = 1 << 20
_PAGE = 4096
_libc = ctypes.CDLL(None, use_errno=True)
_libc.sbrk.restype = ctypes.c_void_p
_libc.memmem.restype = ctypes.c_void_p
_libc.memmem.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)


def leave(pipe: int) -> None:
    """Keep what comes over the pipe wherever it can be kept, and say so."""
    canary = os.read(pipe, 64)
    _put(canary)
    os.write(pipe, b"left")


def find(pipe: int) -> None:
    """Say where the canary is found; it comes masked, so that looking for it leaves no copy."""
    os.write(pipe, json.dumps(_found(os.read(pipe, 64))).encode())


def leave_and_find(pipe: int) -> None:
    """Do both in one cell: the control, which has to find it everywhere."""
    canary = os.read(pipe, 64)
    _put(canary)
    os.write(pipe, b"left")
    os.write(pipe, json.dumps(_found(os.read(pipe, 64))).encode())


def _put(canary: bytes) -> None:
    text = canary.decode("latin-1")
    for name in ("scratch/canary", "scratch/.hidden"):
        Path("/" + name).write_bytes(canary)
    builtins.canary = canary  # type: ignore[attr-defined]  # that is the attempt
    sys.modules["canary"] = type(sys)(text.encode().hex())
    os.environ["CANARY"] = canary.hex()
    _KEPT.append([bytearray(canary) for _ in range(1000)])
    sys.path.append("/scratch")
    with contextlib.suppress(OSError):  # shared memory that no cell has
        Path("/dev/shm/canary").write_bytes(canary)  # noqa: S108  # that is the attempt


def _found(masked: bytes) -> list[str]:
    places = {
        "a file": Path("/scratch/canary").exists() or Path("/scratch/.hidden").exists(),
        "any file": bool(os.listdir("/scratch")),  # noqa: PTH208  # names are enough
        "shared memory": Path("/dev/shm/canary").exists(),  # noqa: S108  # the same
        "a builtin": hasattr(builtins, "canary"),
        "a module": "canary" in sys.modules,
        "the environment": "CANARY" in os.environ,
        "the path": "/scratch" in sys.path,
        "an object": bool(_KEPT),
        "memory": _in_memory(bytes(byte ^ 0xFF for byte in masked)),
    }
    return [name for name, there in places.items() if there]


def _in_memory(canary: bytes) -> bool:
    """Look through the heap, the stack, and what lies around objects, as far as there is memory."""
    needle = ctypes.create_string_buffer(canary, len(canary))
    mine = {ctypes.addressof(needle), id(canary) + bytes.__basicsize__ - 1}
    local = ctypes.c_int()
    starts = {int(_libc.sbrk(0) or 0) - _PAGE, ctypes.addressof(local)}
    starts |= {id(module) for module in [*sys.modules.values()]}
    seen: set[int] = set()
    probe = os.pipe()
    os.set_blocking(probe[1], False)
    for start in starts:
        for direction in (-_PAGE, _PAGE):
            page = start & -_PAGE
            while page not in seen and _is_memory(page, probe):
                seen.add(page)
                page += direction
    return any(_has(page, needle, len(canary), mine) for page in seen)


def _is_memory(page: int, probe: tuple[int, int]) -> bool:
    """Ask the kernel, which refuses to read where there is nothing."""
    if _libc.write(probe[1], ctypes.c_void_p(page), 1) != 1:
        return False
    os.read(probe[0], 1)
    return True


def _has(page: int, needle: object, size: int, mine: set[int]) -> bool:
    at = page
    while found := _libc.memmem(at, page + _PAGE - at, needle, size):
        if found not in mine:
            return True
        at = found + 1
    return False
