"""How the state changes: each group of decisions is one sealed record, with what the log gains.

Invariants:
    1. What `group`, or a `transaction` outside one, has returned from is durable, and the witness
       outside knows of it.
    2. Nothing of a transaction that failed is seen, here or after opening again.
    3. An older copy, and a second service that went on from a copy, are refused
       (`state.rolled-back`, `state.forked`).
    4. A change of the key is one record: with it, everything that was sealed before is under the
       new key, or nothing is.

Spec: keyservice-state-v1, its section Writing, and clauses KS-72 to KS-77.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import framed, sha256
from cloister.crypto.kdf import random_bytes
from cloister.errors import (
    LocalProtocolError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice import merkle
from cloister.keyservice.log import StateCommitment
from cloister.keyservice.state.backend import Backend, LogRow, Rekeyed
from cloister.keyservice.state.format import FORMAT, NEWEST, sealed_format
from cloister.keyservice.state.freshness import Freshness
from cloister.keyservice.state.key_rows import key_change
from cloister.keyservice.state.reader import KeySource, StateReader, log_changed
from cloister.keyservice.state.record import Head, Record, Snapshot, StateKey
from cloister.keyservice.state.tables import Tables

__all__ = ["Appended", "Journal", "NewSlots"]

SNAPSHOT_EVERY: Final = 2000
_LOG: Final = logging.getLogger(__name__)
_SALT_BYTES: Final = 32
_PAGE: Final = 256

Slot = tuple[str, bytes]
NewSlots = Callable[[Iterable[Slot], StateKey], Iterable[Slot]]


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a log entry went: its index, its proof, and the tree's new size and root."""

    index: int
    proof: tuple[bytes, ...]
    size: int
    root: bytes


