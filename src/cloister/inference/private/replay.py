"""Which requests were here before, for as long as their time is near enough to count.

The memory is bounded for each asker and as a whole, and a request that would not fit is told to
come later: nothing is forgotten while it could be sent again. Time only goes forward here, whatever
the machine's clock does. The memory is of one process; requests are signed for a key that is made
when a process starts, so that those of an earlier one are good for nothing.

Spec: private-query-v1, clauses PQ-40 to PQ-43.
"""

from __future__ import annotations

import threading
from typing import Final

from cloister.errors import IdentityError, RemoteProtocolError, UnavailableError

__all__ = ["ReplayGuard"]

_EACH: Final = 65536
_ASKERS: Final = 1024
_ALL: Final = 262_144


class ReplayGuard:
    """Admits each request once. Threads may share it."""

    def __init__(
        self, *, window_s: int, each: int = _EACH, askers: int = _ASKERS, in_all: int = _ALL
    ) -> None:
        """Set the bounds.

        Args:
            window_s: How far a request's time may be from the present one.
            each: Requests of one asker that are remembered at one time.
            askers: Askers that are.
            in_all: Requests of all askers together.
        """
        self._window_s = window_s
        self._each, self._askers, self._in_all = each, askers, in_all
        self._lock = threading.Lock()
        self._now = 0
        self._tidied = 0
        self._count = 0
        self._seen: dict[str, dict[int, set[bytes]]] = {}

    def admit(self, asker: str, nonce: bytes, *, time: int, at: int) -> None:
        """Return where this request is here for the first time.

        Args:
            asker: Whose signature was checked; others fill no memory.
            nonce: The request's.
            time: What it says.
            at: What the clock says, in seconds; earlier than before counts as the latest so far.

        Raises:
            IdentityError: Its time is too far away (`identity.clock`).
            RemoteProtocolError: It was here (`private.replayed`).
            UnavailableError: There is no room to remember it (`server.busy`).
        """
        with self._lock:
            self._now = max(self._now, at)
            if abs(time - self._now) > self._window_s:
                raise IdentityError(
                    "the query's time is not the server's",
                    code="identity.clock",
                    hint="compare this machine's clock with the server's",
                )
            times = self._seen.get(asker)
            if times is not None and nonce in times.get(time, ()):
                raise RemoteProtocolError("this query was here before", code="private.replayed")
            self._remember(asker, nonce, time)

    def _remember(self, asker: str, nonce: bytes, time: int) -> None:
        if self._now - self._tidied > self._window_s or self._full(asker):
            self._forget()
            if self._full(asker):
                raise UnavailableError("too many queries; try again later", code="server.busy")
        self._seen.setdefault(asker, {}).setdefault(time, set()).add(nonce)
        self._count += 1

    def _full(self, asker: str) -> bool:
        times = self._seen.get(asker)
        if times is None and len(self._seen) >= self._askers:
            return True
        mine = sum(map(len, times.values())) if times else 0
        return mine >= self._each or self._count >= self._in_all

    def _forget(self) -> None:
        """Drop what is too old to be admitted again."""
        self._tidied = self._now
        oldest = self._now - self._window_s
        for asker, times in list(self._seen.items()):
            kept = {time: nonces for time, nonces in times.items() if time >= oldest}
            self._count -= sum(len(nonces) for time, nonces in times.items() if time < oldest)
            if kept:
                self._seen[asker] = kept
            else:
                del self._seen[asker]
