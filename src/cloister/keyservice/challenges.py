"""Challenges that authenticate themselves, so that any replica may answer what another gave out.

A nonce is its last second, randomness, and a code over both under a key of the state:

    6 bytes, big-endian   the last second of its life
    10 bytes              random
    16 bytes              HMAC-SHA-256 over the label and the rest, cut to its first half

Invariants:
    1. A nonce is good once: its spending becomes durable together with the decision, or neither.
    2. A spent nonce is forgotten only together with a time after its last second, which the state
       remembers: no clock, restart or replica makes it good again.
    3. Spent nonces are bounded; a full table refuses, and forgets none before its time.

Spec: key-release-v1, clauses KR-10 to KR-13.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from cloister.crypto.digest import same_bytes
from cloister.crypto.kdf import derive_key, random_bytes
from cloister.crypto.mac import make_mac
from cloister.errors import EvidenceError, TamperedError, UnavailableError
from cloister.keyservice.clock import Moment
from cloister.keyservice.statetime import StateTime, time_from_row, time_to_row
from cloister.keyservice.store import Store

__all__ = [
    "CHALLENGE_LABEL",
    "NONCE_LIFETIME_S",
    "RENEWAL_CHALLENGE_LABEL",
    "Challenges",
    "end_challenges",
]

NONCE_LIFETIME_S: Final = 60
CHALLENGE_LABEL: Final = b"cloister/key-release/v1/challenge"
RENEWAL_CHALLENGE_LABEL: Final = b"cloister/membership/v1/renewal-challenge"
_MAX_SPENT: Final = 65536
_TABLE: Final = "spent"
_GENERATION: Final = ("challenges", b"generation")
_END_BYTES: Final = 6
_RANDOM_BYTES: Final = 10
_CODE_BYTES: Final = 16
_FORGET_AT_ONCE: Final = 16


def end_challenges(store: Store, generation: bytes) -> None:
    """Make every nonce that was ever given out a foreign one, for services that open the state."""
    table, key = _GENERATION
    store.tables.put(table, key, generation)
    for nonce, _ in list(store.tables.rows(_TABLE)):
        store.tables.put(_TABLE, nonce, None)


class Challenges:
    """Gives out nonces, and spends each once."""

    def __init__(
        self,
        store: Store,
        secret: bytes,
        time: StateTime,
        *,
        label: bytes,
        lifetime_s: int,
        capacity: int = _MAX_SPENT,
    ) -> None:
        """Derive the key that authenticates nonces from a secret of the state.

        Args:
            store: Remembers what was spent.
            secret: Of the state.
            time: That never goes back.
            label: What the nonces are for; those of one purpose are good for no other.
            lifetime_s: Of a nonce.
            capacity: How many spent ones are remembered at most.
        """
        self.lifetime_s: Final = lifetime_s
        self._store = store
        generation = store.tables.get(*_GENERATION)
        if generation is None:
            raise TamperedError("the state's nonces have no generation", code="state.tampered")
        self._key = derive_key(secret, label=label, salt=generation)
        self._time = time
        self._capacity = capacity

    def issue(self, moment: Moment) -> bytes:
        """Make a fresh nonce.

        Raises:
            UnavailableError: Too many were spent just now (code `keyservice.busy`).
        """
        now = self._time.read(moment)
        self._require_room(now)
        end = (now + self.lifetime_s).to_bytes(_END_BYTES, "big")
        body = end + random_bytes(_RANDOM_BYTES)
        return body + self._code(body)

    def spend(self, nonce: bytes, moment: Moment) -> None:
        """Use up a nonce; inside the group that decides what it was named for.

        Raises:
            EvidenceError: It was used before (`evidence.replayed`), or it is not ours or its
                lifetime is over (`evidence.expired`).
            UnavailableError: Too many were spent just now (code `keyservice.busy`).
        """
        now = self._time.read(moment)
        body, code = nonce[:-_CODE_BYTES], nonce[-_CODE_BYTES:]
        if self._store.tables.get(_TABLE, nonce) is not None:
            raise EvidenceError("this challenge was answered before", code="evidence.replayed")
        end = int.from_bytes(body[:_END_BYTES], "big")
        if not same_bytes(code, self._code(body)) or now > end:
            raise EvidenceError(
                "the challenge is not open any more",
                code="evidence.expired",
                hint="ask for a new challenge",
            )
        self._require_room(now)
        with self._store.transaction():
            self._forget(now)
            self._store.tables.put(_TABLE, nonce, time_to_row(end))
            self._time.remember()

    def _require_room(self, now: int) -> None:
        if self._store.tables.count(_TABLE) < self._capacity:
            return
        if not self._over(now):
            raise UnavailableError("too many challenges were answered", code="keyservice.busy")

    def _forget(self, now: int) -> None:
        """Drop the oldest that are over; more than the one that is added, so that it shrinks."""
        for nonce in self._over(now):
            self._store.tables.put(_TABLE, nonce, None)

    def _over(self, now: int) -> list[bytes]:
        oldest = islice(self._store.tables.rows(_TABLE), _FORGET_AT_ONCE)
        return [nonce for nonce, row in oldest if time_from_row(row) < now]

    def _code(self, body: bytes) -> bytes:
        return make_mac(self._key, CHALLENGE_LABEL, body)[:_CODE_BYTES]
