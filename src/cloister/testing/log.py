"""A log without a service: grows, signs, and can be made to lie. A `LogReader`.

Example::

    log = MemoryLog()
    log.decide(3)
    fetch(mirror, log, service=log.service, progress=lambda *_: None)
"""

from __future__ import annotations

from typing import Final

from cloister.crypto.signature import SigningKey
from cloister.keyservice import merkle
from cloister.keyservice.log import Checkpoint, LogEntry, Receipt, StateCommitment
from cloister.keyservice.owner_replies import LogPage
from cloister.keyservice.pinned import PinnedService

__all__ = ["ORIGIN", "MemoryLog", "decision"]

ORIGIN: Final = "example.test/cloister-log"
_START: Final = 1_800_000_000


def decision(number: int, *, code: str = "", policy: bytes = b"p" * 32) -> LogEntry:
    """Return a decision that differs from every other number's."""
    return LogEntry(
        at=_START + number,
        operation="release",
        code=code,
        policy=policy,
        subject="train",
        instance=f"run-{number}",
        evidence=b"e" * 32,
        requester=b"r" * 32,
    )


class MemoryLog:
    """Leaves in memory, signed by one key. `withheld` leaves are signed for and not given."""

    def __init__(self, *, key: SigningKey | None = None, origin: str = ORIGIN) -> None:
        """Start empty."""
        self.key: Final = key or SigningKey(b"k" * 32)
        self.service: Final = PinnedService(self.key.public, origin)
        self.leaves: list[bytes] = []
        self.withheld = 0

    def decide(self, count: int) -> None:
        """Append so many decisions."""
        start = len(self.leaves)
        self.leaves += [decision(start + number).to_bytes() for number in range(count)]

    def commit(self, sequence: int) -> None:
        """Append a state commitment."""
        self.leaves.append(StateCommitment(sequence, b"d" * 32).to_bytes())

    def hashes(self) -> list[bytes]:
        """Return the hash of each leaf."""
        return [merkle.leaf_hash(leaf) for leaf in self.leaves]

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        """Return the newest checkpoint, or that of an earlier size."""
        hashes = self.hashes()[:size]
        return Checkpoint(self.service.origin, len(hashes), merkle.root_of_leaves(hashes))

    def note(self, size: int | None = None) -> str:
        """Return a checkpoint's signed note."""
        return self.checkpoint(size).to_note(self.key)

    def prove(self, old: int) -> tuple[bytes, ...]:
        """Return the proof that the newest tree extends the one of `old` leaves."""
        return merkle.consistency_proof(self.hashes(), old) if old else ()

    def receipt(self, index: int, size: int | None = None) -> Receipt:
        """Return the receipt of one leaf."""
        proof = merkle.inclusion_proof(self.hashes()[:size], index)
        return Receipt(self.leaves[index], index, proof, self.note(size))

    def read_log_page(self, *, first: int, count: int, old_size: int) -> LogPage:
        """Answer as the key service's `log.read` does."""
        given = self.leaves[: len(self.leaves) - self.withheld]
        leaves = tuple(given[first : first + count])
        return LogPage(leaves, self.note(), self.checkpoint(), self.prove(old_size))
