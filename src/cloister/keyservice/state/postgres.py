"""The shared backend: a PostgreSQL database that several replicas use and nobody trusts.

Invariants:
    1. What a method has returned from is committed, with `synchronous_commit` at least `on`.
    2. The primary key of the records decides which replica was first; the other changes nothing.
    3. Every call ends in bounded time. A connection that failed in any way is closed, and the next
       call makes a new one; a write is never tried twice.
    4. What comes back has the types of our tables, or is refused; its content is authenticated by
       whoever asked.

A password is in libpq's password file (`PGPASSFILE`, or `passfile` in the address), never in the
address: addresses are seen in argv and in logs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from cloister.errors import (
    CloisterError,
    ConfigError,
    MissingExtraError,
    StateMovedError,
    StorageFullError,
    TamperedError,
    UnavailableError,
    extra_hint,
)
from cloister.keyservice.state.backend import LogRow, Rekeyed, Rows
from cloister.keyservice.state.format import FORMAT, require_format

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresBackend"]

CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_S: Final = 10
_LAST_RESORT_S: Final = STATEMENT_TIMEOUT_S + 5
_PAGE: Final = 64
_LEAVES: Final = 4096
_SCHEMES: Final = ("postgresql://", "postgres://")
_SCHEMA: Final = """
CREATE SCHEMA cloister;
CREATE TABLE cloister.slots (name text PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE cloister.records (sequence bigint PRIMARY KEY, sealed bytea NOT NULL);
CREATE TABLE cloister.snapshot (sequence bigint PRIMARY KEY, sealed bytea NOT NULL);
CREATE TABLE cloister.log (position bigint PRIMARY KEY, sealed bytea NOT NULL, leaf bytea NOT NULL);
"""
# The log's rows are joined to the record's, so that the record's key is the first to be decided.
_APPEND: Final = """
WITH added AS (
    INSERT INTO cloister.records (sequence, sealed) VALUES (%s, %s) RETURNING sequence)
INSERT INTO cloister.log (position, sealed, leaf)
SELECT row.position, row.sealed, row.leaf
FROM added, unnest(%s::bigint[], %s::bytea[], %s::bytea[]) AS row (position, sealed, leaf)
"""
_PUT_SLOT: Final = "INSERT INTO cloister.slots VALUES (%s, %s)"
_ADD_LOG: Final = """
INSERT INTO cloister.log (position, sealed, leaf)
SELECT * FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[])
"""
_PUT_SNAPSHOT: Final = (
    "INSERT INTO cloister.snapshot VALUES (%s, %s) ON CONFLICT DO NOTHING",
    "DELETE FROM cloister.snapshot WHERE sequence < (SELECT max(sequence) FROM cloister.snapshot)",
    "DELETE FROM cloister.records WHERE sequence <= %s"
    " AND sequence <= (SELECT max(sequence) FROM cloister.snapshot)",
)
# Writers wait for a change of the key, and then find its record there; readers do not wait.
_REKEY: Final = (
    "LOCK TABLE cloister.records, cloister.snapshot, cloister.slots, cloister.log"
    " IN SHARE ROW EXCLUSIVE MODE",
    "INSERT INTO cloister.records VALUES (%s, %s)",
    "DELETE FROM cloister.records WHERE sequence < %s",
    "DELETE FROM cloister.snapshot",
    "INSERT INTO cloister.snapshot VALUES (%s, %s)",
    "DELETE FROM cloister.slots",
)
_REPLACE_LOG: Final = (
    _ADD_LOG + "ON CONFLICT (position) DO UPDATE SET sealed = excluded.sealed, leaf = excluded.leaf"
)
_SETTINGS: Final = """
SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),
    set_config('idle_in_transaction_session_timeout', %s, false),
    set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit')
        IN ('off', 'local') THEN 'on' ELSE current_setting('synchronous_commit') END, false)
