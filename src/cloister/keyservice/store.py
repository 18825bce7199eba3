"""The service's state as the service sees it: typed rows over the journal of `state`.

Invariants:
    1. What `group`, or a `transaction` outside one, has returned from is durable, and the witness
       outside knows of it.
    2. Nothing of a transaction that failed is seen, here or after opening again.
    3. An older copy, and a second service that went on from a copy, are refused
       (`state.rolled-back`, `state.forked`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cloister.crypto.aead import AEADKey
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
from cloister.keyservice.namespaces import ROOT, lineage
from cloister.keyservice.proofs import Proofs
from cloister.keyservice.records import PolicyRecord, VolumeRecord, volume_handle
from cloister.keyservice.state import rows
from cloister.keyservice.state.backend import Backend, LogRow
from cloister.keyservice.state.format import FORMAT, NEWEST, sealed_format, upgrade_tables
from cloister.keyservice.state.freshness import Freshness, PlatformFreshness, SharedFreshness
from cloister.keyservice.state.postgres import PostgresBackend
from cloister.keyservice.state.record import FIRST_HEAD, Head, Record, Snapshot, StateKey
from cloister.keyservice.state.rows import ServiceSecrets
from cloister.keyservice.state.sqlcipher import SQLCipherBackend
from cloister.keyservice.state.tables import Tables
from cloister.keyservice.state.tenancy import TenancyTables
from cloister.tee.sim.platform import MonotonicCounter, SimPlatform

__all__ = [
    "COUNTER",
    "DATABASE_PURPOSE",
    "Appended",
    "ServiceSecrets",
    "Store",
    "seal_state_key",
    "unseal_state_key",
]

SNAPSHOT_EVERY: Final = 2000
_LOG: Final = logging.getLogger(__name__)
_READS: Final = 4
_KEY_BYTES: Final = 32
DATABASE_PURPOSE: Final = b"cloister/keyservice/v1/database"
_KEY_PURPOSE: Final = b"cloister/keyservice/v1/state-key"
_KEY_SLOT: Final = "state-key"
COUNTER: Final = "keyservice"


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a log entry went: its index, its proof, and the tree's new size and root."""

    index: int
    proof: tuple[bytes, ...]
    size: int
    root: bytes


