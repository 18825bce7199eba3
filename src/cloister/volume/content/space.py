"""Which units of one backing file are free, and when a freed one may be used again.

Invariant: a unit that the newest *anchored* state uses is never handed out. It leaves in steps:
released (still in the committed state), journaled (in no state to come, but the anchor may still
point before that), anchored (free). A unit taken and released between two commits is free at once.
"""

from __future__ import annotations

from typing import Final

from cloister.errors import TamperedError
from cloister.volume.format import malformed

__all__ = ["SpaceMap"]

_FREE, _USED, _FRESH, _RELEASED, _LEAVING = range(5)
_AT_JOURNAL: Final = bytes([_FREE, _USED, _USED, _LEAVING, _LEAVING, *range(5, 256)])
_AT_ANCHOR: Final = bytes([_FREE, _USED, _FRESH, _RELEASED, _FREE, *range(5, 256)])


class SpaceMap:
    """One byte for each unit; all searching is done by `bytearray.find`."""

    __slots__ = ("_free", "_hint", "_limit", "_states")

    def __init__(self, limit: int) -> None:
        """Begin with nothing claimed; `limit` is how many units the backing file has now."""
        self._limit = limit
        self._states = bytearray()
        self._free = 0
        self._hint = 0

    def __len__(self) -> int:
        """How many units the file has."""
        return len(self._states)

    def claim(self, start: int, count: int) -> None:
        """Note, while loading, that the committed state uses these units.

        Raises:
            TamperedError: Code `volume.truncated`: the backing file ends before.
            MalformedError: Already claimed: two pointers to one place.
        """
        if start + count > self._limit:
            raise TamperedError("a data file of the volume ends early", code="volume.truncated")
        missing = start + count - len(self._states)
        if missing > 0:
            self._states += bytes(missing)
            self._free += missing
        if self._states.count(_FREE, start, start + count) != count:
            raise malformed("two pointers share a slot", clause="VOL-13")
        self._states[start : start + count] = bytes([_USED]) * count
        self._free -= count

    def take(self, count: int, *, whole: bool) -> tuple[int, int]:
        """Take a run of `count` units, or where not `whole` perhaps a shorter one.

        Returns:
            Where it starts and how long it is.
        """
        want = count if whole else min(count, self._free)
        while want and self._free >= want:
            start = self._states.find(bytes(want), self._hint)
            if start >= 0:
                self._states[start : start + want] = bytes([_FRESH]) * want
                self._free -= want
                if want == 1 or start == self._hint:
                    self._hint = start + want
                return start, want
            want = 0 if whole else want // 2
        start = len(self._states)
        self._states += bytes([_FRESH]) * count
        return start, count

    def release(self, start: int, count: int) -> None:
        """Say that the state to come does not use these units."""
        if self._states[start] == _FRESH:
            self._states[start : start + count] = bytes(count)
            self._free += count
            self._hint = min(self._hint, start)
        else:
            self._states[start : start + count] = bytes([_RELEASED]) * count

    def journaled(self) -> None:
        """Note that the state in memory was written to the journal."""
        self._states = self._states.translate(_AT_JOURNAL)

    def anchored(self) -> bool:
        """Note that the journal's head was anchored; tell whether the file may be cut shorter."""
        self._states = self._states.translate(_AT_ANCHOR)
        before = len(self._states)
        self._states = self._states.rstrip(bytes([_FREE]))
        self._free = self._states.count(_FREE)
        self._hint = 0
        return len(self._states) < before
