"""The embedded backend: one SQLCipher database in a directory of its own, one process at a time.

Invariants:
    1. What a method has returned from is durable: WAL, `synchronous=FULL`, committed.
    2. Every page is encrypted and authenticated under the platform's sealing key; a foreign,
       changed or cut database is refused at opening (`state.tampered`).
    3. A lock on a file beside the database keeps a second process out (`keyservice.busy`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import sqlcipher3

from cloister.errors import (
    CloisterError,
    ConfigError,
    StateMovedError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice.state.backend import LogRow, Rekeyed, Rows
from cloister.keyservice.state.format import FORMAT, require_format

__all__ = ["DATABASE", "SQLCipherBackend"]

DATABASE: Final = "state.db"
_LOCK: Final = "lock"
_BUILDING: Final = ".restoring"
_PAGE: Final = 256
_CACHE_KIB: Final = 1024  # rows are read at opening and written at the end: more helps nobody
_SCHEMA: Final = """
CREATE TABLE slots (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE records (sequence INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
CREATE TABLE snapshot (sequence INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
CREATE TABLE log (position INTEGER PRIMARY KEY, sealed BLOB NOT NULL, leaf BLOB NOT NULL) STRICT;
"""


class SQLCipherBackend:
    """An open database; made by `create` or `open`."""

    shared: Final = False

    def __init__(self, connection: Any, lock_fd: int) -> None:
        """Wrap an opened and locked database."""
        self._db = connection
        self._lock_fd = lock_fd

    @classmethod
    def create(cls, directory: Path, key: bytes) -> SQLCipherBackend:
        """Make a new database in a directory that exists and is the service's own.

        Raises:
            ConfigError: There is one already (`config.exists`).
        """
        path = directory / DATABASE
        if path.exists():
            raise ConfigError(f"{path} exists already", code="config.exists")
        lock_fd = _lock(directory)
        with _translated(path):
            connection = _connect(path, key)
            connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        backend = cls(connection, lock_fd)
        backend.put_slot("format", FORMAT)
        return backend

    @classmethod
    def open(cls, directory: Path, key: bytes) -> SQLCipherBackend:
        """Open a database, checking every page of it.

        Raises:
            UnavailableError: Another process has it open (`keyservice.busy`), or the disk fails
                (`keyservice.state`).
            TamperedError: Missing, foreign or changed (`state.tampered`).
        """
        path = directory / DATABASE
        lock_fd = _lock(directory)
        try:
            if not path.is_file():
                raise TamperedError(
                    "the key service's database is missing", code="state.tampered", detail=str(path)
                )
            with _translated(path):
                backend = cls(_connect(path, key), lock_fd)
                if backend._db.execute("PRAGMA cipher_integrity_check").fetchone() is not None:
                    raise _tampered("a page does not authenticate")
                require_format(backend.slot("format"))
        except BaseException:
            os.close(lock_fd)
            raise
        return backend

    @classmethod
    @contextlib.contextmanager
    def at_one_moment(cls, directory: Path, key: bytes) -> Iterator[SQLCipherBackend]:
        """Read a database as it is at one moment, also while a service has it open.

        Raises:
            TamperedError: Missing, foreign or changed (`state.tampered`).
            UnavailableError: The disk fails (`keyservice.state`).
        """
        path = directory / DATABASE
        if not path.is_file():
            raise TamperedError(
                "the key service's database is missing", code="state.tampered", detail=str(path)
            )
        with _translated(path):
            connection = _use(path, key)
        try:
            with _translated(path):
                connection.execute("PRAGMA query_only = ON")
                connection.execute("BEGIN")
            backend = cls(connection, lock_fd=-1)
            require_format(backend.slot("format"))  # the first read: the moment begins
            yield backend
        finally:
            connection.close()

    @classmethod
    def require_none(cls, directory: Path) -> None:
        """Raise where anything is left of a state: a new one would take over an older journal.

        Raises:
            ConfigError: Code `config.exists`.
        """
        for suffix in ("", "-wal", "-shm"):
            path = directory / (DATABASE + suffix)
            if path.exists():
                raise ConfigError(
                    f"{path} exists already",
                    code="config.exists",
                    hint="a state is brought back only where there is none: move the old one away, "
                    "all files whose names begin with state.db",
                )

    @classmethod
    def build(cls, directory: Path, key: bytes, rows: Rows) -> None:
        """Put a whole state into a directory that has none, or nothing of it.

        Args:
            directory: The service's own.
            key: For the new database.
            rows: What it holds.

        Raises:
            ConfigError: There is one already, or what is left of one (`config.exists`).
            UnavailableError: A service has it open (`keyservice.busy`), or the disk fails.
        """
        lock_fd = _lock(directory)
        building = directory / _BUILDING
        try:
            cls.require_none(directory)
            with _translated(directory / DATABASE):
                shutil.rmtree(building, ignore_errors=True)  # of one that was killed
                building.mkdir(mode=0o700)
                _fill(building / DATABASE, key, rows)
                _put_in_place(building, directory)
        finally:
            shutil.rmtree(building, ignore_errors=True)
            os.close(lock_fd)

    def slot(self, name: str) -> bytes | None:
        """Return what was kept under a name."""
        with _translated():
            row = self._db.execute("SELECT value FROM slots WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def slots(self) -> Iterator[tuple[str, bytes]]:
        """Return every slot."""
        with _translated():
            rows = self._db.execute("SELECT name, value FROM slots ORDER BY name").fetchall()
        return ((name, bytes(value)) for name, value in rows)

    def put_slot(self, name: str, value: bytes) -> None:
        """Keep a value under a name."""
        with _translated():
            self._db.execute("INSERT OR REPLACE INTO slots VALUES (?, ?)", (name, value))

    def append(self, sequence: int, sealed: bytes, log: Iterable[LogRow]) -> None:
        """Add a record and its log rows in one transaction."""
        with self._transaction():
            self._add_record(sequence, sealed)
            for row in log:
                self._db.execute(
                    "INSERT INTO log VALUES (?, ?, ?)", (row.position, row.sealed, row.leaf)
                )

    def rekey(self, sequence: int, sealed: bytes, rows: Rekeyed) -> None:
        """Add a record and put everything else under another key in one transaction."""
        with self._transaction():
            self._add_record(sequence, sealed)
            self._db.execute("DELETE FROM records WHERE sequence < ?", (sequence,))
            self._db.execute("DELETE FROM snapshot")
            self._db.execute("INSERT INTO snapshot VALUES (?, ?)", (sequence, rows.snapshot))
            for row in rows.log:
                self._db.execute(
                    "INSERT OR REPLACE INTO log VALUES (?, ?, ?)",
                    (row.position, row.sealed, row.leaf),
                )
            self._db.execute("DELETE FROM slots")
            self._db.executemany("INSERT INTO slots VALUES (?, ?)", rows.slots)

    def records(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Return the records behind a number, a page at a time."""
        sql = "SELECT sequence, sealed FROM records WHERE sequence > ? ORDER BY sequence LIMIT ?"
        while True:
            with _translated():
                rows = self._db.execute(sql, (after, _PAGE)).fetchall()
            yield from rows
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def snapshot(self) -> tuple[int, bytes] | None:
        """Return the newest snapshot."""
        with _translated():
            row = self._db.execute(
                "SELECT sequence, sealed FROM snapshot ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
        return None if row is None else (row[0], bytes(row[1]))

    def put_snapshot(self, sequence: int, sealed: bytes, *, keep: int) -> None:
        """Replace the snapshot, and drop the records that nobody needs any more."""
        with self._transaction():
            self._db.execute("INSERT INTO snapshot VALUES (?, ?)", (sequence, sealed))
            self._db.execute(
                "DELETE FROM snapshot WHERE sequence < (SELECT max(sequence) FROM snapshot)"
            )
            self._db.execute("DELETE FROM records WHERE sequence <= ?", (keep,))

    def log(self, first: int, count: int) -> Iterator[LogRow]:
        """Return rows of the log."""
        sql = "SELECT position, sealed, leaf FROM log WHERE position >= ? ORDER BY position LIMIT ?"
        with _translated():
            rows = self._db.execute(sql, (first, count)).fetchall()
        return (LogRow(*row) for row in rows)

    def log_size(self) -> int:
        """Return the position behind the newest row."""
        with _translated():
            row = self._db.execute("SELECT coalesce(max(position) + 1, 0) FROM log").fetchone()
        return int(row[0])

    def leaves(self) -> Iterator[bytes]:
        """Return every leaf hash."""
        with _translated():
            rows = self._db.execute("SELECT leaf FROM log ORDER BY position").fetchall()
        return (bytes(row[0]) for row in rows)

    def close(self) -> None:
        """Close the database and let the lock go."""
        try:
            with _translated():
                self._db.close()
        finally:
            os.close(self._lock_fd)

    def _add_record(self, sequence: int, sealed: bytes) -> None:
        if self._db.execute("SELECT 1 FROM records WHERE sequence = ?", (sequence,)).fetchone():
            raise StateMovedError("the state has moved on", code="keyservice.moved")
        self._db.execute("INSERT INTO records VALUES (?, ?)", (sequence, sealed))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with _translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlcipher3.Error):
                    self._db.execute("ROLLBACK")
                raise


def _fill(path: Path, key: bytes, rows: Rows) -> None:
    log = ((row.position, row.sealed, row.leaf) for row in rows.log)
    with contextlib.closing(_connect(path, key)) as db:
        db.execute("BEGIN")
        for statement in _SCHEMA.strip().split("\n"):
            db.execute(statement)
        db.executemany("INSERT INTO slots VALUES (?, ?)", rows.slots)
        db.executemany("INSERT INTO records VALUES (?, ?)", rows.records)
        if rows.snapshot is not None:
            db.execute("INSERT INTO snapshot VALUES (?, ?)", rows.snapshot)
        db.executemany("INSERT INTO log VALUES (?, ?, ?)", log)
        db.execute("COMMIT")
        # One file, so that putting it in place is one step; opening it turns WAL on again.
        db.execute("PRAGMA journal_mode = DELETE").fetchone()
    _sync(path)


def _put_in_place(building: Path, directory: Path) -> None:
    os.link(building / DATABASE, directory / DATABASE)
    _sync(directory)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _connect(path: Path, key: bytes) -> Any:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    os.close(fd)
    return _use(path, key)


def _use(path: Path, key: bytes) -> Any:
    connection = sqlcipher3.connect(str(path), isolation_level=None, timeout=5)
    connection.execute("PRAGMA cipher_log_level = NONE").fetchall()
    connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
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
def _translated(path: Path = Path(DATABASE)) -> Iterator[None]:
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
