"""Backups while the service runs, and bringing them back: whole, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import (
    CloisterError,
    ConfigError,
    EvidenceError,
    ReleaseDeniedError,
    TamperedError,
)
from cloister.keyservice import restoring
from cloister.keyservice.approvals import Approval
from cloister.keyservice.log import LogEntry, read_leaf
from cloister.keyservice.reset import Reset
from cloister.keyservice.restoring import (
    Place,
    back_up,
    look_into,
    newest_number,
    propose_reset,
    reset,
    restore,
)
from cloister.keyservice.service import KeyService
from cloister.keyservice.state.backup import Backup
from cloister.keyservice.state.record import Head, StateKey
from cloister.keyservice.state.sqlcipher import SQLCipherBackend
from cloister.keyservice.store import Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.keyservice import (
    CODE_KEY,
    DATA_ID,
    DATA_KEY,
    MEASUREMENT,
    ServiceBench,
    policy_text,
)
from cloister.testing.postgres import PostgresServer


def quiet(_done: int, _total: int) -> None:
    """Nobody looks."""


@pytest.fixture
def bench(tmp_path: Path) -> ServiceBench:
    """A service with volumes, a policy and a workload that writes."""
    bench = ServiceBench.create(tmp_path)
    bench.register_volumes()
    policy = bench.apply(policy_text(bench))
    bench.release_client().release(
        policy=policy,
        workload="train",
        instance="run-1",
        measurement=MEASUREMENT,
        attester=bench.attester(),
    )
    return bench


def place_of(bench: ServiceBench, database: str = "") -> Place:
    """Where its state is."""
    return Place(bench.domain.keyservice_directory, database, bench.platform)


def lose(bench: ServiceBench) -> None:
    """The disk of the state is gone, and a new one is there."""
    bench.close()
    shutil.rmtree(bench.domain.keyservice_directory)
    bench.domain.keyservice_directory.mkdir(mode=0o700)


def go_on(bench: ServiceBench, times: int = 3) -> None:
    """More happens."""
    for _ in range(times):
        bench.owner().volume_key(DATA_ID)


def start(bench: ServiceBench) -> None:
    """Open what is there now."""
    bench.store = Store.open(bench.domain.keyservice_directory, bench.platform)
    bench.service = KeyService(
        bench.store, moment=bench.clock(), attester=bench.attester(), witnesses=None
    )


def proposed(bench: ServiceBench, path: Path, given_up: int | None = None) -> Reset:
    """A statement for the bench's own platform."""
    return propose_reset(
        path,
        service=bench.domain.identity,
        platform=bench.platform.anchor,
        given_up=newest_number(bench.platform) if given_up is None else given_up,
        at=bench.clock.at,
    )


def approved(bench: ServiceBench, statement: Reset, *keys: SigningKey) -> list[Approval]:
    """What the owner, or others, sign."""
    until = bench.clock.at + 3600
    signers = keys or (bench.owner_key,)
    return [Approval.make(statement.subject, key=key, expires_at=until) for key in signers]


def reset_now(bench: ServiceBench, path: Path, statement: Reset | None = None) -> Head:
    """Propose, approve and take the step."""
    found = proposed(bench, path) if statement is None else statement
    place = place_of(bench)
    return reset(path, place, found, approved(bench, found), unlock=place.unlock, at=bench.clock.at)


@pytest.mark.spec("BR-3", "BR-4", "BR-6", "BR-7")
def test_a_backup_of_a_running_service_comes_back(bench: ServiceBench, tmp_path: Path) -> None:
    """It is as new as the state that was lost, so nobody has to approve of anything."""
    path = tmp_path / "backup"
    head = back_up(place_of(bench), path, progress=quiet)
    assert head == bench.store.head
    assert path.stat().st_mode & 0o777 == 0o600
    root = bench.store.log_root()
    lose(bench)
    assert restore(path, place_of(bench)) == head
    start(bench)
    assert (bench.store.head, bench.store.log_root()) == (head, root)
    assert bench.owner().volume_key(DATA_ID).keys.newest == DATA_KEY
    bench.close()


