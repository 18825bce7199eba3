"""The shared backend: addresses, lost connections, races, and rows that nobody of us wrote."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cloister.keyservice.state.postgres as module
from cloister.errors import (
    ConfigError,
    MissingExtraError,
    StateMovedError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice.state.backend import LogRow
from cloister.keyservice.state.postgres import PostgresBackend
from cloister.testing.postgres import PostgresServer


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The name of an empty database."""
    return postgres.database()


@pytest.fixture
def backend(postgres: PostgresServer, database: str) -> Iterator[PostgresBackend]:
    """An empty backend."""
    made = PostgresBackend.create(postgres.address(database))
    yield made
    made.close()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "dbname=x",
        "mysql://h/d",
        "postgresql://u:SECRET@h/d",
        "postgresql://u@h/d?password=SECRET",
        "postgresql://u@h/d?sslpassword=SECRET",
        "postgresql://u@h/d?unknown=SECRET",
        "postgresql:///d",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(address: str) -> None:
    """It may hold a password, which does not belong there."""
    with pytest.raises(ConfigError) as e:
        PostgresBackend.open(address)
    assert e.value.code == "config.value"
    assert "SECRET" not in f"{e.value} {e.value.detail} {e.value.hint} {e.value.__cause__}"


def test_another_machine_is_checked_unless_the_address_says_otherwise() -> None:
    """TLS with the server's name; options of libpq are passed through; a socket needs none."""
    assert module._parameters("postgresql://h/d")["sslmode"] == "verify-full"
    chosen = module._parameters(
        "postgresql://h/d?sslmode=require&sslrootcert=/ca&connect_timeout=9"
    )
    assert (chosen["sslmode"], chosen["sslrootcert"]) == ("require", "/ca")
    assert chosen["connect_timeout"] == "9"
    assert (
        module._parameters("postgresql://10.0.0.1/d?hostaddr=10.0.0.1")["sslmode"] == "verify-full"
    )
    assert "sslmode" not in module._parameters("postgresql:///d?host=/run/postgresql")
    assert module._parameters("postgresql:///d?host=/run/a,db.example")["sslmode"] == "verify-full"


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line that installs it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError) as e:
        PostgresBackend.open("postgresql://h/d")
    assert e.value.code == "extra.missing"
    assert "[postgres]" in (e.value.hint or "")


def test_a_second_state_is_refused(
    backend: PostgresBackend, postgres: PostgresServer, database: str
) -> None:
    """What is there stays."""
    backend.append(1, b"first", [])
    with pytest.raises(ConfigError) as e:
        PostgresBackend.create(postgres.address(database))
    assert e.value.code == "config.exists"
    assert list(backend.records(0)) == [(1, b"first")]


def test_a_database_without_a_state_is_refused(postgres: PostgresServer, database: str) -> None:
    """Opening makes nothing."""
    with pytest.raises(TamperedError) as e:
        PostgresBackend.open(postgres.address(database))
    assert e.value.code == "state.tampered"


@pytest.mark.spec("KS-23")
def test_a_newer_format_is_refused(
    backend: PostgresBackend, postgres: PostgresServer, database: str
) -> None:
    """Before anything else is read."""
    backend.put_slot("format", b"cloister/keyservice-state/v3")
    with pytest.raises(ConfigError) as e:
        PostgresBackend.open(postgres.address(database))
    assert e.value.code == "state.newer"


def test_a_database_that_is_not_there_is_unavailable(postgres: PostgresServer) -> None:
    """It may come later."""
    with pytest.raises(UnavailableError) as e:
        PostgresBackend.open(postgres.address("nowhere"))
    assert e.value.code == "keyservice.database"


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """At once, not after a time."""
    with pytest.raises(UnavailableError) as e:
        PostgresBackend.open(f"postgresql:///d?host={tmp_path}")
    assert e.value.code == "keyservice.database"


@pytest.mark.spec("KS-30")
def test_one_of_many_at_once_is_first(
    backend: PostgresBackend, postgres: PostgresServer, database: str
) -> None:
    """Over connections of their own; whoever loses leaves no row."""
    won: list[int] = []
    lost: list[str] = []

    def run(number: int) -> None:
        mine = PostgresBackend.open(postgres.address(database))
        for sequence in range(1, 21):
            try:
                mine.append(sequence, b"%d" % number, [LogRow(sequence, b"%d" % number, b"")])
                won.append(sequence)
            except StateMovedError as e:
                lost.append(e.code)
        mine.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(won) == list(range(1, 21))
    assert lost == ["keyservice.moved"] * 40
    records = dict(backend.records(0))
    assert {row.position: row.sealed for row in backend.log(0, 99)} == records