"""


class PostgresBackend:
    """The rows of one service in one database; made by `create` or `open`."""

    shared: Final = True

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Take what libpq connects with; connects on first use."""
        self._parameters = dict(parameters)
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._one_moment = False

    @classmethod
    def create(cls, address: str) -> PostgresBackend:
        """Make the tables in an existing database that has none of ours.

        Raises:
            ConfigError: They are there already (`config.exists`), or the address is none.
            MissingExtraError: The driver is not installed.
            UnavailableError: The server does not answer, or does not let us.
        """
        backend = cls(_parameters(address))
        try:
            backend._require_no_state()
            with backend._transaction() as run:
                run(_SCHEMA)
                run("INSERT INTO cloister.slots VALUES ('format', %s)", (FORMAT,))
        except BaseException:
            backend.close()
            raise
        return backend

    @classmethod
    def require_none(cls, address: str) -> None:
        """Raise where a database has a state.

        Raises:
            ConfigError: It has one (`config.exists`), or the address is none.
            UnavailableError: The server does not answer, or does not let us.
        """
        backend = cls(_parameters(address))
        with contextlib.closing(backend):
            backend._require_no_state()

    @classmethod
    def build(cls, address: str, rows: Rows) -> None:
        """Put a whole state into a database that has none, in one transaction.

        Args:
            address: Of an existing database that has none of our tables.
            rows: What it holds.

        Raises:
            ConfigError: There is one already (`config.exists`), or the address is none.
            MissingExtraError: The driver is not installed.
            UnavailableError: The server does not answer, or does not let us.
        """
        backend = cls(_parameters(address))
        with contextlib.closing(backend):
            backend._require_no_state()
            with backend._transaction() as run:
                run(_SCHEMA)
                for slot in rows.slots:
                    run(_PUT_SLOT, slot)
                for record in rows.records:
                    run("INSERT INTO cloister.records VALUES (%s, %s)", record)
                if rows.snapshot is not None:
                    run("INSERT INTO cloister.snapshot VALUES (%s, %s)", rows.snapshot)
                log = iter(rows.log)
                while page := list(islice(log, _LEAVES)):
                    run(_ADD_LOG, _columns(page))

    @classmethod
    def open(cls, address: str) -> PostgresBackend:
        """Open a database that `create` made.

        Raises:
            ConfigError: The address is none, or a newer version wrote the state (`state.newer`).
            MissingExtraError: The driver is not installed.
            UnavailableError: The server does not answer, or does not let us.
            TamperedError: There is no state of ours (`state.tampered`).
        """
        backend = cls(_parameters(address))
        try:
            require_format(backend.slot("format"))
        except BaseException:
            backend.close()
            raise
        return backend

    @contextlib.contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Make all reads inside show the database as it is at one moment."""
        with self._connected() as connection:
            _execute(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._one_moment = True
        try:
            yield
        finally:
            self._one_moment = False
            self.close()

    def slot(self, name: str) -> bytes | None:
        """Return what was kept under a name."""
        rows = self._read("SELECT value FROM cloister.slots WHERE name = %s", (name,))
        return _octets(rows[0][0]) if rows else None

    def slots(self) -> Iterator[tuple[str, bytes]]:
        """Return every slot."""
        rows = self._read('SELECT name, value FROM cloister.slots ORDER BY name COLLATE "C"')
        return ((_text(name), _octets(value)) for name, value in rows)

    def put_slot(self, name: str, value: bytes) -> None:
        """Keep a value under a name."""
        with self._transaction() as run:
            run(
                "INSERT INTO cloister.slots VALUES (%s, %s)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, value),
            )

    def append(self, sequence: int, sealed: bytes, log: Iterable[LogRow]) -> None:
        """Add a record and its log rows in one statement."""
        with self._connected() as connection:
            _execute(connection, _APPEND, (sequence, sealed, *_columns(list(log))))

    def rekey(self, sequence: int, sealed: bytes, rows: Rekeyed) -> None:
        """Add a record and put everything else under another key in one transaction."""
        lock, add, drop_records, drop_snapshots, put_snapshot, drop_slots = _REKEY
        with self._transaction() as run:
            run(lock)
            run(add, (sequence, sealed))
            run(drop_records, (sequence,))
            run(drop_snapshots)
            run(put_snapshot, (sequence, rows.snapshot))
            log = iter(rows.log)
            while page := list(islice(log, _LEAVES)):
                run(_REPLACE_LOG, _columns(page))
            run(drop_slots)
            for slot in rows.slots:
                run(_PUT_SLOT, slot)

    def records(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Return the records behind a number, a page at a time."""
        sql = (
            "SELECT sequence, sealed FROM cloister.records WHERE sequence > %s"
            " ORDER BY sequence LIMIT %s"
        )
        while True:
            rows = self._read(sql, (after, _PAGE))
            for sequence, sealed in rows:
                after = _number(sequence)
                yield after, _octets(sealed)
            if len(rows) < _PAGE:
                return

    def snapshot(self) -> tuple[int, bytes] | None:
        """Return the newest snapshot."""
        rows = self._read(
            "SELECT sequence, sealed FROM cloister.snapshot ORDER BY sequence DESC LIMIT 1"
        )
        return (_number(rows[0][0]), _octets(rows[0][1])) if rows else None

    def put_snapshot(self, sequence: int, sealed: bytes, *, keep: int) -> None:
        """Replace older snapshots, and drop the records that nobody needs any more."""
        insert, drop_snapshots, drop_records = _PUT_SNAPSHOT
        with self._transaction() as run:
            run(insert, (sequence, sealed))
            run(drop_snapshots)
            run(drop_records, (keep,))

    def log(self, first: int, count: int) -> Iterator[LogRow]:
        """Return rows of the log."""
        rows = self._read(
            "SELECT position, sealed, leaf FROM cloister.log WHERE position >= %s"
            " ORDER BY position LIMIT %s",
            (first, count),
        )
        return (LogRow(_number(p), _octets(sealed), _octets(leaf)) for p, sealed, leaf in rows)

    def log_size(self) -> int:
        """Return the position behind the newest row."""
        rows = self._read("SELECT coalesce(max(position) + 1, 0) FROM cloister.log")
        return _number(rows[0][0]) if rows else 0

    def leaves(self) -> Iterator[bytes]:
        """Return every leaf hash, a page at a time."""
        sql = (
            "SELECT position, leaf FROM cloister.log WHERE position > %s ORDER BY position LIMIT %s"
        )
        after = -1
        while True:
            rows = self._read(sql, (after, _LEAVES))
            for position, leaf in rows:
                after = _number(position)
                yield _octets(leaf)
            if len(rows) < _LEAVES:
                return

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- inside

    def _read(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Read rows; once more over a new connection where the old one had been lost."""
        had_one = self._connection is not None
        try:
            return self._fetch(sql, parameters)
        except UnavailableError:
            if not had_one or self._one_moment or self._connection is not None:
                raise
        return self._fetch(sql, parameters)

    def _fetch(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._connected() as connection:
            return _execute(connection, sql, parameters).fetchall()

    def _require_no_state(self) -> None:
        exists = "SELECT 1 FROM information_schema.schemata WHERE schema_name = 'cloister'"
        if self._read(exists):
            raise ConfigError(
                "this database has a key service's state already", code="config.exists"
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._connected() as connection:
            run = partial(_execute, connection)
            run("BEGIN")
            try:
                yield run
            except BaseException:
                self.close()  # which rolls it back
                raise
            run("COMMIT")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Give a connection and turn its errors into ours; the one seam where they appear."""
        psycopg = _driver()
        try:
            if self._connection is None:
                self._connection = self._connect()
            yield self._connection
        except psycopg.errors.UniqueViolation as e:
            raise _taken(e) from e
        except psycopg.Error as e:
            self.close()
            raise _ours(e) from e
        except BaseException:
            self.close()  # stopped in the middle: what the server has done is not known
            raise

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        connection: psycopg.Connection[tuple[Any, ...]] = _driver().connect(
            **self._parameters, autocommit=True
        )
        try:
            limit = f"{STATEMENT_TIMEOUT_S}s"
            connection.execute(_SETTINGS, (limit, limit, limit))
        except BaseException:
            connection.close()
            raise
        return connection


def _execute(
    connection: psycopg.Connection[tuple[Any, ...]],
    sql: str,
    parameters: Sequence[object] | None = None,
) -> psycopg.Cursor[tuple[Any, ...]]:
    with _cut_off(connection):
        return connection.execute(sql.encode(), parameters)


def _columns(rows: Sequence[LogRow]) -> tuple[list[int], list[bytes], list[bytes]]:
    return [row.position for row in rows], [r.sealed for r in rows], [r.leaf for r in rows]


def _driver() -> Any:
    try:
        import psycopg  # noqa: PLC0415  # an optional extra
    except ImportError as e:
        raise MissingExtraError(
            "keeping the state in PostgreSQL needs the driver psycopg",
            code="extra.missing",
            hint=extra_hint("postgres"),
        ) from e
    return psycopg


def _parameters(address: str) -> dict[str, Any]:
    """Read an address; what it leaves open is the careful choice."""
    psycopg = _driver()
    try:
        if not address.startswith(_SCHEMES):
            raise ValueError
        found: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(address)
    except (psycopg.Error, ValueError):
        # Not chained, and the address not shown: it may hold a password.
        raise ConfigError(
            "the database is named by a postgresql:// address", code="config.value"
        ) from None
    if "password" in found or "sslpassword" in found:
        raise ConfigError(
            "a password does not belong into the database's address, where others can see it",
            code="config.value",
            hint="write it to a password file, mode 0600, and set PGPASSFILE to its path",
        )
    if "host" not in found and "hostaddr" not in found and "service" not in found:
        raise ConfigError("the database's address names no host", code="config.value")
    hosts = str(found.get("host", "")).split(",")
    defaults: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": STATEMENT_TIMEOUT_S * 1000,
        "keepalives_idle": STATEMENT_TIMEOUT_S,
        "application_name": "cloister",
        "client_encoding": "utf8",
    }
    if not all(host.startswith(("/", "@")) for host in hosts):  # unix sockets
        defaults["sslmode"] = "verify-full"
    return defaults | found