@pytest.mark.spec("BR-1")
def test_a_backup_is_ciphertext(bench: ServiceBench, tmp_path: Path) -> None:
    """No secret and no name of the state is in it."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    data = path.read_bytes()
    secrets = bench.store.secrets()
    key = bench.store.key.to_secret()
    hidden = [DATA_KEY, CODE_KEY, secrets.signing_seed, secrets.hpke_seed, secrets.ca_key, key]
    assert not any(secret in data for secret in [*hidden, b"digits", b"run-1"])
    bench.close()


@pytest.mark.spec("BR-4")
def test_a_backup_replaces_no_file(bench: ServiceBench, tmp_path: Path) -> None:
    """The old one stays."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    before = path.read_bytes()
    with pytest.raises(ConfigError) as e:
        back_up(place_of(bench), path, progress=quiet)
    assert e.value.code == "config.exists"
    assert path.read_bytes() == before
    bench.close()


@pytest.mark.spec("BR-3")
def test_a_backup_of_an_older_state_is_refused(bench: ServiceBench, tmp_path: Path) -> None:
    """A database that was put back is not what anybody wants to keep."""
    old = tmp_path / "old"
    shutil.copytree(bench.domain.keyservice_directory, old)
    go_on(bench)
    bench.close()
    shutil.rmtree(bench.domain.keyservice_directory)
    shutil.copytree(old, bench.domain.keyservice_directory)
    with pytest.raises(TamperedError) as e:
        back_up(place_of(bench), tmp_path / "backup", progress=quiet)
    assert e.value.code == "state.rolled-back"
    assert not (tmp_path / "backup").exists()


@pytest.mark.spec("BR-8")
def test_an_older_backup_is_refused_without_a_reset(bench: ServiceBench, tmp_path: Path) -> None:
    """And nothing lies in the state's place."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    go_on(bench)
    lose(bench)
    with pytest.raises(TamperedError) as e:
        restore(path, place_of(bench))
    assert e.value.code == "state.rolled-back"
    assert not list(bench.domain.keyservice_directory.glob("state*"))


@pytest.mark.spec("BR-6")
def test_nothing_is_put_over_a_state(bench: ServiceBench, tmp_path: Path) -> None:
    """Neither by restore nor by reset, which then is not used up either."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    bench.close()
    for attempt in (lambda: restore(path, place_of(bench)), lambda: reset_now(bench, path)):
        with pytest.raises(ConfigError) as e:
            attempt()
        assert e.value.code == "config.exists"
    start(bench)
    go_on(bench)
    bench.close()


