"""Time that never goes back: neither with the machine's clock, nor in a restart, nor elsewhere.

Invariants:
    1. Within one process it never goes back, and goes on as the uptime clock does.
    2. It is never before a time that the state remembers; what is decided for good by time, such
       as forgetting a spent nonce, is remembered with it in the same transaction.
"""

from __future__ import annotations

import math
from typing import Final

from cloister.errors import TamperedError
from cloister.keyservice.clock import Moment
from cloister.keyservice.store import Store

__all__ = ["StateTime", "time_from_row", "time_to_row"]

_TABLE: Final = "time"
_SEEN: Final = b"seen"
_BYTES: Final = 8


def time_to_row(at: int) -> bytes:
    """Return a time's bytes in the state."""
    return at.to_bytes(_BYTES, "big")


def time_from_row(data: bytes) -> int:
    """Read a time from the state.

    Raises:
        TamperedError: It is none (`state.tampered`).
    """
    if len(data) != _BYTES:
        raise TamperedError("a time in the key service's state is none", code="state.tampered")
    return int.from_bytes(data, "big")


class StateTime:
    """The time by which a state's challenges and shared leases live and end, in whole seconds."""

    def __init__(self, store: Store) -> None:
        """Start from what the state remembers."""
        self._store = store
        self._ahead = -math.inf
        self._now = 0

    @property
    def now(self) -> int:
        """What was read last."""
        return self._now

    def read(self, moment: Moment) -> int:
        """Return the time: the machine's, unless that has gone back."""
        seen = self._seen()
        self._ahead = max(self._ahead, max(moment.at, seen) - moment.uptime)
        self._now = max(self._now, seen, int(moment.uptime + self._ahead))
        return self._now

    def remember(self) -> None:
        """Make the state remember what was read last; inside a transaction."""
        if self._now > self._seen():
            self._store.tables.put(_TABLE, _SEEN, time_to_row(self._now))

    def _seen(self) -> int:
        row = self._store.tables.get(_TABLE, _SEEN)
        return 0 if row is None else time_from_row(row)