class Journal(StateReader):
    """The open journal; `Store` gives its rows their types. Not shared between threads."""

    def __init__(
        self,
        backend: Backend,
        key: StateKey,
        freshness: Freshness,
        *,
        source: KeySource | None = None,
    ) -> None:
        """Take over an open backend and its witness, as `StateReader` does."""
        super().__init__(backend, key, freshness, source=source)
        self._grouped = False
        self._committing_to_log = False
        self._next: tuple[StateKey, NewSlots] | None = None

    @contextlib.contextmanager
    def group(self) -> Iterator[None]:
        """Make the transactions inside durable together, at its end; with none, do nothing.

        It begins with what others have committed, where others may have, and after a commit whose
        outcome is not known. A transaction that fails leaves the others of its group alone.

        Raises:
            StateMovedError: Another replica changed the state first; make every decision of the
                group again.
            TamperedError: Another service went on from a copy of this state (`state.forked`), or
                what others have committed does not continue it.
            StorageFullError: Nothing of the group has happened.
            UnavailableError: Nothing of the group has happened, as far as is known; if it has, the
                next group sees it.
        """
        if self._behind or self._backend.shared:
            self.refresh()
        size, peaks = self._size, self._peaks
        self._grouped = True
        try:
            yield
            if self._entries or self._tables.changed:
                self._commit(size)
        except BaseException:
            self._size, self._peaks = size, peaks
            self._tables.discard()
            self._entries.clear()
            raise
        finally:
            self._grouped = False

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Do everything inside, or nothing of it; durable when the group that it is in ends.

        Outside a group it is a group of its own.
        """
        if not self._grouped:
            with self.group(), self.transaction():
                yield
            return
        size, peaks, entries = self._size, self._peaks, len(self._entries)
        mark = self._tables.mark()
        try:
            yield
        except BaseException:
            self._size, self._peaks = size, peaks
            self._tables.back_to(mark)
            del self._entries[entries:]
            raise

    @contextlib.contextmanager
    def changing_key(self, key: StateKey, slots: NewSlots) -> Iterator[None]:
        """Like `group`; its record is the last under the key so far, and all else is under `key`.

        What is inside names the new key in the state (`put_key_change`), or nothing is committed.

        Args:
            key: The new key.
            slots: Returns all slots that there are afterwards, from those that there are now, and
                the key that is given up.

        Raises:
            TamperedError: The log is not the one that the state stands for (`state.tampered`).
            CloisterError: What `group` raises.
        """
        self._next = (key, slots)
        try:
            with self.group():
                yield
        finally:
            self._next = None
        if self._source is not None and self._source.unlock().name != self._key.name:
            raise TamperedError(
                "the key service's state has not the key that it was given", code="state.tampered"
            )

    def commit_to_log(self) -> None:
        """From now on, make the log say of every change of the state that it happened.

        For a service with witnesses: what they have seen of the log then shows how far the state
        had come, and two services that go on from one copy have different logs at once.
        """
        self._committing_to_log = True

    def _commit_to_log(self) -> None:
        """Add an entry whose digest names this change and tells nothing about it."""
        before = self._head
        self._tables.put("meta", b"salt", random_bytes(_SALT_BYTES))
        changes = Record(self._tables.pending(), ()).to_bytes()
        digest = sha256(framed(before.digest, changes))
        self.append(StateCommitment(before.sequence + 1, digest).to_bytes())

    def announce_format(self) -> None:
        """Say outside that the state is, or is about to be, of the newest format."""
        self._backend.put_slot("format", FORMAT)

    def _commit(self, size: int) -> None:
        if sealed_format(self._tables) != NEWEST:
            raise LocalProtocolError(
                "a state of an older format is upgraded before it changes", code="protocol.local"
            )
        if self._committing_to_log:
            self._commit_to_log()
        record = Record(self._tables.pending(), tuple(self._entries))
        before = self._head
        head, sealed = self._key.seal_record(record, after=before)
        self._freshness.committing(before)
        self._behind = True  # until it is known that the record is there, or is not
        try:
            self._write(head, sealed, record, size)
        except BaseException as e:
            self._freshness.abandoned()
            self._behind = not isinstance(e, StorageFullError)
            raise
        self._freshness.committed(before, head)
        self._behind = False
        self._head = head
        self._tables.apply(record.changes)
        self._entries.clear()
        if self._next is not None:
            self._key, self._snapshot_at = self._next[0], head.sequence
        if head.sequence - self._snapshot_at >= SNAPSHOT_EVERY:
            self._take_snapshot()

    def _write(self, head: Head, sealed: bytes, record: Record, size: int) -> None:
        """Make a record durable, and where it changes the key, everything else with it."""
        if self._next is None:
            self._backend.append(head.sequence, sealed, self._log_rows(size))
            return
        key, new_slots = self._next
        tables = Tables(self._tables.all())
        tables.apply(record.changes)
        change = key_change(tables)
        if change is None or change.name != key.name:
            raise LocalProtocolError("the state must name its new key", code="protocol.local")
        snapshot = Snapshot(self._size, self._peaks, tables.all())
        slots = new_slots(self._backend.slots(), self._key)
        rows = Rekeyed(slots, key.seal_snapshot(snapshot, head=head), self._resealed(key, size))
        self._backend.rekey(head.sequence, sealed, rows)

    def _resealed(self, key: StateKey, durable: int) -> Iterator[LogRow]:
        """Return every row of the log under another key; all of them are the log, or it raises."""
        peaks: tuple[bytes, ...] = ()
        size = 0
        for entry in self._every_entry(durable):
            leaf = merkle.leaf_hash(entry)
            yield LogRow(size, key.seal_entry(entry, position=size), leaf)
            peaks, size = merkle.append(peaks, size, leaf), size + 1
        if (size, peaks) != (self._size, self._peaks):
            raise log_changed(f"{size} entries have another root than the state says")

    def _every_entry(self, durable: int) -> Iterator[bytes]:
        for first in range(0, durable, _PAGE):
            yield from self.entries(first, _PAGE)
        yield from self._entries

    def _log_rows(self, first: int) -> list[LogRow]:
        """Return the rows of the entries that are not written yet."""
        return [
            LogRow(
                position, self._key.seal_entry(entry, position=position), merkle.leaf_hash(entry)
            )
            for position, entry in enumerate(self._entries, start=first)
        ]

    def leave_for(self, head: Head) -> tuple[bytes, list[LogRow]]:
        """Return what an empty backend goes on from after `head`, instead of this one.

        It is a snapshot with every change that was made here and not committed, and the rows that
        the log gains. For a reset only: this store is good for nothing afterwards.

        Args:
            head: Of no record that was ever written: whatever is sealed after it has a new key.
        """
        rows = self._log_rows(self.durable_size)
        self._tables.apply(self._tables.pending())
        self._entries.clear()
        snapshot = Snapshot(self._size, self._peaks, self._tables.all())
        return self._key.seal_snapshot(snapshot, head=head), rows

    def _take_snapshot(self) -> None:
        """Take a snapshot; one that fails is taken later, and what was committed stays so."""
        snapshot = Snapshot(self._size, self._peaks, self._tables.all())
        sealed = self._key.seal_snapshot(snapshot, head=self._head)
        try:
            self._backend.put_snapshot(self._head.sequence, sealed, keep=self._snapshot_at)
        except UnavailableError as e:
            _LOG.warning("state.snapshot-failed code=%s detail=%s", e.code, e.detail)
        else:
            self._snapshot_at = self._head.sequence

    def append(self, entry: bytes) -> Appended:
        """Append an entry to the log; inside a transaction."""
        index, before = self._size, self._peaks
        self._grow(entry)
        self._entries.append(entry)
        proof = merkle.newest_leaf_proof(before)
        return Appended(index, proof, self._size, self.log_root())

    def require_ready(self) -> None:
        """Raise what would keep a decision from becoming durable now, as far as reading tells."""
        if self.shared:
            self.refresh()
        self._freshness.committing(self._head)
        self._freshness.abandoned()
        self.entries(max(0, self._size - 1), 1)

    def watch(self, wrap: Callable[[Freshness], Freshness]) -> None:
        """Put something around the witness, such as what measures the time of a commit."""
        self._freshness = wrap(self._freshness)
