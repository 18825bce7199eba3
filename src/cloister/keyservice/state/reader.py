"""How the state is read, all of it checked: snapshot, the records behind it, and the log.

Invariants:
    1. What a backend returns is authenticated before anything of it is used, and is as new as the
       witness outside knows.
    2. Where the state names the key that it is under, it is under that one.

Spec: keyservice-state-v1, its section Reading.
"""

from __future__ import annotations

from typing import Final, Protocol, Self

from cloister.errors import StateMovedError, TamperedError
from cloister.keyservice import merkle
from cloister.keyservice.proofs import Proofs
from cloister.keyservice.state.backend import Backend, LogRow
from cloister.keyservice.state.format import sealed_format
from cloister.keyservice.state.freshness import Freshness
from cloister.keyservice.state.key_rows import key_change
from cloister.keyservice.state.record import FIRST_HEAD, Head, Snapshot, StateKey
from cloister.keyservice.state.tables import Tables

__all__ = ["KeySource", "StateReader", "log_changed"]

_READS: Final = 4


class KeySource(Protocol):
    """Where the state key comes from, again where it was changed."""

    @property
    def generation(self) -> int:
        """That of the key that `unlock` returned last."""
        ...

    def newest(self) -> int:
        """Return the newest generation that the platform knows of."""
        ...

    def unlock(self) -> StateKey:
        """Return the key that there is now.

        Raises:
            TamperedError: There is none for this platform, or an older one than it knows of.
        """
        ...


