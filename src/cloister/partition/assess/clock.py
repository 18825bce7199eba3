"""The time that an attack has: a monotonic clock, which decides how much is tried."""

from __future__ import annotations

import time

__all__ = ["Deadline"]


class Deadline:
    """So many seconds from now."""

    def __init__(self, seconds: float) -> None:
        """Start counting."""
        self._start = time.monotonic()
        self._seconds = seconds

    @property
    def over(self) -> bool:
        """Whether they have passed."""
        return self.left <= 0

    @property
    def left(self) -> float:
        """Seconds that are left; negative when over."""
        return self._seconds - (time.monotonic() - self._start)
