"""What every backend of the key service's state does, the fake included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from cloister.errors import CloisterError, ConfigError, StateMovedError, TamperedError
from cloister.keyservice.state.backend import Backend, LogRow, Rekeyed, Rows
from cloister.keyservice.state.format import FORMAT
from cloister.keyservice.state.postgres import PostgresBackend
from cloister.keyservice.state.sqlcipher import SQLCipherBackend
from cloister.testing.postgres import PostgresServer
from cloister.testing.state import MemoryBackend

Build = Callable[[Rows], None]
Open = Callable[[], Backend]


@pytest.fixture(params=["memory", "sqlcipher", "postgres"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """An empty backend of each kind."""
    made: Backend
    if request.param == "memory":
        made = MemoryBackend()
    elif request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        made = PostgresBackend.create(server.address(server.database()))
    else:
        made = SQLCipherBackend.create(tmp_path, b"k" * 32)
    yield made
    made.close()


def row(position: int) -> LogRow:
    """A log row that can be told from others."""
    return LogRow(position, b"sealed %d" % position, bytes([position]) * 32)


def test_slots_keep_the_last_value(backend: Backend) -> None:
    """And a name that nobody used holds nothing."""
    assert backend.slot("a") is None
    backend.put_slot("a", b"1")
    backend.put_slot("a", b"2")
    assert backend.slot("a") == b"2"


def test_records_come_back_in_order(backend: Backend) -> None:
    """From any number on, across pages."""
    for sequence in range(1, 600):
        backend.append(sequence, b"record %d" % sequence, [])
    found = list(backend.records(0))
    assert found == [(n, b"record %d" % n) for n in range(1, 600)]
    assert list(backend.records(598)) == [(599, b"record 599")]
    assert list(backend.records(599)) == []


@pytest.mark.spec("KS-30")
def test_a_number_is_given_once(backend: Backend) -> None:
    """The second writer changes nothing, not even the log."""
    backend.append(1, b"first", [row(0)])
    with pytest.raises(StateMovedError) as e:
        backend.append(1, b"second", [row(1)])
    assert e.value.code == "keyservice.moved"
    assert list(backend.records(0)) == [(1, b"first")]
    assert list(backend.log(0, 10)) == [row(0)]


def test_the_log_is_read_by_position(backend: Backend) -> None:
    """Parts of it, and all of its leaves."""
    backend.append(1, b"a", [row(0), row(1)])
    backend.append(2, b"b", [])
    backend.append(3, b"c", [row(2)])
    assert list(backend.log(1, 5)) == [row(1), row(2)]
    assert list(backend.log(1, 1)) == [row(1)]
    assert list(backend.log(3, 1)) == []
    assert list(backend.leaves()) == [row(n).leaf for n in range(3)]


@pytest.mark.spec("KS-22")
def test_a_snapshot_replaces_older_records(backend: Backend) -> None:
    """The newest snapshot is kept, records up to `keep` go, the log stays."""
    for sequence in range(1, 6):
        backend.append(sequence, b"r", [row(sequence - 1)])
    assert backend.snapshot() is None
    backend.put_snapshot(3, b"old", keep=0)
    backend.put_snapshot(5, b"new", keep=3)
    assert backend.snapshot() == (5, b"new")
    assert [number for number, _ in backend.records(0)] == [4, 5]
    assert len(list(backend.leaves())) == 5


@pytest.mark.spec("KS-22")
def test_an_older_snapshot_replaces_no_newer_one(backend: Backend) -> None:
    """A slow replica's does nothing but drop what both of them stand for."""
    for sequence in range(1, 6):
        backend.append(sequence, b"r", [])
    backend.put_snapshot(5, b"newer", keep=2)
    backend.put_snapshot(4, b"older", keep=3)
    assert backend.snapshot() == (5, b"newer")
    assert [number for number, _ in backend.records(0)] == [4, 5]


def test_rows_with_nothing_in_them_are_rows(backend: Backend) -> None:
    """Empty is not missing."""
    backend.put_slot("empty", b"")
    backend.append(1, b"", [LogRow(0, b"", b"")])
    assert backend.slot("empty") == b""
    assert list(backend.records(0)) == [(1, b"")]
    assert list(backend.log(0, 1)) == [LogRow(0, b"", b"")]


def test_the_logs_size_is_the_position_behind_its_last_row(backend: Backend) -> None:
    """0 for none."""
    assert backend.log_size() == 0
    backend.append(1, b"a", [row(0), row(1)])
    assert backend.log_size() == 2


def resealed(position: int) -> LogRow:
    """The same row under another key."""
    return LogRow(position, b"anew %d" % position, bytes([position]) * 32)


def filled(backend: Backend) -> None:
    """A slot, a snapshot, records and a log, as they are before the key changes."""
    backend.put_slot("state-key/a", b"old")
    backend.append(1, b"one", [row(0)])
    backend.append(2, b"two", [row(1)])
    backend.put_snapshot(1, b"snapshot", keep=0)


@pytest.mark.spec("KS-75")
def test_everything_is_put_under_another_key(backend: Backend) -> None:
    """But for the record that is the change, which comes after its number only."""
    filled(backend)
    log = iter([resealed(0), resealed(1), resealed(2)])
    backend.rekey(3, b"three", Rekeyed([("state-key/a", b"new"), ("b", b"")], b"taken anew", log))
    assert list(backend.slots()) == [("b", b""), ("state-key/a", b"new")]
    assert list(backend.records(0)) == [(3, b"three")]
    assert backend.snapshot() == (3, b"taken anew")
    assert list(backend.log(0, 9)) == [resealed(0), resealed(1), resealed(2)]
    backend.append(4, b"four", [row(3)])
    backend.put_snapshot(4, b"next", keep=3)
    assert list(backend.records(0)) == [(4, b"four")]
    assert backend.snapshot() == (4, b"next")


