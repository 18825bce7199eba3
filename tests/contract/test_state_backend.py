"""What every backend of the key service's state does, the fake included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.errors import StateMovedError
from cloister.keyservice.state.backend import Backend, LogRow
from cloister.keyservice.state.postgres import PostgresBackend
from cloister.keyservice.state.sqlcipher import SQLCipherBackend
from cloister.testing.postgres import PostgresServer
from cloister.testing.state import MemoryBackend


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
