"""Whether a state is the newest there ever was: asked of something outside it that never goes back.

Without it, whoever owns the disk can put last week's state back, or start two services from one
copy. A witness outside remembers how far the state had come, and knows no way back.
"""

from __future__ import annotations

from typing import Protocol

from cloister.errors import TamperedError
from cloister.keyservice.state.record import Head
from cloister.tee.sim.platform import MonotonicCounter

__all__ = ["Freshness", "PlatformFreshness"]


class Freshness(Protocol):
    """Remembers how far one state has come. Called by the store, around every commit."""

    def opened(self, head: Head) -> None:
        """Compare a state that was just read, before anything of it is used.

        Raises:
            TamperedError: A newer one exists (`state.rolled-back`).
        """
        ...

    def committing(self, head: Head) -> None:
        """Check, before the record that follows `head` is written, that nobody else wrote it.

        Raises:
            TamperedError: Another service went on from the same state (`state.forked`).
        """
        ...

    def committed(self, before: Head, head: Head) -> None:
        """Remember `head`, whose record is durable. Nothing may be said before this returns.

        Raises:
            TamperedError: Another service was faster (`state.forked`).
        """
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class PlatformFreshness:
    """A monotonic counter of the platform, for a state that one service at a time has.

    A crash between a commit and the counter leaves the counter one behind; opening catches it up.
    """

    def __init__(self, counter: MonotonicCounter) -> None:
        """Take over an open counter."""
        self._counter = counter

    def opened(self, head: Head) -> None:
        """Refuse a state behind the counter; catch the counter up with one ahead of it."""
        newest = self._counter.read()
        if head.sequence < newest:
            raise TamperedError(
                "the key service's state is an old copy",
                code="state.rolled-back",
                detail=f"record {head.sequence}, the platform has seen {newest}",
                hint="put the newest state back; if it is lost, restore a backup with approval: "
                "cloister keyservice restore --help",
            )
        self._counter.raise_to(head.sequence)

    def committing(self, head: Head) -> None:
        """Refuse to write where the counter is not where this service left it."""
        if self._counter.read() != head.sequence:
            raise self._forked(head)

    def committed(self, before: Head, head: Head) -> None:
        """Move the counter on from where this service left it."""
        if not self._counter.exchange(before.sequence, head.sequence):
            raise self._forked(head)

    def close(self) -> None:
        """Close the counter."""
        self._counter.close()

    def _forked(self, head: Head) -> TamperedError:
        return TamperedError(
            "another key service has gone on from a copy of this state",
            code="state.forked",
            detail=f"record {head.sequence}, the platform has seen {self._counter.read()}",
            hint="keep the one that went on, and stop this one for good",
        )