@contextlib.contextmanager
def _cut_off(connection: psycopg.Connection[tuple[Any, ...]]) -> Iterator[None]:
    """Shut the socket of a call that outlives every other limit: a server that is stopped."""
    copy = socket.socket(fileno=os.dup(connection.fileno()))
    timer = threading.Timer(_LAST_RESORT_S, lambda: _shut(copy))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        copy.close()


def _shut(copy: socket.socket) -> None:
    with contextlib.suppress(OSError):
        copy.shutdown(socket.SHUT_RDWR)


def _taken(error: psycopg.errors.UniqueViolation) -> CloisterError:
    if error.diag.table_name == "records":
        return StateMovedError("the state has moved on", code="keyservice.moved")
    return _tampered(f"a row of {error.diag.table_name} is there already")


def _ours(error: psycopg.Error) -> CloisterError:
    detail = f"{type(error).__name__}: {error}"
    kinds = _driver().errors
    if isinstance(error, kinds.DiskFull):
        return StorageFullError(
            "the disk of the key service's database is full", code="storage.full"
        )
    if isinstance(error, kinds.UndefinedTable | kinds.UndefinedColumn | kinds.InvalidSchemaName):
        return _tampered(detail)
    return UnavailableError(
        "the key service's database cannot be used", code="keyservice.database", detail=detail
    )


def _number(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise _tampered("a number is none")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _tampered("a name is none")
    return value


def _octets(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise _tampered("a value is no byte string")
    return value


def _tampered(detail: str) -> TamperedError:
    return TamperedError(
        "the key service's database was changed, or has no state of this service",
        code="state.tampered",
        detail=detail,
    )