class Store:
    """The open state. Not shared between threads."""

    def __init__(self, backend: Backend, key: StateKey, freshness: Freshness) -> None:
        """Take over an open backend and its witness; `create` and `open` choose them."""
        self._backend = backend
        self._key = key
        self._freshness = freshness
        self._tables = Tables()
        self._head = FIRST_HEAD
        self._size = 0
        self._peaks: tuple[bytes, ...] = ()
        self._entries: list[bytes] = []
        self._snapshot_at = 0
        self._grouped = False
        self._committing_to_log = False
        self.proofs: Final = Proofs(self._durable_leaves)
        self._behind = False

    @classmethod
    def create(cls, directory: Path, platform: SimPlatform, secrets: ServiceSecrets) -> None:
        """Make a new embedded state in a directory that exists and is the service's own.

        Raises:
            ConfigError: There is one already.
        """
        backend = SQLCipherBackend.create(directory, platform.sealing_key(DATABASE_PURPOSE))
        freshness = PlatformFreshness(platform.counter(COUNTER))
        cls.found(backend, platform, freshness, secrets).close()

    @classmethod
    def open(cls, directory: Path, platform: SimPlatform) -> Store:
        """Open an embedded state, checking all of it.

        Raises:
            UnavailableError: Another process has it open (`keyservice.busy`), or the disk fails
                (`keyservice.state`).
            TamperedError: Missing, foreign or changed (`state.tampered`), or an old copy
                (`state.rolled-back`).
        """
        backend = SQLCipherBackend.open(directory, platform.sealing_key(DATABASE_PURPOSE))
        freshness = PlatformFreshness(platform.counter(COUNTER))
        return cls.load(backend, platform, freshness)

    @classmethod
    def inspect(
        cls,
        directory: Path,
        platform: SimPlatform,
        witness: Callable[[MonotonicCounter], Freshness],
    ) -> Store:
        """Open an embedded state like `open`, with a witness that only looks."""
        backend = SQLCipherBackend.open(directory, platform.sealing_key(DATABASE_PURPOSE))
        return cls.load(backend, platform, witness(platform.counter(COUNTER)))

    @classmethod
    def create_shared(cls, address: str, platform: SimPlatform, secrets: ServiceSecrets) -> None:
        """Make a new state in an empty PostgreSQL database.

        Raises:
            ConfigError: There is one already, or the address is none.
            UnavailableError: The server does not answer.
        """
        backend = PostgresBackend.create(address)
        freshness = SharedFreshness(platform.counter(COUNTER))
        cls.found(backend, platform, freshness, secrets).close()

    @classmethod
    def open_shared(cls, address: str, platform: SimPlatform) -> Store:
        """Open a state in PostgreSQL beside whatever other replicas have it open.

        Raises:
            ConfigError: The address is none, or a newer version wrote the state (`state.newer`).
            UnavailableError: The server does not answer (`keyservice.database`).
            TamperedError: Missing, foreign or changed (`state.tampered`), or an old copy
                (`state.rolled-back`).
        """
        backend = PostgresBackend.open(address)
        return cls.load(backend, platform, SharedFreshness(platform.counter(COUNTER)))

    @classmethod
    def found(
        cls,
        backend: Backend,
        platform: SimPlatform,
        freshness: Freshness,
        secrets: ServiceSecrets,
    ) -> Store:
        """Begin a state in an empty backend, under a fresh key that this platform can unseal."""
        key = StateKey(random_bytes(_KEY_BYTES))
        backend.put_slot(*seal_state_key(key, platform))
        store = cls(backend, key, freshness)
        with store.transaction():
            for name, value in rows.secrets_to_rows(secrets).items():
                store._tables.put("meta", name.encode(), value)
            upgrade_tables(store._tables)
        return store

    @classmethod
    def load(cls, backend: Backend, platform: SimPlatform, freshness: Freshness) -> Store:
        """Read the state of a backend; closes backend and witness where that fails.

        Raises:
            TamperedError: This platform cannot unseal it, it was changed (`state.tampered`), or
                it is an old copy (`state.rolled-back`).
        """
        try:
            key = unseal_state_key(backend, platform)
        except BaseException:
            freshness.close()
            backend.close()
            raise
        return cls.load_with(backend, key, freshness)

    @classmethod
    def load_with(cls, backend: Backend, key: StateKey, freshness: Freshness) -> Store:
        """Read the state of a backend under a key; closes backend and witness where that fails.

        Raises:
            TamperedError: It was changed (`state.tampered`), or is an old copy
                (`state.rolled-back`).
        """
        store = cls(backend, key, freshness)
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

    # -- transactions

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

    def commit_to_log(self) -> None:
        """From now on, make the log say of every change of the state that it happened.

        For a service with witnesses: what they have seen of the log then shows how far the state
        had come, and two services that go on from one copy have different logs at once.
        """
        self._committing_to_log = True

    def _commit_to_log(self) -> None:
        """Add an entry whose digest names this change and tells nothing about it."""
        before = self._head
        self._tables.put("meta", b"salt", random_bytes(_KEY_BYTES))
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
        self._freshness.committing(before)
        head, sealed = self._key.seal_record(record, after=before)
        log = self._log_rows(size)
        self._behind = True  # until it is known that the record is there, or is not
        try:
            self._backend.append(head.sequence, sealed, log)
        except BaseException as e:
            self._freshness.abandoned()
            self._behind = not isinstance(e, StorageFullError)
            raise
        self._freshness.committed(before, head)
        self._behind = False
        self._head = head
        self._tables.apply(record.changes)
        self._entries.clear()
        if head.sequence - self._snapshot_at >= SNAPSHOT_EVERY:
            self._take_snapshot()

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

    @property
    def shared(self) -> bool:
        """Whether other replicas may change the state too."""
        return self._backend.shared

    @property
    def tables(self) -> Tables:
        """All rows, for a topic that has rows of its own; changed inside a transaction only."""
        return self._tables

    # -- what makes the service

    def secrets(self) -> ServiceSecrets:
        """Return what makes the service."""
        return rows.secrets_from_rows(dict(self._tables.rows("meta")))

    # -- policies

    def policy(self, digest: bytes) -> PolicyRecord | None:
        """Return the policy with this hash, current or not."""
        data = self._tables.get("policies", digest)
        if data is None:
            return None
        record = rows.policy_from_row(digest, data, current=False)
        newest = self._tables.get("current", rows.name_key(record.namespace, record.name))
        return replace(record, current=newest == digest)

    def current_policy(self, namespace: str, name: str) -> PolicyRecord | None:
        """Return the newest policy of that name."""
        digest = self._tables.get("current", rows.name_key(namespace, name))
        return None if digest is None else self.policy(digest)

    def policies(self) -> list[PolicyRecord]:
        """Return every policy, oldest first."""
        found = [self.policy(digest) for digest, _ in self._tables.rows("policies")]
        return [record for record in found if record is not None]

    def put_policy(self, record: PolicyRecord) -> None:
        """Add a policy as the current one of its name; inside a transaction."""
        self._tables.put("policies", record.hash, rows.policy_to_row(record))
        self._tables.put("current", rows.name_key(record.namespace, record.name), record.hash)

    # -- volumes

    def volume(self, handle: bytes) -> VolumeRecord | None:
        """Return a registered volume by its handle; the root's by its identity."""
        data = self._tables.get("volumes", handle)
        return None if data is None else rows.volume_from_row(handle, data)

    def volume_in(self, volume_id: bytes, governor: str) -> VolumeRecord | None:
        """Return the volume of that identity which the charter of `governor` governs now.

        Whoever governed when it was registered stood there or above.
        """
        for tenant in lineage(governor):
            record = self.volume(volume_handle(volume_id, tenant))
            if record is not None and self.governor(record.namespace) == governor:
                return record
        return None

    def volumes_named(self, volume_id: bytes) -> list[VolumeRecord]:
        """Return every tenant's volume of that identity, the root's first."""
        data = self._tables.get("volume-tenants", volume_id)
        tenants = [ROOT] if data is None else [ROOT, *rows.tenants_from_row(data)]
        found = [self.volume(volume_handle(volume_id, tenant)) for tenant in tenants]
        return [record for record in found if record is not None]

    def volumes(self) -> list[VolumeRecord]:
        """Return every registered volume, by identity."""
        found = sorted(self._tables.rows("volumes"))
        return [rows.volume_from_row(handle, data) for handle, data in found]

    def put_volume(self, record: VolumeRecord) -> None:
        """Add or replace a volume; inside a transaction."""
        if record.tenant != ROOT and self.volume(record.handle) is None:
            others = [each.tenant for each in self.volumes_named(record.id) if each.tenant != ROOT]
            row = rows.tenants_to_row([*others, record.tenant])
            self._tables.put("volume-tenants", record.id, row)
        self._tables.put("volumes", record.handle, rows.volume_to_row(record))

    @property
    def head(self) -> Head:
        """The newest record."""
        return self._head

    @property
    def key(self) -> StateKey:
        """The state key, to be sealed for somebody else."""
        return self._key

    # -- who decides

    @property
    def tenancy(self) -> TenancyTables:
        """Charters, proposals and the keys that policies name."""
        return TenancyTables(self._tables)

    def governor(self, namespace: str) -> str:
        """Return the namespace whose charter governs this one; `/` for the root."""
        return self.tenancy.governor(namespace)

    # -- the log

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

    def append(self, entry: bytes) -> Appended:
        """Append an entry to the log; inside a transaction."""
        index, before = self._size, self._peaks
        self._grow(entry)
        self._entries.append(entry)
        proof = merkle.newest_leaf_proof(before)
        return Appended(index, proof, self._size, self.log_root())

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

    # -- how it is

    @property
    def sequence(self) -> int:
        """The number of the newest record."""
        return self._head.sequence

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

    # -- inside

    def _durable_leaves(self, first: int, count: int) -> list[bytes]:
        return [leaf for _, leaf in self._log(first, count)]

    def _log(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """Open rows of the log: none is left out, each is in its place and has its own leaf."""
        wanted = range(first, min(first + count, self.durable_size))
        rows = list(self._backend.log(first, len(wanted)))[: len(wanted)]
        found = [
            (self._key.open_entry(row.sealed, position=position), row.leaf)
            for position, row in zip(wanted, rows, strict=False)
        ]
        whole = len(found) == len(wanted)
        if not whole or any(merkle.leaf_hash(entry) != leaf for entry, leaf in found):
            raise TamperedError(
                "the log in the key service's state was changed",
                code="state.tampered",
                detail=f"{len(found)} of {len(wanted)} entries from {first}",
            )
        return found

    def _grow(self, entry: bytes) -> None:
        self._peaks = merkle.append(self._peaks, self._size, merkle.leaf_hash(entry))
        self._size += 1

    def _load(self) -> None:
        self._freshness.reading()
        self._read_snapshot()
        self._catch_up()
        if self._head == FIRST_HEAD:
            raise TamperedError("the key service's state is empty", code="state.tampered")
        sealed_format(self._tables)

    def refresh(self) -> None:
        """Catch up with records that others have added; outside a group.

        Raises:
            TamperedError: They do not continue the state (`state.tampered`), or what there is lacks
                records that the witness knows of (`state.rolled-back`).
        """
        self._freshness.reading()
        self._catch_up()

    def _catch_up(self) -> None:
        """Read what is newer. Snapshots that others take may overtake us, though not for ever."""
        for _ in range(_READS):
            if self._read_records():
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

    def _read_records(self) -> bool:
        """Apply the records behind the head; False where one is missing."""
        for sequence, sealed in self._backend.records(self._head.sequence):
            if sequence != self._head.sequence + 1:
                return False
            self._head, record = self._key.open_record(sealed, after=self._head)
            for entry in record.entries:
                self._grow(entry)
            self._tables.apply(record.changes)
        return True

    def _read_snapshot(self) -> bool:
        """Go on from the snapshot if it is newer than the head."""
        found = self._backend.snapshot()
        if found is None or found[0] <= self._head.sequence:
            return False
        self._head, snapshot = self._key.open_snapshot(found[1], sequence=found[0])
        self._tables = Tables(snapshot.tables)
        self._size, self._peaks = snapshot.log_size, snapshot.peaks
        self._snapshot_at = self._head.sequence
        return True


def seal_state_key(key: StateKey, platform: SimPlatform) -> tuple[str, bytes]:
    """Return the slot from which this platform, and no other, unseals the state key."""
    sealing = AEADKey(platform.sealing_key(_KEY_PURPOSE))
    return _slot(platform), sealing.seal_random(key.to_secret(), b"")


def unseal_state_key(backend: Backend, platform: SimPlatform) -> StateKey:
    """Unseal the state key of a backend.

    Raises:
        TamperedError: It has none for this platform (`state.tampered`).
    """
    sealed = backend.slot(_slot(platform))
    wrong = TamperedError(
        "this platform cannot unseal the key service's state",
        code="state.tampered",
        detail="no state key for this platform" if sealed is None else "state key",
    )
    if sealed is None:
        raise wrong
    sealing = AEADKey(platform.sealing_key(_KEY_PURPOSE))
    return StateKey(sealing.open_random(sealed, b"", error=wrong))


def _slot(platform: SimPlatform) -> str:
    return f"{_KEY_SLOT}/{platform.anchor.text}"
