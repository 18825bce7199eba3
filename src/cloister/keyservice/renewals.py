"""When leases were last renewed, for the other replicas of a shared state.

A renewal is written down when the last one that was is a third of a lifetime old, so that holders
who renew often cost little. Another replica lets a lease run for that third longer.

Spec: key-release-v1, clause KR-46.
"""

from __future__ import annotations

from typing import Final

from cloister.keyservice.statetime import StateTime, time_from_row, time_to_row
from cloister.keyservice.store import Store

__all__ = ["Renewals"]

_TABLE: Final = "renewals"


class Renewals:
    """The last written renewal of each volume's lease."""

    def __init__(self, store: Store, time: StateTime, *, ttl_s: int) -> None:
        """Take the state's own time, as it was read last."""
        self._store = store
        self._time = time
        self._ttl_s = ttl_s
        self._coarse_s = ttl_s // 3

    def note(self, volume_id: bytes) -> None:
        """Write a renewal down, unless the last one is recent; inside a group."""
        last = self._last(volume_id)
        if last is None or self._time.now - last >= self._coarse_s:
            with self._store.transaction():
                self._store.tables.put(_TABLE, volume_id, time_to_row(self._time.now))
                self._time.remember()

    def remaining(self, volume_id: bytes) -> float:
        """Return the seconds until a lease runs out that any replica has renewed; 0 for none."""
        last = self._last(volume_id)
        # One second more: times are whole seconds.
        return 0.0 if last is None else last + self._ttl_s + self._coarse_s + 1 - self._time.now

    def _last(self, volume_id: bytes) -> int | None:
        row = self._store.tables.get(_TABLE, volume_id)
        return None if row is None else time_from_row(row)
