"""How a recipe could talk to whoever reads its pipe: run by `test_around_a_cell`, in cells.

The trusted side takes each of these for what it is, within its time and its memory.
"""

from __future__ import annotations

import os
import time

__all__ = ["SAYINGS"]

_FRAME = 256


def too_large(pipe: int) -> None:
    """Announce more than is allowed."""
    os.write(pipe, (1 << 40).to_bytes(8, "little") + bytes(_FRAME - 8))


def nonsense(pipe: int) -> None:
    """Send a frame of what is no message."""
    os.write(pipe, (200).to_bytes(8, "little") + b"\x80\x04" * 124)


def filled(pipe: int) -> None:
    """Say something in the filling."""
    os.write(pipe, (2).to_bytes(8, "little") + b"x" * (_FRAME - 8))


def idle(pipe: int) -> None:
    """Send a frame that carries nothing where a message is due."""
    os.write(pipe, bytes(_FRAME))


def half(pipe: int) -> None:
    """Hang up in the middle."""
    os.write(pipe, (200).to_bytes(8, "little") + b"half")


def silent(pipe: int) -> None:
    """Say nothing, and stay."""
    time.sleep(60)


def hung_up(pipe: int) -> None:
    """Close the pipe, and stay."""
    for number in range(16):
        try:
            os.close(number)
        except OSError:
            continue
    time.sleep(60)


def dribble(pipe: int) -> None:
    """Send a byte now and then, for ever."""
    data = (200).to_bytes(8, "little") + bytes(_FRAME)
    for index in range(10**6):
        os.write(pipe, data[index % len(data) :][:1] if index < 8 else b"\0")
        time.sleep(0.02)


def flood(pipe: int) -> None:
    """Send idle and other frames as fast as they are taken."""
    while True:
        os.write(pipe, bytes(1 << 20))


def deaf(pipe: int) -> None:
    """Never read what it is sent."""
    time.sleep(60)


def early(pipe: int) -> None:
    """Leave at once, as if there was nothing to do."""
    os._exit(0)


SAYINGS = {
    function.__name__.replace("_", "-"): (function.__doc__ or "").rstrip(".")
    for function in (
        too_large, nonsense, filled, idle, half, silent, hung_up, dribble, flood, deaf, early
    )
}  # fmt: skip