class StateReader:
    """The open state as it is read. `Journal` changes it. Not shared between threads."""

    def __init__(
        self,
        backend: Backend,
        key: StateKey,
        freshness: Freshness,
        *,
        source: KeySource | None = None,
    ) -> None:
        """Take over an open backend and its witness.

        Args:
            backend: What it says is authenticated by the key.
            key: The state key.
            freshness: The witness.
            source: Gives the newest state key, where another replica changed it; with None, such a
                state does not open.
        """
        self._backend = backend
        self._key = key
        self._freshness = freshness
        self._tables = Tables()
        self._head = FIRST_HEAD
        self._size = 0
        self._peaks: tuple[bytes, ...] = ()
        self._entries: list[bytes] = []  # of a group that has not ended
        self._snapshot_at = 0
        self.proofs: Final = Proofs(self._durable_leaves)
        self._behind = False
        self._source = source

    @classmethod
    def load_with(
        cls,
        backend: Backend,
        key: StateKey,
        freshness: Freshness,
        *,
        source: KeySource | None = None,
    ) -> Self:
        """Read the state of a backend under a key; closes backend and witness where that fails.

        Raises:
            TamperedError: It was changed (`state.tampered`), or is an old copy
                (`state.rolled-back`).
        """
        store = cls(backend, key, freshness, source=source)
        try:
            store._load()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the backend and the witness."""
        try:
            self._backend.close()
        finally:
            self._freshness.close()

    @property
    def shared(self) -> bool:
        """Whether other replicas may change the state too."""
        return self._backend.shared

    @property
    def tables(self) -> Tables:
        """All rows, for a topic that has rows of its own; changed inside a transaction only."""
        return self._tables

    @property
    def head(self) -> Head:
        """The newest record."""
        return self._head

    @property
    def key(self) -> StateKey:
        """The state key, to be sealed for somebody else."""
        return self._key

    @property
    def sequence(self) -> int:
        """The number of the newest record."""
        return self._head.sequence

    @property
    def log_size(self) -> int:
        """How many entries the log has."""
        return self._size

    def log_root(self) -> bytes:
        """Return the log's root."""
        return merkle.root_of_peaks(self._peaks)

    @property
    def durable_size(self) -> int:
        """How many entries are durable: without those of a group that has not ended."""
        return self._size - len(self._entries)

    def durable_root(self) -> bytes:
        """Return the root over the durable entries."""
        if not self._entries:
            return self.log_root()
        return self.proofs.root(self.durable_size) if self.durable_size else merkle.EMPTY_ROOT

    def entries(self, first: int, count: int) -> list[bytes]:
        """Return up to `count` durable entries from number `first`.

        Raises:
            TamperedError: The backend has not all of them as they were written (`state.tampered`).
        """
        return [entry for entry, _ in self._log(first, count)]

    def open_entry(self, row: LogRow) -> bytes:
        """Open one row of the log."""
        return self._key.open_entry(row.sealed, position=row.position)

    def leaves(self) -> list[bytes]:
        """Return every leaf hash, for proofs about old trees."""
        return list(self._backend.leaves())

    def refresh(self) -> None:
        """Catch up with records that others have added; outside a group.

        Raises:
            TamperedError: They do not continue the state (`state.tampered`), or what there is lacks
                records that the witness knows of, or is under an older key than the platform knows
                of (`state.rolled-back`).
        """
        self._catch_up(self._expect())

    def _expect(self) -> int:
        """Note, before anything is read, how new it must be; returns the key's generation."""
        self._freshness.reading()
        return 0 if self._source is None else self._source.newest()

    def _durable_leaves(self, first: int, count: int) -> list[bytes]:
        return [leaf for _, leaf in self._log(first, count)]

    def _log(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """Open rows of the log, unless another replica has just put them under another key."""
        try:
            return self._open_log(first, count)
        except TamperedError as e:
            if self._key_moved():
                raise StateMovedError("the state key was changed", code="keyservice.moved") from e
            raise

    def _key_moved(self) -> bool:
        if not self.shared or self._source is None:
            return False
        return self._source.unlock().name != self._key.name

    def _open_log(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """Open rows of the log: none is left out, each is in its place and has its own leaf."""
        wanted = range(first, min(first + count, self.durable_size))
        rows = list(self._backend.log(first, len(wanted)))[: len(wanted)]
        found = [
            (self._key.open_entry(row.sealed, position=position), row.leaf)
            for position, row in zip(wanted, rows, strict=False)
        ]
        whole = len(found) == len(wanted)
        if not whole or any(merkle.leaf_hash(entry) != leaf for entry, leaf in found):
            raise log_changed(f"{len(found)} of {len(wanted)} entries from {first}")
        return found

    def _grow(self, entry: bytes) -> None:
        self._peaks = merkle.append(self._peaks, self._size, merkle.leaf_hash(entry))
        self._size += 1

    def _load(self) -> None:
        expected = self._expect()
        self._read_snapshot()
        self._catch_up(expected)
        if self._head == FIRST_HEAD:
            raise TamperedError("the key service's state is empty", code="state.tampered")
        sealed_format(self._tables)

    def _catch_up(self, generation: int) -> None:
        """Read what is newer. Snapshots that others take may overtake us, though not for ever."""
        for _ in range(_READS):
            if self._read_records():
                self._require_generation(generation)
                self._freshness.opened(self._head)
                self._behind = False
                return
            if not self._read_snapshot():
                break
        raise TamperedError(
            "a record of the key service's state is missing",
            code="state.tampered",
            detail=f"the one after {self._head.sequence}",
        )

    def _require_generation(self, expected: int) -> None:
        """Refuse what goes on under a key that was changed, as whoever has it may for ever."""
        if self._source is not None and self._source.generation < expected:
            raise TamperedError(
                "the key service's state goes on under a key that was changed",
                code="state.rolled-back",
                detail=f"slot {self._source.generation}, the platform has seen {expected}",
            )

    def _read_records(self) -> bool:
        """Apply the records behind the head; False where one is missing."""
        for sequence, sealed in self._backend.records(self._head.sequence):
            if sequence != self._head.sequence + 1:
                return False
            self._head, record = self._key.open_record(sealed, after=self._head)
            for entry in record.entries:
                self._grow(entry)
            self._tables.apply(record.changes)
            if not self._follow_key():
                return False
        return True

    def _follow_key(self) -> bool:
        """Take the key that the state names; False where the slot has one that came after it.

        Raises:
            TamperedError: There is no way to that key (`state.tampered`, `state.key-changed`).
        """
        change = key_change(self._tables)
        if change is None or change.name == self._key.name:
            return True
        if self._source is None:
            raise TamperedError(
                "the key service's state is under another key than it says", code="state.tampered"
            )
        self._key = self._source.unlock()
        return self._key.name == change.name

    def _read_snapshot(self) -> bool:
        """Go on from the snapshot if it is newer than the head."""
        found = self._backend.snapshot()
        if found is None or found[0] <= self._head.sequence:
            return False
        self._head, snapshot = self._open_snapshot(found[1], sequence=found[0])
        self._tables = Tables(snapshot.tables)
        self._size, self._peaks = snapshot.log_size, snapshot.peaks
        self._snapshot_at = self._head.sequence
        if not self._follow_key():
            raise TamperedError(
                "the key service's state is under another key than it says", code="state.tampered"
            )
        return True

    def _open_snapshot(self, sealed: bytes, *, sequence: int) -> tuple[Head, Snapshot]:
        """Open a snapshot, also one that another replica took under a key that it changed to."""
        try:
            return self._key.open_snapshot(sealed, sequence=sequence)
        except TamperedError:
            newest = self._key if self._source is None else self._source.unlock()
            if newest.name == self._key.name:
                raise
        self._key = newest
        return newest.open_snapshot(sealed, sequence=sequence)


def log_changed(detail: str) -> TamperedError:
    """Return what a log that is not the one of its state is refused with."""
    return TamperedError(
        "the log in the key service's state was changed", code="state.tampered", detail=detail
    )
