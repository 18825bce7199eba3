"""Time, read at a process's edge and passed inwards as a value."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Clock", "Moment", "read_clock"]


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant by two clocks.

    Attributes:
        at: Seconds since the epoch; can jump when somebody sets the clock.
        uptime: Seconds by a clock that never goes back; its zero means nothing. Lifetimes of
            challenges and leases are judged by it.
    """

    at: int
    uptime: float


Clock = Callable[[], Moment]


def read_clock() -> Moment:
    """Read this machine's clocks; for process edges only."""
    return Moment(int(time.time()), time.monotonic())  # noqa: TID251  # the edge
