"""The service's state: one encrypted database, one transaction for each change of state.

Invariants:
    1. What a method has returned from is durable: WAL, `synchronous=FULL`, committed.
    2. Every page is encrypted and authenticated under the platform's sealing key; a foreign,
       changed or cut database is refused at opening (`state.tampered`).
    3. A counter in the database grows with every change, and the platform's counter follows it.
       A database whose counter is behind the platform's is an old copy and is refused.
    4. One process at a time: a lock on a file beside the database.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlcipher3

from cloister.crypto.digest import DIGEST_BYTES
from cloister.errors import (
    CloisterError,
    ConfigError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice import merkle
from cloister.keyservice.records import Holder, PolicyRecord, VolumeRecord
from cloister.tee.sim.platform import MonotonicCounter, SimPlatform

__all__ = ["Appended", "ServiceSecrets", "Store"]

_DATABASE: Final = "state.db"
_LOCK: Final = "lock"
_SCHEMA_VERSION: Final = 1
_PURPOSE: Final = b"cloister/keyservice/v1/database"
_COUNTER: Final = "keyservice"
_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE policies (
    hash BLOB PRIMARY KEY, canonical BLOB NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    current INTEGER NOT NULL, at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX current_policy ON policies (namespace, name) WHERE current = 1;
CREATE TABLE volumes (
    id BLOB PRIMARY KEY, key BLOB NOT NULL, kind TEXT NOT NULL, version INTEGER NOT NULL,
    root BLOB NOT NULL, state_epoch INTEGER NOT NULL, epoch INTEGER NOT NULL,
    holder BLOB, secret BLOB
) STRICT;
CREATE TABLE log (position INTEGER PRIMARY KEY, entry BLOB NOT NULL, leaf BLOB NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True, repr=False)
class ServiceSecrets:
    """What makes the service itself; born in `Store.create` and never leaving the database.

    Attributes:
        signing_seed: The service's Ed25519 seed: its identity.
        hpke_seed: The key that owners seal volume keys to.
        ca_key: DER of the certificate authority's key.
        ca_certificate: DER of its certificate.
        reader_secret: From which readers' anchor secrets derive.
        owner: The owner's Ed25519 public key.
        trust_domain: Its name.
    """

    signing_seed: bytes
    hpke_seed: bytes
    ca_key: bytes
    ca_certificate: bytes
    reader_secret: bytes
    owner: bytes
    trust_domain: str


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a log entry went: its index, its proof, and the tree's new size and root."""

    index: int
    proof: tuple[bytes, ...]
    size: int
    root: bytes