@pytest.mark.spec("KS-13")
def test_a_log_row_that_nobody_of_us_wrote_is_seen(
    backend: PostgresBackend, postgres: PostgresServer, database: str
) -> None:
    """It is in the way, and that is no race."""
    postgres.sql(database, "INSERT INTO cloister.log VALUES (0, 'x', 'y')")
    with pytest.raises(TamperedError) as e:
        backend.append(1, b"r", [LogRow(0, b"s", b"l")])
    assert e.value.code == "state.tampered"
    assert list(backend.records(0)) == []


@pytest.mark.spec("KS-13")
@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE cloister.records ALTER sealed TYPE text USING 'x'",
        "ALTER TABLE cloister.records ALTER sealed DROP NOT NULL;"
        "UPDATE cloister.records SET sealed = NULL",
        "ALTER TABLE cloister.records ALTER sequence TYPE numeric",
        "DROP TABLE cloister.records",
        "ALTER TABLE cloister.records RENAME sealed TO other",
    ],
)
def test_other_types_and_tables_are_refused(
    backend: PostgresBackend, postgres: PostgresServer, database: str, change: str
) -> None:
    """Whoever owns the server may make the tables anything."""
    backend.append(1, b"r", [])
    postgres.sql(database, change)
    with pytest.raises(TamperedError) as e:
        list(backend.records(0))
    assert e.value.code == "state.tampered"


def end_connections(postgres: PostgresServer, database: str) -> None:
    """End every other connection to a database."""
    postgres.sql(
        database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def test_a_lost_connection_is_made_again_for_reading(
    backend: PostgresBackend, postgres: PostgresServer, database: str
) -> None:
    """Nobody notices."""
    backend.append(1, b"r", [])
    end_connections(postgres, database)
    assert list(backend.records(0)) == [(1, b"r")]


@pytest.mark.parametrize(
    "write",
    [
        lambda backend: backend.append(2, b"r", []),
        lambda backend: backend.put_slot("a", b"b"),
        lambda backend: backend.put_snapshot(1, b"s", keep=0),
    ],
)
def test_a_lost_connection_fails_one_write(
    backend: PostgresBackend,
    postgres: PostgresServer,
    database: str,
    write: Callable[[PostgresBackend], None],
) -> None:
    """A write is never tried twice: what the first one did is not known."""
    backend.append(1, b"r", [])
    end_connections(postgres, database)
    with pytest.raises(UnavailableError) as e:
        write(backend)
    assert e.value.code == "keyservice.database"
    write(backend)


def test_a_lock_that_somebody_holds_ends_in_time(
    backend: PostgresBackend,
    postgres: PostgresServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server's own limit."""
    other = PostgresBackend.open(postgres.address(database))
    monkeypatch.setattr(module, "STATEMENT_TIMEOUT_S", 1)
    backend.close()
    with other._transaction() as run:
        run("LOCK TABLE cloister.records")
        with pytest.raises(UnavailableError) as e:
            backend.append(1, b"r", [])
    other.close()
    assert e.value.code == "keyservice.database"
    backend.append(1, b"r", [])


def test_a_server_that_is_stopped_ends_in_time(
    backend: PostgresBackend,
    postgres: PostgresServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel still takes our bytes, and nobody answers."""
    found = postgres.sql(
        database,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'cloister'",
    )
    monkeypatch.setattr(module, "_LAST_RESORT_S", 0.5)
    os.kill(int(found), signal.SIGSTOP)
    try:
        with pytest.raises(UnavailableError) as e:
            backend.append(1, b"r", [])
    finally:
        os.kill(int(found), signal.SIGCONT)
    assert e.value.code == "keyservice.database"


def test_a_full_disk_of_the_server_is_told_apart(
    backend: PostgresBackend, postgres: PostgresServer, database: str
) -> None:
    """By the server's own code for it; what was committed stays."""
    backend.append(1, b"r", [])
    postgres.sql(
        database,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END$$;"
        "CREATE TRIGGER full_disk BEFORE INSERT ON cloister.records EXECUTE FUNCTION full_disk()",
    )
    with pytest.raises(StorageFullError) as e:
        backend.append(2, b"r", [LogRow(0, b"s", b"l")])
    assert e.value.code == "storage.full"
    assert list(backend.records(0)) == [(1, b"r")]
    assert list(backend.log(0, 9)) == []


def test_a_commit_waits_for_the_disk_whatever_the_server_prefers(
    postgres: PostgresServer, database: str
) -> None:
    """A database that is set to answer early is set right for us."""
    postgres.sql("postgres", f"ALTER DATABASE {database} SET synchronous_commit = off")
    backend = PostgresBackend.create(postgres.address(database))
    assert backend._read("SHOW synchronous_commit") == [("on",)]
    backend.close()


def test_many_pages_come_back_in_order(backend: PostgresBackend) -> None:
    """Leaves too."""
    backend.append(1, b"r", [LogRow(n, b"s", n.to_bytes(2, "big")) for n in range(9000)])
    assert list(backend.leaves()) == [n.to_bytes(2, "big") for n in range(9000)]
