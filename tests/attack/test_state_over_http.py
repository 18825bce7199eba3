"""The operator owns the disk or the database of a real service process, and copies of both.

An older state, two copies, and rows that were cut, exchanged or taken away: the process does not
start, or stops at the first request that would need what is not there, and says so in a signed
reply. Nothing is released from a state that is not the newest, and nothing of it is hidden.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import sqlcipher3

from attack.served import Served, ServedClock
from cloister.errors import CloisterError
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.testing.keyservice import MEASUREMENT, policy_text
from cloister.testing.postgres import PostgresServer

DATABASE_PURPOSE: Final = b"cloister/keyservice/v1/database"


def fill(served: Served) -> bytes:
    """Give the service something to remember; returns its policy."""
    served.register_volumes()
    policy = served.apply(policy_text(served))
    for number in range(3):
        release(served, policy, f"run-{number}")
    return policy


def release(served: Served, policy: bytes, instance: str) -> None:
    """One granted release."""
    served.release_client().release(
        policy=policy,
        workload="serve",
        instance=instance,
        measurement=MEASUREMENT,
        attester=served.attester(),
    )


def refused(served: Served, do: Any) -> str:
    """Do something that the service must refuse; returns the signed code."""
    with pytest.raises(CloisterError) as e:
        do()
    served.require_nothing_released(served.exchanges[-1])
    code: str = e.value.code
    return code


def require_unreachable(served: Served) -> None:
    """Nobody answers at its address."""
    with pytest.raises(ConnectionRefusedError):
        served.get("/healthz")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A service with an embedded state."""
    served = Served.create(tmp_path)
    yield served
    served.close()


# -- the embedded state


@pytest.mark.spec("KR-92")
def test_an_older_database_is_put_back(served: Served, tmp_path: Path) -> None:
    """Whole, after the owner took a grant back: the process refuses to start, and serves nobody."""
    fill(served)
    served.end()
    state = served.domain.keyservice_directory
    shutil.copytree(state, tmp_path / "older")
    served.start()
    served.owner().expel("lab", "digits", role="serve", instance="run-0")
    served.end()
    shutil.copytree(state, tmp_path / "newest")
    shutil.rmtree(state)
    shutil.copytree(tmp_path / "older", state)
    assert served.refuses_to_start() == "state.rolled-back"
    require_unreachable(served)
    shutil.rmtree(state)
    shutil.copytree(tmp_path / "newest", state)
    served.start()
    roles = served.owner().job_status("lab", "digits").roles
    assert roles["serve"][0] == 2
    assert [e.code for e in served.entries() if e.operation == "member.expel"] == [""]