@pytest.mark.spec("BR-5", "BR-9")
def test_another_platform_cannot_open_it(bench: ServiceBench, tmp_path: Path) -> None:
    """A backup is of no use to whoever has another machine."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    bench.close()
    other = SimPlatform.create(tmp_path / "other", svn=1, debug=False)
    (tmp_path / "new").mkdir(mode=0o700)
    with pytest.raises(TamperedError) as e:
        restore(path, Place(tmp_path / "new", "", other))
    assert e.value.code == "state.tampered"
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.spec("BR-5")
def test_a_newer_versions_backup_is_told_apart(bench: ServiceBench, tmp_path: Path) -> None:
    """Before a key is asked for."""
    path = tmp_path / "backup"
    bench.store._backend.put_slot("format", b"cloister/keyservice-state/v9")
    with pytest.raises(ConfigError) as e:
        back_up(place_of(bench), path, progress=quiet)
    assert e.value.code == "state.newer"
    bench.close()


@pytest.mark.spec("BR-7")
def test_another_log_than_the_states_is_refused(bench: ServiceBench, tmp_path: Path) -> None:
    """Rows that are missing at the end, exchanged, or have another hash."""
    backend = bench.store._backend
    assert isinstance(backend, SQLCipherBackend)
    changes = (
        "DELETE FROM log WHERE position = (SELECT max(position) FROM log)",
        "UPDATE log SET leaf = zeroblob(32) WHERE position = 1",
        "UPDATE log SET position = position + 1 WHERE position = (SELECT max(position) FROM log)",
    )
    for change in changes:
        backend._db.execute("SAVEPOINT before")
        backend._db.execute(change)
        backend._db.execute("RELEASE before")
        with pytest.raises(TamperedError) as e:
            back_up(place_of(bench), tmp_path / "backup", progress=quiet)
        assert e.value.code == "state.tampered"
    bench.close()


@pytest.mark.spec("BR-13", "BR-17", "BR-19")
def test_an_approved_reset_goes_back(bench: ServiceBench, tmp_path: Path) -> None:
    """Policies and volumes are those of the backup; the log says what was done, and ends so."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    before, backed_up = bench.store.volume(DATA_ID), bench.store.sequence
    assert before is not None
    assert before.holder is not None
    go_on(bench)
    newest = bench.store.sequence
    lose(bench)
    head = reset_now(bench, path)
    assert head.sequence == newest + 1
    assert newest_number(bench.platform) == newest + 1
    start(bench)
    volume = bench.store.volume(DATA_ID)
    assert volume is not None
    assert volume.holder is None
    assert volume.epoch == before.epoch + 1024 * (newest - backed_up + 1)
    entry = read_leaf(bench.store.entries(bench.store.log_size - 1, 1)[0])
    assert isinstance(entry, LogEntry)
    assert (entry.operation, entry.code) == ("state.reset", "")
    assert entry.subject == f"{newest} to {backed_up}"
    assert bench.owner().volume_key(DATA_ID).keys.newest == DATA_KEY
    bench.restart()
    assert bench.owner().volume_key(DATA_ID).keys.newest == DATA_KEY
    bench.close()


@pytest.mark.spec("BR-19")
def test_nothing_that_was_granted_for_a_time_outlives_a_reset(
    bench: ServiceBench, tmp_path: Path
) -> None:
    """An open nonce is none any more, and no instance is a member."""
    client = bench.owner()
    assert bench.owner().job_status("lab", "digits").epoch == 1
    nonce = client.call._call.challenge(timeout_s=5)
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    lose(bench)
    reset_now(bench, path)
    start(bench)
    with pytest.raises(EvidenceError) as e:
        bench.service._challenges.spend(nonce, bench.clock())
    assert e.value.code == "evidence.expired"
    job = bench.owner().job_status("lab", "digits")
    assert job.roles["train"][0] == 0
    assert job.epoch > 1
    bench.close()


