"""A backend of the key service's state in memory, which several stores may share, with faults.

It does what a database server does for several replicas: one list of records, whoever is first
adds the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cloister.errors import StateMovedError, TamperedError
from cloister.keyservice.state.backend import LogRow, Rekeyed, Rows
from cloister.keyservice.state.record import Head
from cloister.keyservice.store import ServiceSecrets, Store
from cloister.tee.sim.platform import SimPlatform

__all__ = ["MemoryBackend", "MemoryFreshness", "founded"]


@dataclass(slots=True)
class MemoryBackend:
    """Rows in memory; `before_append` may raise, and `after_append` too, as a lost connection."""

    slots_by_name: dict[str, bytes] = field(default_factory=dict)
    rows: dict[int, bytes] = field(default_factory=dict)
    kept: tuple[int, bytes] | None = None
    log_rows: list[LogRow] = field(default_factory=list)
    before_append: Callable[[], None] | None = None
    after_append: Callable[[], None] | None = None
    shared: bool = False

    def slot(self, name: str) -> bytes | None:
        """Return what was kept under a name."""
        return self.slots_by_name.get(name)

    def slots(self) -> Iterable[tuple[str, bytes]]:
        """Return every slot."""
        return sorted(self.slots_by_name.items())

    def put_slot(self, name: str, value: bytes) -> None:
        """Keep a value under a name."""
        self.slots_by_name[name] = value

    def append(self, sequence: int, sealed: bytes, log: Iterable[LogRow]) -> None:
        """Add a record and its log rows."""
        self._require_free(sequence)
        self.rows[sequence] = sealed
        self.log_rows.extend(log)
        if self.after_append is not None:
            self.after_append()

    def rekey(self, sequence: int, sealed: bytes, rows: Rekeyed) -> None:
        """Add a record and put everything else under another key."""
        self._require_free(sequence)
        log, slots = list(rows.log), dict(rows.slots)
        self.rows, self.kept = {sequence: sealed}, (sequence, rows.snapshot)
        self.log_rows, self.slots_by_name = log, slots
        if self.after_append is not None:
            self.after_append()

    def records(self, after: int) -> Iterable[tuple[int, bytes]]:
        """Return the records behind a number."""
        return sorted(row for row in self.rows.items() if row[0] > after)

    def snapshot(self) -> tuple[int, bytes] | None:
        """Return the newest snapshot."""
        return self.kept

    def put_snapshot(self, sequence: int, sealed: bytes, *, keep: int) -> None:
        """Replace the snapshot."""
        if self.kept is None or self.kept[0] < sequence:
            self.kept = (sequence, sealed)
        self.rows = {number: row for number, row in self.rows.items() if number > keep}

    def log(self, first: int, count: int) -> Iterable[LogRow]:
        """Return rows of the log."""
        return self.log_rows[first : first + count]

    def log_size(self) -> int:
        """Return how many rows the log has."""
        return len(self.log_rows)

    def leaves(self) -> Iterable[bytes]:
        """Return every leaf hash."""
        return [row.leaf for row in self.log_rows]

    @classmethod
    def build(cls, rows: Rows) -> MemoryBackend:
        """Return a backend with a whole state."""
        return cls(dict(rows.slots), dict(rows.records), rows.snapshot, list(rows.log))

    def _require_free(self, sequence: int) -> None:
        if self.before_append is not None:
            self.before_append()
        if sequence in self.rows:
            raise StateMovedError("the state has moved on", code="keyservice.moved")

    def close(self) -> None:
        """Nothing is held."""

    def copy(self) -> MemoryBackend:
        """Return another backend with the same rows: a snapshot of the disk."""
        return MemoryBackend(
            dict(self.slots_by_name),
            dict(self.rows),
            self.kept,
            list(self.log_rows),
            shared=self.shared,
        )


@dataclass(slots=True)
class MemoryFreshness:
    """A witness that several replicas share: it only knows the newest number."""

    newest: int = 0
    expected: int = 0

    def reading(self) -> None:
        """Note what reading must find."""
        self.expected = self.newest

    def abandoned(self) -> None:
        """Nothing was noted."""

    def opened(self, head: Head) -> None:
        """Refuse what is behind; take note of what is ahead."""
        if head.sequence < self.expected:
            raise TamperedError("an old copy", code="state.rolled-back")
        self.newest = max(self.newest, head.sequence)

    def committing(self, head: Head) -> None:
        """Others may be ahead: then the backend refuses."""

    def committed(self, before: Head, head: Head) -> None:
        """Take note."""
        del before
        self.newest = max(self.newest, head.sequence)

    def close(self) -> None:
        """Nothing is held."""


def founded(platform: SimPlatform, *, shared: bool = False) -> MemoryBackend:
    """Return a state in memory that has just been founded; its secrets mean nothing."""
    secrets = ServiceSecrets(
        signing_seed=b"s" * 32,
        hpke_seed=b"h" * 96,
        ca_key=b"c",
        ca_certificate=b"d",
        reader_secret=b"r" * 32,
        owner=b"o" * 32,
        trust_domain="example.test",
    )
    backend = MemoryBackend(shared=shared)
    Store.found(backend, platform, MemoryFreshness(), secrets)
    return backend