class Store:
    """The open database. Not shared between threads; every method is one transaction at most."""

    def __init__(self, connection: Any, lock_fd: int, counter: MonotonicCounter) -> None:
        """Wrap an opened database; use `create` or `open`."""
        self._db = connection
        self._lock_fd = lock_fd
        self._counter = counter
        self._count = 0
        self._size = 0
        self._peaks: tuple[bytes, ...] = ()
        self._in_transaction = False

    @classmethod
    def create(cls, directory: Path, platform: SimPlatform, secrets: ServiceSecrets) -> None:
        """Make a new database in a directory that exists and is the service's own.

        Raises:
            ConfigError: There is one already.
        """
        path = directory / _DATABASE
        if path.exists():
            raise ConfigError(f"{path} exists already", code="config.exists")
        lock_fd = _lock(directory)
        counter = platform.counter(_COUNTER)
        with _translated(path):
            store = cls(_connect(path, platform.sealing_key(_PURPOSE)), lock_fd, counter)
            store._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            with store.transaction():
                for name, value in _secrets_to_rows(secrets).items():
                    store._set_meta(name, value)
                store._set_meta("schema", _SCHEMA_VERSION.to_bytes(4, "big"))
                store._set_meta("peaks", b"")
            store.close()

    @classmethod
    def open(cls, directory: Path, platform: SimPlatform) -> Store:
        """Open the service's database, checking every page of it.

        Raises:
            UnavailableError: Another process has it open (`keyservice.busy`), or the disk fails
                (`keyservice.state`).
            TamperedError: Missing, foreign, changed, or an old copy (`state.tampered`).
        """
        path = directory / _DATABASE
        lock_fd = _lock(directory)
        counter = platform.counter(_COUNTER)
        try:
            if not path.is_file():
                raise TamperedError(
                    "the key service's database is missing", code="state.tampered", detail=str(path)
                )
            with _translated(path):
                store = cls(_connect(path, platform.sealing_key(_PURPOSE)), lock_fd, counter)
                store._check()
        except BaseException:
            counter.close()
            os.close(lock_fd)
            raise
        return store

    def close(self) -> None:
        """Close the database and let the lock go."""
        with _translated(Path(_DATABASE)):
            self._db.close()
        self._counter.close()
        os.close(self._lock_fd)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside durable together, or nothing of it.

        In-memory parts (log peaks, counter) go back with the database.
        """
        before = (self._count, self._size, self._peaks)
        with _translated(Path(_DATABASE)):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._count += 1
                self._set_meta("counter", self._count.to_bytes(8, "big"))
                self._db.execute("COMMIT")
            except BaseException:
                self._count, self._size, self._peaks = before
                with contextlib.suppress(sqlcipher3.Error):
                    self._db.execute("ROLLBACK")
                raise
        self._counter.raise_to(self._count)

    def secrets(self) -> ServiceSecrets:
        """Return what makes the service."""
        rows = {
            name: self._meta(name)
            for name in (
                "signing_seed",
                "hpke_seed",
                "ca_key",
                "ca_certificate",
                "reader_secret",
                "owner",
            )
        }
        return ServiceSecrets(**rows, trust_domain=self._meta("trust_domain").decode())

    # -- policies

    def policy(self, digest: bytes) -> PolicyRecord | None:
        """Return the policy with this hash, current or not."""
        row = self._row("SELECT * FROM policies WHERE hash = ?", digest)
        return None if row is None else _policy(row)

    def current_policy(self, namespace: str, name: str) -> PolicyRecord | None:
        """Return the newest policy of that name."""
        sql = "SELECT * FROM policies WHERE namespace = ? AND name = ? AND current = 1"
        row = self._row(sql, namespace, name)
        return None if row is None else _policy(row)

    def policies(self) -> list[PolicyRecord]:
        """Return every policy, oldest first."""
        with _translated(Path(_DATABASE)):
            rows = self._db.execute("SELECT * FROM policies ORDER BY at, rowid").fetchall()
        return [_policy(row) for row in rows]

    def put_policy(self, record: PolicyRecord) -> None:
        """Add a policy as the current one of its name; inside a transaction."""
        self._db.execute(
            "UPDATE policies SET current = 0 WHERE namespace = ? AND name = ?",
            (record.namespace, record.name),
        )
        self._db.execute(
            "INSERT INTO policies VALUES (?, ?, ?, ?, 1, ?)"
            " ON CONFLICT (hash) DO UPDATE SET current = 1",
            (record.hash, record.canonical, record.namespace, record.name, record.at),
        )

    # -- volumes

    def volume(self, volume_id: bytes) -> VolumeRecord | None:
        """Return a registered volume."""
        row = self._row("SELECT * FROM volumes WHERE id = ?", volume_id)
        return None if row is None else _volume(row)

    def volumes(self) -> list[VolumeRecord]:
        """Return every registered volume, by identity."""
        with _translated(Path(_DATABASE)):
            rows = self._db.execute("SELECT * FROM volumes ORDER BY id").fetchall()
        return [_volume(row) for row in rows]

    def put_volume(self, record: VolumeRecord) -> None:
        """Add or replace a volume; inside a transaction."""
        holder = record.holder
        self._db.execute(
            "INSERT OR REPLACE INTO volumes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.id,
                record.key,
                record.kind,
                record.version,
                record.root,
                record.state_epoch,
                record.epoch,
                None if holder is None else holder.key_digest,
                None if holder is None else holder.secret,
            ),
        )

    # -- the log

    @property
    def log_size(self) -> int:
        """How many entries the log has."""
        return self._size

    def log_root(self) -> bytes:
        """Return the log's root."""
        return merkle.root_of_peaks(self._peaks)

    def append(self, entry: bytes) -> Appended:
        """Append an entry to the log; inside a transaction."""
        leaf = merkle.leaf_hash(entry)
        index, before = self._size, self._peaks
        self._peaks = merkle.append(before, index, leaf)
        self._size = index + 1
        self._db.execute("INSERT INTO log VALUES (?, ?, ?)", (index, entry, leaf))
        self._set_meta("peaks", b"".join(self._peaks))
        proof = merkle.newest_leaf_proof(before)
        return Appended(index, proof, self._size, self.log_root())

    def entries(self, first: int, count: int) -> list[bytes]:
        """Return up to `count` entries from number `first`."""
        sql = "SELECT entry FROM log WHERE position >= ? ORDER BY position LIMIT ?"
        with _translated(Path(_DATABASE)):
            return [row[0] for row in self._db.execute(sql, (first, count)).fetchall()]

    def leaves(self) -> list[bytes]:
        """Return every leaf hash, for proofs about old trees."""
        with _translated(Path(_DATABASE)):
            rows = self._db.execute("SELECT leaf FROM log ORDER BY position").fetchall()
        return [row[0] for row in rows]

    # -- inside

    def _check(self) -> None:
        if self._db.execute("PRAGMA cipher_integrity_check").fetchone() is not None:
            raise _tampered("a page does not authenticate")
        if int.from_bytes(self._meta("schema"), "big") != _SCHEMA_VERSION:
            raise _tampered("unknown schema version")
        self._count = int.from_bytes(self._meta("counter"), "big")
        if self._count < self._counter.value:
            raise TamperedError(
                "the key service's database is an old copy",
                code="state.tampered",
                detail=f"counter {self._count}, platform has {self._counter.value}",
            )
        row = self._db.execute("SELECT count(*), max(position) FROM log").fetchone()
        peaks = self._meta("peaks")
        self._size = row[0]
        self._peaks = tuple(peaks[i : i + DIGEST_BYTES] for i in range(0, len(peaks), DIGEST_BYTES))
        if (row[1] is not None and row[1] + 1 != row[0]) or len(
            self._peaks
        ) != self._size.bit_count():
            raise _tampered("the log has a gap")

    def _row(self, sql: str, *values: object) -> Sequence[Any] | None:
        with _translated(Path(_DATABASE)):
            row: Sequence[Any] | None = self._db.execute(sql, values).fetchone()
        return row

    def _meta(self, name: str) -> bytes:
        row = self._row("SELECT value FROM meta WHERE name = ?", name)
        if row is None:
            raise _tampered(f"{name} is missing")
        return bytes(row[0])

    def _set_meta(self, name: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def _connect(path: Path, key: bytes) -> Any:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    os.close(fd)
    connection = sqlcipher3.connect(str(path), isolation_level=None, timeout=5)
    connection.execute("PRAGMA cipher_log_level = NONE").fetchall()
    connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _lock(directory: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(directory / _LOCK, flags, 0o600)
    except OSError as e:
        raise UnavailableError(
            "the key service's state cannot be opened", code="keyservice.state", detail=str(e)
        ) from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(fd)
        raise UnavailableError(
            "another key service has this state open", code="keyservice.busy"
        ) from e
    return fd


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn the library's errors into ours; the one seam where they can appear."""
    try:
        yield
    except sqlcipher3.Error as e:
        raise _ours(e, path) from e
    except OSError as e:
        if e.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _full() from e
        raise UnavailableError(
            "the key service's state cannot be used", code="keyservice.state", detail=str(e)
        ) from e


def _ours(error: Exception, path: Path) -> CloisterError:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return _full()
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return UnavailableError("the key service's state is in use", code="keyservice.busy")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_CONSTRAINT", "SQLITE_ERROR")):
        return _tampered(f"{path}: {error}")
    return UnavailableError(
        "the key service's state cannot be used", code="keyservice.state", detail=f"{name} {error}"
    )


def _full() -> StorageFullError:
    return StorageFullError("the disk of the key service is full", code="storage.full")


def _tampered(detail: str) -> TamperedError:
    return TamperedError(
        "the key service's database was changed, or belongs to another platform",
        code="state.tampered",
        detail=detail,
    )


def _secrets_to_rows(secrets: ServiceSecrets) -> dict[str, bytes]:
    return {
        "signing_seed": secrets.signing_seed,
        "hpke_seed": secrets.hpke_seed,
        "ca_key": secrets.ca_key,
        "ca_certificate": secrets.ca_certificate,
        "reader_secret": secrets.reader_secret,
        "owner": secrets.owner,
        "trust_domain": secrets.trust_domain.encode(),
    }


def _policy(row: Sequence[Any]) -> PolicyRecord:
    digest, canonical, namespace, name, current, at = row
    return PolicyRecord(digest, canonical, namespace, name, bool(current), at)


def _volume(row: Sequence[Any]) -> VolumeRecord:
    volume_id, key, kind, version, root, state_epoch, epoch, holder, secret = row
    held = None if holder is None else Holder(holder, secret)
    return VolumeRecord(volume_id, key, kind, version, root, state_epoch, epoch, held)