@pytest.mark.spec("BR-17")
def test_who_went_on_from_what_is_given_up_stops(
    bench: ServiceBench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An instance that still runs, over a copy elsewhere."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    go_on(bench)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    old = bench.service
    place = replace(place_of(bench), directory=elsewhere)
    statement = proposed(bench, path)
    reset(
        path, place, statement, approved(bench, statement), unlock=place.unlock, at=bench.clock.at
    )
    with pytest.raises(CloisterError) as e:
        bench.owner().volume_key(DATA_ID)
    assert e.value.code == "state.forked"
    assert bench.service is old
    assert "state.forked" in caplog.text
    bench.close()


@pytest.mark.spec("BR-14", "BR-15", "BR-16")
def test_a_reset_that_was_not_approved_changes_nothing(bench: ServiceBench, tmp_path: Path) -> None:
    """Too few, another key, too little given up: refused, with the counter where it was."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    go_on(bench)
    seen = newest_number(bench.platform)
    lose(bench)
    place, statement = place_of(bench), proposed(bench, path)
    stale = proposed(bench, path, given_up=seen - 1)
    attempts: list[tuple[Reset, list[Approval], str]] = [
        (statement, [], "approval.pending"),
        (statement, approved(bench, statement, SigningKey.generate()), "approval.not-approver"),
        (stale, approved(bench, stale), "approval.invalid"),
        (statement, approved(bench, stale), "approval.invalid"),
    ]
    for asked, given, code in attempts:
        with pytest.raises(ReleaseDeniedError) as e:
            reset(path, place, asked, given, unlock=place.unlock, at=bench.clock.at)
        assert e.value.code == code
    assert newest_number(bench.platform) == seen
    assert list(bench.domain.keyservice_directory.iterdir()) == []


@pytest.mark.spec("BR-15")
def test_a_reset_is_used_once(bench: ServiceBench, tmp_path: Path) -> None:
    """When its state has gone on, the same approvals bring nothing back."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    go_on(bench)
    lose(bench)
    statement = proposed(bench, path)
    reset_now(bench, path, statement)
    start(bench)
    go_on(bench, 1)
    lose(bench)
    with pytest.raises(ReleaseDeniedError) as e:
        reset_now(bench, path, statement)
    assert e.value.code == "approval.invalid"


@pytest.mark.spec("BR-16")
def test_the_roots_charter_decides(bench: ServiceBench, tmp_path: Path) -> None:
    """Two of three approvers, and the founder no more."""
    keys = [SigningKey.generate() for _ in range(3)]
    charter = bench.charter("/", keys, threshold=2)
    bench.owner().propose_charter(charter)
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    lose(bench)
    place, statement = place_of(bench), proposed(bench, path)

    def attempt(*signers: SigningKey) -> None:
        given = approved(bench, statement, *signers)
        reset(path, place, statement, given, unlock=place.unlock, at=bench.clock.at)

    for signers, code in (
        ((bench.owner_key,), "approval.not-approver"),
        ((keys[0],), "approval.pending"),
        ((keys[0], bench.owner_key), "approval.not-approver"),
    ):
        with pytest.raises(ReleaseDeniedError) as e:
            attempt(*signers)
        assert e.value.code == code
    attempt(keys[0], keys[2])
    start(bench)
    bench.close()


def killed(action: Callable[[], object]) -> None:
    """Do something in a process of its own that kills itself on the way."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            action()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was not killed"
    assert os.WTERMSIG(status) == signal.SIGKILL


def dies(*_: object, **__: object) -> None:
    """The power fails here."""
    os.kill(os.getpid(), signal.SIGKILL)


STEPS = (
    "cloister.keyservice.restoring.seal_state_key",
    "cloister.keyservice.state.sqlcipher._fill",
    "cloister.keyservice.state.sqlcipher._sync",
    "cloister.keyservice.state.sqlcipher._put_in_place",
    "cloister.keyservice.state.sqlcipher.os.link",
)


@pytest.mark.spec("BR-6")
@pytest.mark.parametrize("step", STEPS)
def test_a_restore_that_is_killed_is_done_again(
    bench: ServiceBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """There is nothing, and the next attempt brings all of it back."""
    path = tmp_path / "backup"
    head = back_up(place_of(bench), path, progress=quiet)
    lose(bench)
    with monkeypatch.context() as patched:
        patched.setattr(step, dies)
        killed(lambda: restore(path, place_of(bench)))
    assert not list(bench.domain.keyservice_directory.glob("state*"))
    assert restore(path, place_of(bench)) == head
    start(bench)
    go_on(bench, 1)
    bench.close()


@pytest.mark.spec("BR-6", "BR-15", "BR-17")
@pytest.mark.parametrize("step", STEPS)
def test_a_reset_that_is_killed_is_done_again(
    bench: ServiceBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """With the same approvals, and to the same state."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    go_on(bench)
    lose(bench)
    statement = proposed(bench, path)
    with monkeypatch.context() as patched:
        patched.setattr(step, dies)
        killed(lambda: reset_now(bench, path, statement))
    assert not list(bench.domain.keyservice_directory.glob("state*"))
    assert reset_now(bench, path, statement) == statement.next_head
    start(bench)
    go_on(bench, 1)
    bench.close()


@pytest.mark.spec("BR-17")
def test_a_reset_killed_between_its_counters_wants_a_new_approval(
    bench: ServiceBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old state is dead, and nobody can tell who moved the counter."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    lose(bench)
    statement = proposed(bench, path)
    moved = restoring.MonotonicCounter.raise_to

    def move_and_die(counter: restoring.MonotonicCounter, value: int) -> None:
        moved(counter, value)
        dies()

    with monkeypatch.context() as patched:
        patched.setattr(restoring.MonotonicCounter, "raise_to", move_and_die)
        killed(lambda: reset_now(bench, path, statement))
    with pytest.raises(ReleaseDeniedError) as e:
        reset_now(bench, path, statement)
    assert e.value.code == "approval.invalid"
    reset_now(bench, path)
    start(bench)
    go_on(bench, 1)
    bench.close()


def test_a_recovered_key_must_be_the_states(bench: ServiceBench, tmp_path: Path) -> None:
    """Another one opens nothing."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    with pytest.raises(TamperedError) as e:
        look_into(path, lambda _: StateKey(b"x" * 32))
    assert e.value.code == "state.tampered"
    bench.close()


@pytest.mark.spec("BR-3", "BR-6")
def test_either_backend_comes_back_as_the_other(
    bench: ServiceBench,
    tmp_path: Path,
    postgres: PostgresServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An embedded state becomes a shared one, and an older copy of that is reset."""
    path, later = tmp_path / "backup", tmp_path / "later"
    head = back_up(place_of(bench), path, progress=quiet)
    lose(bench)
    place = place_of(bench, postgres.address(postgres.database()))
    assert restore(path, place) == head
    with pytest.raises(ConfigError) as e:
        restore(path, place)
    assert e.value.code == "config.exists"
    store = Store.open_shared(place.database, bench.platform)
    bench.service = KeyService(
        store, moment=bench.clock(), attester=bench.attester(), witnesses=None
    )
    go_on(bench)
    assert back_up(place, later, progress=quiet) == store.head
    fresh = replace(place, database=postgres.address(postgres.database()))
    statement = proposed(bench, path)
    reset(
        path, fresh, statement, approved(bench, statement), unlock=fresh.unlock, at=bench.clock.at
    )
    with pytest.raises(CloisterError) as stopped:
        bench.owner().volume_key(DATA_ID)
    assert "state.rolled-back" in caplog.text
    assert stopped.value.code == "state.rolled-back"
    store.close()
    bench.store = Store.open_shared(fresh.database, bench.platform)
    bench.service = KeyService(
        bench.store, moment=bench.clock(), attester=bench.attester(), witnesses=None
    )
    assert bench.owner().volume_key(DATA_ID).keys.newest == DATA_KEY
    bench.close()


def test_a_statement_gives_up_at_least_the_backup(bench: ServiceBench, tmp_path: Path) -> None:
    """Less would be no reset."""
    path = tmp_path / "backup"
    head = back_up(place_of(bench), path, progress=quiet)
    assert proposed(bench, path, given_up=0).given_up == head.sequence
    assert json.loads(proposed(bench, path).to_text())["back_to"] == head.sequence
    backup = Backup(path)
    assert backup.log_size() == bench.store.log_size
    backup.close()
    bench.close()


@pytest.mark.spec("BR-6", "BR-15")
@pytest.mark.parametrize("step", ["_columns", "PostgresBackend.close"])
def test_a_killed_reset_leaves_nothing_in_a_database(
    bench: ServiceBench,
    tmp_path: Path,
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """Its transaction was never committed, or all of it was; the next attempt finds out which."""
    path = tmp_path / "backup"
    back_up(place_of(bench), path, progress=quiet)
    go_on(bench)
    bench.close()
    place = place_of(bench, postgres.address(postgres.database()))
    statement = proposed(bench, path)

    def attempt() -> Head:
        given = approved(bench, statement)
        return reset(path, place, statement, given, unlock=place.unlock, at=bench.clock.at)

    place.require_empty()
    with monkeypatch.context() as patched:
        patched.setattr(f"cloister.keyservice.state.postgres.{step}", dies)
        patched.setattr(Place, "require_empty", lambda _: None)
        killed(attempt)
    if step == "_columns":
        assert attempt() == statement.next_head
    store = Store.open_shared(place.database, bench.platform)
    assert store.head == statement.next_head
    store.close()