@pytest.mark.spec("KR-92")
def test_the_journal_is_cut(served: Served) -> None:
    """Killed, so that the newest commits are in the WAL only; the operator takes it away."""
    fill(served)
    served.end(signal.SIGKILL)
    state = served.domain.keyservice_directory
    wal = state / "state.db-wal"
    assert wal.stat().st_size > 0
    whole = wal.read_bytes()
    wal.unlink()
    (state / "state.db-shm").unlink()
    assert served.refuses_to_start() in {"state.rolled-back", "state.tampered"}
    for kept in (len(whole) // 2, len(whole) - 4096):
        wal.write_bytes(whole[:kept])
        assert served.refuses_to_start() in {"state.rolled-back", "state.tampered"}
    require_unreachable(served)


@contextlib.contextmanager
def opened(served: Served) -> Iterator[Any]:
    """The database as one who has its key sees it: what lies in it must not depend on that key."""
    key = served.platform.sealing_key(DATABASE_PURPOSE)
    database = sqlcipher3.connect(str(served.domain.keyservice_directory / "state.db"))
    database.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
    yield database
    database.commit()
    database.close()


CUTS: Final = {
    "the newest record": (
        "DELETE FROM records WHERE sequence = (SELECT max(sequence) FROM records)",
        "state.rolled-back",
    ),
    "a record in the middle": ("DELETE FROM records WHERE sequence = 4", "state.tampered"),
    "every record": ("DELETE FROM records", "state.rolled-back"),
    "two records exchanged": (
        "UPDATE records SET sealed = (SELECT o.sealed FROM records o"
        " WHERE o.sequence = 9 - records.sequence) WHERE sequence IN (4, 5)",
        "state.tampered",
    ),
    "a record repeated": (
        "INSERT INTO records SELECT sequence + 1, sealed FROM records "
        "WHERE sequence = (SELECT max(sequence) FROM records)",
        "state.tampered",
    ),
    "the state key": ("DELETE FROM slots WHERE name LIKE 'state-key%'", "state.tampered"),
}


@pytest.mark.spec("KS-12", "KS-13", "KR-92")
@pytest.mark.parametrize("cut", CUTS)
def test_records_are_cut_from_the_file(served: Served, cut: str) -> None:
    """By somebody who can even open the database."""
    fill(served)
    served.end()
    statement, code = CUTS[cut]
    with opened(served) as database:
        assert database.execute(statement).rowcount > 0
    assert served.refuses_to_start() == code
    require_unreachable(served)


LOG_CUTS: Final = {
    "its end": "DELETE FROM {log} WHERE position = (SELECT max(position) FROM {log})",
    "its middle": "DELETE FROM {log} WHERE position = 2",
    "all of it": "DELETE FROM {log}",
    "two entries exchanged": "UPDATE {log} SET sealed = (SELECT o.sealed FROM {log} o WHERE"
    " o.position = 5 - {log}.position), leaf = (SELECT o.leaf FROM {log} o WHERE"
    " o.position = 5 - {log}.position) WHERE position IN (2, 3)",
    "a leaf exchanged": "UPDATE {log} SET leaf = (SELECT o.leaf FROM {log} o WHERE"
    " o.position = 3) WHERE position = 2",
}


@pytest.mark.spec("KS-15", "KS-24")
@pytest.mark.parametrize("cut", LOG_CUTS)
@pytest.mark.parametrize("asked", ["entries", "proof"])
def test_the_log_is_cut_in_the_file(served: Served, cut: str, asked: str) -> None:
    """Whoever asks for the log or a proof gets no part of it: the process says so, and stops."""
    fill(served)
    served.end()
    with opened(served) as database:
        assert database.execute(LOG_CUTS[cut].format(log="log")).rowcount > 0
    served.start()
    require_cut_log_is_noticed(served, asked)


def require_cut_log_is_noticed(served: Served, asked: str) -> None:
    """Ask a service whose log was cut: it refuses in a signed reply and ends."""
    if asked == "entries":
        code = refused(served, lambda: served.owner().read_log(first=0, count=100, old=None))
    else:
        owner = served.owner()
        code = refused(served, lambda: owner.read_log_page(first=0, count=0, old_size=2))
    assert code == "state.tampered"
    assert served.ended() == 76
    require_unreachable(served)


@pytest.mark.spec("KS-15")
def test_a_cut_log_is_not_ready(served: Served) -> None:
    """Who watches sees it before anybody asks for the log."""
    fill(served)
    served.end()
    with opened(served) as database:
        database.execute(LOG_CUTS["its end"].format(log="log"))
    served.start()
    found = served.get("/readyz")
    assert (found.status, b"state.tampered" in found.body) == (503, True)


@pytest.mark.spec("KR-92", "KS-32")
def test_a_forked_database(served: Served, tmp_path: Path) -> None:
    """Two services are started from one snapshot: the one that is second to write stops."""
    policy = fill(served)
    served.end()
    (tmp_path / "copy").mkdir()
    copy = served.copy(tmp_path / "copy")
    try:
        served.start()
        release(served, policy, "run-7")
        assert refused(copy, lambda: release(copy, policy, "run-8")) == "state.forked"
        assert copy.ended() == 76
        require_unreachable(copy)
        assert copy.refuses_to_start() == "state.rolled-back"
        release(served, policy, "run-9")
    finally:
        copy.close()


# -- the shared state


@pytest.fixture
def shared(
    postgres: PostgresServer, tmp_path: Path
) -> Iterator[tuple[Served, PostgresServer, str]]:
    """A replica over PostgreSQL, its server, and the name of its database."""
    name = postgres.database()
    address = postgres.address(name)
    domain = TrustDomain.create(
        tmp_path / "domain",
        "example.test",
        moment=read_clock(),
        url="http://127.0.0.1:1",
        database=address,
    )
    served = Served.serve(domain, ServedClock(tmp_path / "clock"), "--database", address)
    yield served, postgres, name
    served.close()


SHARED_CUTS: Final = {
    "the newest record": (
        "DELETE FROM cloister.records"
        " WHERE sequence = (SELECT max(sequence) FROM cloister.records)",
        "state.rolled-back",
    ),
    "a record in the middle": ("DELETE FROM cloister.records WHERE sequence = 4", "state.tampered"),
    "every record": ("DELETE FROM cloister.records", "state.rolled-back"),
    "two records exchanged": (
        "UPDATE cloister.records r SET sealed = o.sealed FROM cloister.records o"
        " WHERE r.sequence IN (4, 5) AND o.sequence = 9 - r.sequence",
        "state.tampered",
    ),
    "the state key": ("DELETE FROM cloister.slots WHERE name LIKE 'state-key%'", "state.tampered"),
}


@pytest.mark.spec("KS-12", "KS-13", "KR-92")
@pytest.mark.parametrize("cut", SHARED_CUTS)
def test_rows_are_taken_from_the_database(
    shared: tuple[Served, PostgresServer, str], cut: str
) -> None:
    """Before a replica starts."""
    served, postgres, name = shared
    fill(served)
    served.end()
    statement, code = SHARED_CUTS[cut]
    postgres.sql(name, statement)
    assert served.refuses_to_start() == code
    require_unreachable(served)


@pytest.mark.spec("KR-92", "KS-42")
def test_rows_are_taken_from_under_a_running_replica(
    shared: tuple[Served, PostgresServer, str],
) -> None:
    """It goes on from what it knows, and what it says is true; nobody starts from the rest."""
    served, postgres, name = shared
    policy = fill(served)
    postgres.sql(name, SHARED_CUTS["the newest record"][0])
    before = len(served.entries())
    release(served, policy, "run-9")
    assert len(served.entries()) == before + 1
    served.end()
    assert served.refuses_to_start() == "state.tampered"


@pytest.mark.spec("KR-92", "KS-42")
def test_older_rows_are_put_back(
    shared: tuple[Served, PostgresServer, str],
) -> None:
    """Yesterday's records in place of today's, all of them genuine."""
    served, postgres, name = shared
    policy = fill(served)
    postgres.sql(name, "CREATE TABLE kept AS SELECT * FROM cloister.records")
    release(served, policy, "run-8")
    release(served, policy, "run-9")
    served.end()
    postgres.sql(
        name,
        "DELETE FROM cloister.records; INSERT INTO cloister.records SELECT * FROM kept;",
    )
    assert served.refuses_to_start() == "state.rolled-back"
    require_unreachable(served)


@pytest.mark.spec("KS-15", "KS-24")
@pytest.mark.parametrize("cut", LOG_CUTS)
@pytest.mark.parametrize("asked", ["entries", "proof"])
def test_the_log_is_cut_in_the_database(
    shared: tuple[Served, PostgresServer, str], cut: str, asked: str
) -> None:
    """Under a running replica."""
    served, postgres, name = shared
    fill(served)
    postgres.sql(name, LOG_CUTS[cut].format(log="cloister.log"))
    require_cut_log_is_noticed(served, asked)