@pytest.mark.spec("KS-75")
def test_a_change_of_the_key_that_fails_is_none(backend: Backend) -> None:
    """Where somebody was faster, and where the rows fail at their end."""

    def broken() -> Iterator[LogRow]:
        yield resealed(0)
        raise TamperedError("another log", code="state.tampered")

    filled(backend)
    before = list(backend.slots())
    rows = Rekeyed([("b", b"")], b"taken anew", iter([resealed(0), resealed(1)]))
    with pytest.raises(StateMovedError):
        backend.rekey(2, b"other", rows)
    with pytest.raises(TamperedError):
        backend.rekey(3, b"three", Rekeyed([("b", b"")], b"taken anew", broken()))
    assert list(backend.slots()) == before
    assert list(backend.records(0)) == [(1, b"one"), (2, b"two")]
    assert backend.snapshot() == (1, b"snapshot")
    assert list(backend.log(0, 9)) == [row(0), row(1)]


def test_slots_come_back_by_name(backend: Backend) -> None:
    """In the order of the names; what a backend keeps for itself among them."""
    backend.put_slot("b/2", b"2")
    backend.put_slot("a", b"1")
    found = list(backend.slots())
    assert [slot for slot in found if slot[0] != "format"] == [("a", b"1"), ("b/2", b"2")]
    assert found == sorted(found)


def whole(log: Iterator[LogRow]) -> Rows:
    """A state as a backup has it."""
    return Rows([("format", FORMAT), ("a", b"1")], [(4, b"four")], (4, b"snapshot"), log)


def places(request: pytest.FixtureRequest, kind: str, folder: Path) -> tuple[Build, Open]:
    """How a backend of one kind is made of rows, and opened."""
    if kind == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        address = server.address(server.database())
        return partial(PostgresBackend.build, address), partial(PostgresBackend.open, address)
    key = b"k" * 32
    return partial(SQLCipherBackend.build, folder, key), partial(SQLCipherBackend.open, folder, key)


@pytest.mark.spec("BR-6")
@pytest.mark.parametrize("kind", ["sqlcipher", "postgres"])
def test_a_backend_is_made_of_rows(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """It has all of them, goes on from there, and is not made again."""
    build, open_it = places(request, kind, tmp_path)
    build(whole(iter([row(0), row(1)])))
    backend = open_it()
    assert list(backend.slots()) == [("a", b"1"), ("format", FORMAT)]
    assert list(backend.records(0)) == [(4, b"four")]
    assert backend.snapshot() == (4, b"snapshot")
    assert list(backend.log(0, 9)) == [row(0), row(1)]
    backend.append(5, b"five", [row(2)])
    backend.close()
    with pytest.raises(ConfigError) as e:
        build(whole(iter([])))
    assert e.value.code == "config.exists"
    again = open_it()
    assert [number for number, _ in again.records(0)] == [4, 5]
    again.close()


@pytest.mark.spec("BR-6")
@pytest.mark.parametrize("kind", ["sqlcipher", "postgres"])
def test_a_backend_that_could_not_be_made_is_none(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """What fails in the middle leaves nothing, and another attempt finds room."""

    def broken() -> Iterator[LogRow]:
        yield row(0)
        raise KeyError("stop")

    build, open_it = places(request, kind, tmp_path)
    with pytest.raises(KeyError):
        build(whole(broken()))
    with pytest.raises(TamperedError) as e:
        open_it()
    assert e.value.code == "state.tampered"
    build(whole(iter([row(0)])))
    open_it().close()


def test_what_is_left_of_a_database_keeps_a_new_one_out(tmp_path: Path) -> None:
    """A journal of the old one would be played into the new one."""
    (tmp_path / "state.db-wal").write_bytes(b"old")
    with pytest.raises(ConfigError) as e:
        SQLCipherBackend.build(tmp_path, b"k" * 32, whole(iter([])))
    assert e.value.code == "config.exists"


def test_one_moment_is_read_while_others_write(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What is committed meanwhile is not seen; the writer is not held up."""
    writer = SQLCipherBackend.create(tmp_path, b"k" * 32)
    writer.append(1, b"one", [row(0)])
    with SQLCipherBackend.at_one_moment(tmp_path, b"k" * 32) as reader:
        writer.append(2, b"two", [row(1)])
        assert [number for number, _ in reader.records(0)] == [1]
        assert list(reader.log(0, 9)) == [row(0)]
        with pytest.raises(CloisterError):
            reader.put_slot("a", b"1")
    writer.close()
    server: PostgresServer = request.getfixturevalue("postgres")
    address = server.address(server.database())
    shared = PostgresBackend.create(address)
    other = PostgresBackend.open(address)
    shared.append(1, b"one", [row(0)])
    with other.at_one_moment():
        assert [number for number, _ in other.records(0)] == [1]
        shared.append(2, b"two", [row(1)])
        assert [number for number, _ in other.records(0)] == [1]
        assert list(other.log(0, 9)) == [row(0)]
    assert [number for number, _ in other.records(0)] == [1, 2]
    shared.close()
    other.close()


def test_a_missing_or_foreign_database_has_no_moment(tmp_path: Path) -> None:
    """Nothing is made where nothing was."""
    with pytest.raises(TamperedError) as e, SQLCipherBackend.at_one_moment(tmp_path, b"k" * 32):
        pass
    assert e.value.code == "state.tampered"
    assert list(tmp_path.iterdir()) == []
    SQLCipherBackend.create(tmp_path, b"k" * 32).close()
    with pytest.raises(TamperedError) as e, SQLCipherBackend.at_one_moment(tmp_path, b"o" * 32):
        pass
    assert e.value.code == "state.tampered"
