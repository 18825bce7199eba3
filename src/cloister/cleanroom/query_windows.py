"""When which query is worked on, and when its answer leaves: by order of arrival and nothing else.

Time is cut into windows of one tick. A query that came in one window is worked on in the first
later one that no other has, and its answer leaves at the beginning of the next, finished or not.
So the time of an answer says when its query came, and who was before it.

Pure: windows are numbers, and the caller has the clock.

Spec: cleanroom-query-v1, clauses CQ-20 to CQ-22.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Clock", "Windows"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Clock:
    """Windows by a clock that only goes on.

    Attributes:
        start: When window 0 begins.
        tick_s: How long one is.
    """

    start: float
    tick_s: float

    def window(self, now: float) -> int:
        """Return in which window an instant is."""
        return math.floor((now - self.start) / self.tick_s)

    def begins(self, window: int) -> float:
        """Return when a window begins."""
        return self.start + window * self.tick_s


@dataclass(slots=True)
class Windows(Generic[_T]):
    """Queries that wait, at most one for each window."""

    _waiting: deque[tuple[int, _T]] = field(default_factory=deque)
    _last: int = -1

    def put(self, query: _T, *, came: int) -> int:
        """Take a query that came in window `came`; return the window that it gets."""
        window = max(came, self._last) + 1
        self._last = window
        self._waiting.append((window, query))
        return window

    def take(self, window: int) -> list[tuple[int, _T]]:
        """Return what is due in a window: its own query, and those of windows that were missed."""
        due: list[tuple[int, _T]] = []
        while self._waiting and self._waiting[0][0] <= window:
            due.append(self._waiting.popleft())
        return due

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)
