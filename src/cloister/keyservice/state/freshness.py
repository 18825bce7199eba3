"""Whether a state is the newest there ever was: asked of something outside it that never goes back.

Without it, whoever owns the disk can put last week's state back, or start two services from one
copy. A witness outside remembers how far the state had come, and knows no way back.
"""

from __future__ import annotations

from typing import Final, Protocol

from cloister.errors import StateMovedError, TamperedError, UnavailableError
from cloister.keyservice.state.record import Head
from cloister.tee.sim.platform import MonotonicCounter

__all__ = ["Freshness", "PlatformFreshness", "SharedFreshness", "rolled_back"]

LOCK_WAIT_S: Final = 5.0


class Freshness(Protocol):
    """Remembers how far one state has come. Called by the store, around every commit."""

    def reading(self) -> None:
        """Note, before the backend is read, how far the state must have come by then."""
        ...

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
            StateMovedError: Another replica of the same service did: read what it wrote.
        """
        ...

    def abandoned(self) -> None:
        """Take note that what `committing` announced has failed."""
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

    def reading(self) -> None:
        """Nobody else writes this state: `opened` may ask the counter itself."""

    def abandoned(self) -> None:
        """Nothing was noted."""

    def opened(self, head: Head) -> None:
        """Refuse a state behind the counter; catch the counter up with one ahead of it."""
        newest = self._counter.read()
        if head.sequence < newest:
            raise rolled_back(head, newest)
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


class SharedFreshness:
    """A monotonic counter of the platform, for a state that replicas on it share.

    A replica writes while it holds the counter's lock, and only what follows the number that the
    counter shows. So two replicas over two copies of a state never both go on: the first moves the
    counter, and the other looks for that record in its copy and does not find it.
    """

    def __init__(self, counter: MonotonicCounter) -> None:
        """Take over an open counter."""
        self._counter = counter
        self._expected = 0

    def reading(self) -> None:
        """Note the counter: what it shows now is durable, so reading must find it."""
        self._expected = self._counter.read()

    def opened(self, head: Head) -> None:
        """Refuse a state that lacks what was expected; catch the counter up with one ahead."""
        if head.sequence < self._expected:
            raise rolled_back(head, self._expected)
        self._counter.raise_to(head.sequence)

    def committing(self, head: Head) -> None:
        """Let nobody else on this platform write; refuse where somebody has written since."""
        if not self._counter.acquire(LOCK_WAIT_S):
            raise UnavailableError(
                "another replica does not finish writing", code="keyservice.busy"
            )
        if self._counter.read() != head.sequence:
            self._counter.release()
            raise StateMovedError("the state has moved on", code="keyservice.moved")

    def abandoned(self) -> None:
        """Let others write."""
        self._counter.release()

    def committed(self, before: Head, head: Head) -> None:
        """Move the counter on, and let others write."""
        del before
        try:
            self._counter.raise_to(head.sequence)
        finally:
            self._counter.release()

    def close(self) -> None:
        """Close the counter; that lets its lock go too."""
        self._counter.close()


def rolled_back(head: Head, newest: int) -> TamperedError:
    """Return what an older state is refused with."""
    return TamperedError(
        "the key service's state is an old copy",
        code="state.rolled-back",
        detail=f"record {head.sequence}, the platform has seen {newest}",
        hint="put the newest state back; if it is lost, going back needs approvals: "
        "cloister keyservice reset --help",
    )
