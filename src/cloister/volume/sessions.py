"""The writer sessions of a volume: under which key, with which salt, their blocks were sealed.

Invariants:
    1. Numbers count up without gaps and are never given twice, also after sessions are gone.
    2. Key epochs never go down from one session to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.crypto.keyring import FIRST_KEY_EPOCH, MAX_KEY_EPOCH
from cloister.volume.format import malformed

__all__ = ["MAX_SESSIONS", "Session", "Sessions"]

MAX_SESSIONS: Final = 2**24


@dataclass(frozen=True, slots=True)
class Session:
    """What one writer's block keys derive from, beside the volume key of its epoch."""

    salt: bytes
    key_epoch: int


class Sessions:
    """The sessions that pointers may name."""

    def __init__(self) -> None:
        """Begin with none."""
        self.first = 0
        self._sessions: list[Session] = []

    @property
    def end(self) -> int:
        """The number of the session to come."""
        return self.first + len(self._sessions)

    @property
    def oldest_key(self) -> int | None:
        """The lowest key epoch of all, where there is any session."""
        return self._sessions[0].key_epoch if self._sessions else None

    def get(self, number: int) -> Session | None:
        """Return a session, if it is here."""
        return self._sessions[number - self.first] if self.first <= number < self.end else None

    def add(self, session: Session) -> None:
        """Add the next one."""
        newest = self._sessions[-1].key_epoch if self._sessions else FIRST_KEY_EPOCH
        if not newest <= session.key_epoch <= MAX_KEY_EPOCH or self.end >= MAX_SESSIONS:
            raise malformed("sessions are out of order", clause="VOL-31")
        self._sessions.append(session)

    def first_under(self, key_epoch: int) -> int:
        """Return the number of the first session that is under no older key."""
        for number, session in enumerate(self._sessions, start=self.first):
            if session.key_epoch >= key_epoch:
                return number
        return self.end

    def drop_before(self, number: int) -> None:
        """Forget the sessions below `number`, which no pointer names.

        Where there was never a session, numbers begin there.
        """
        begun = self.first or self._sessions
        if not self.first < number <= (self.end if begun else MAX_SESSIONS):
            raise malformed("sessions that are gone are out of order", clause="VOL-73")
        del self._sessions[: number - self.first]
        self.first = number
