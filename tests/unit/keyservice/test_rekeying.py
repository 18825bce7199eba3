"""The state key is changed: what the older one opened it opens no more, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, LocalProtocolError, StateMovedError, UnavailableError
from cloister.keyservice import merkle
from cloister.keyservice.approvals import Approval, Subject
from cloister.keyservice.log import LogEntry, StateCommitment, read_leaf
from cloister.keyservice.recovering import make_shares
from cloister.keyservice.recovery_plan import RecoveryPlan
from cloister.keyservice.rekey import Rekey
from cloister.keyservice.rekeying import Rekeyed, change_state_key
from cloister.keyservice.restoring import (
    Place,
    back_up,
    look_into,
    newest_number,
    propose_reset,
    reset,
    restore,
)
from cloister.keyservice.state.freshness import SharedFreshness
from cloister.keyservice.state.key_rows import KeyChange, key_change, put_key_change
from cloister.keyservice.state.platform_key import (
    seal_next_state_key,
    seal_state_key,
    slots_after,
    unseal_older_state_key,
)
from cloister.keyservice.state.record import Record, Snapshot, StateKey
from cloister.keyservice.store import Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.keyservice import DATA_ID, DATA_KEY, ServiceBench, policy_text
from cloister.testing.postgres import PostgresServer
from cloister.testing.state import MemoryBackend, founded


def quiet(_done: int, _total: int) -> None:
    """Nobody looks."""


@dataclass
class Changing:
    """A stopped service, and who changes its key."""

    bench: ServiceBench
    database: str = ""
    holders: list[HPKEPrivateKey] = field(
        default_factory=lambda: [HPKEPrivateKey.generate() for _ in range(2)]
    )

    @property
    def place(self) -> Place:
        """Where its state is."""
        return Place(self.bench.domain.keyservice_directory, self.database, self.bench.platform)

    def statement(self, later: int = 0) -> Rekey:
        """What is approved."""
        domain, clock = self.bench.domain, self.bench.clock
        return Rekey(domain.identity, self.bench.platform.anchor, clock.at + later)

    def yes(self, subject: Subject) -> list[Approval]:
        """The owner's approval."""
        until = self.bench.clock.at + 60
        return [Approval.make(subject, key=self.bench.owner_key, expires_at=until)]

    def change(self, statement: Rekey | None = None) -> Rekeyed:
        """Change the key as approved."""
        asked = statement or self.statement()
        approvals = self.yes(asked.subject)
        return change_state_key(self.place, asked, approvals, at=self.bench.clock.at)

    def facts(self) -> tuple[bytes, bytes, list[bytes]]:
        """What must stay as it is: identity, a volume's key, and the log so far."""
        with_store = self.place.open()
        try:
            volume = with_store.volume(DATA_ID)
            assert volume is not None
            leaves = with_store.entries(0, 1000)
            assert merkle.root_of_leaves(with_store.leaves()) == with_store.log_root()
            return with_store.secrets().signing_seed, volume.keys.newest, leaves
        finally:
            with_store.close()


@pytest.fixture
def changing(tmp_path: Path) -> Changing:
    """An embedded service that has answered a few things, and was stopped."""
    bench = ServiceBench.create(tmp_path)
    bench.register_volumes()
    bench.apply(policy_text(bench))
    bench.close()
    return Changing(bench)


@pytest.mark.spec("BR-54", "KS-72", "KS-75")
def test_the_key_is_changed_and_nothing_else(changing: Changing) -> None:
    """Rows, log and identity are the same; all that lies there is under the new key."""
    seed, data_key, leaves = changing.facts()
    with_old = changing.place.open()
    old = with_old.key
    with_old.close()
    done = changing.change()
    assert (done.changed, done.left_out) == (True, ())
    assert done.name != old.name
    after = changing.facts()
    assert after[:2] == (seed, data_key) == (seed, DATA_KEY)
    assert after[2][: len(leaves)] == leaves
    entry, commitment = (read_leaf(leaf) for leaf in after[2][len(leaves) :])
    assert isinstance(entry, LogEntry)
    assert isinstance(commitment, StateCommitment)
    assert entry.operation == "state.rekey"
    assert entry.subject == changing.bench.platform.anchor.text
    assert entry.evidence == changing.statement().subject.hash
    store = changing.place.open()
    assert store.key.name == done.name
    assert key_change(store.tables) == KeyChange(
        done.name, changing.statement().subject.hash, changing.statement().at
    )
    backend = store._backend
    snapshot = backend.snapshot()
    assert snapshot is not None
    assert [number for number, _ in backend.records(0)] == [snapshot[0]] == [done.head.sequence]
    for row in backend.log(0, 1000):
        with pytest.raises(CloisterError):
            old.open_entry(row.sealed, position=row.position)
    with pytest.raises(CloisterError):
        old.open_snapshot(snapshot[1], sequence=snapshot[0])
    with store.transaction():
        store.append(b"next")
    store.close()


@pytest.mark.spec("BR-51")
def test_nobody_changes_it_without_approval(changing: Changing) -> None:
    """Nothing of the state is another then."""
    before = changing.facts()
    asked = changing.statement()
    stranger = SigningKey.generate()
    plan = RecoveryPlan(asked.service, 2, tuple(k.public.identity for k in changing.holders), 1)
    his = Approval.make(asked.subject, key=stranger, expires_at=changing.bench.clock.at + 60)
    elsewhere = replace(asked, platform=stranger.public)
    attempts: list[tuple[Rekey, list[Approval], str]] = [
        (asked, [], "approval.pending"),
        (asked, [his], "approval.not-approver"),
        (asked, changing.yes(plan.subject), "approval.invalid"),
        (elsewhere, changing.yes(elsewhere.subject), "approval.invalid"),
    ]
    for statement, approvals, code in attempts:
        with pytest.raises(CloisterError) as e:
            change_state_key(changing.place, statement, approvals, at=changing.bench.clock.at)
        assert e.value.code == code
    assert changing.facts() == before


@pytest.mark.spec("BR-52")
def test_the_same_change_again_changes_nothing(changing: Changing) -> None:
    """A command that was stopped after the commit may be given again; a later change is another."""
    first = changing.change()
    again = changing.change()
    assert (again.changed, again.name, again.head) == (False, first.name, first.head)
    second = changing.change(changing.statement(later=1))
    assert second.changed
    assert second.name not in {first.name}
    with pytest.raises(CloisterError) as e:
        changing.change()
    assert e.value.code == "approval.invalid"


@pytest.mark.spec("BR-51")
def test_an_embedded_state_in_use_is_left_alone(changing: Changing) -> None:
    """The service has its key in memory."""
    store = changing.place.open()
    with pytest.raises(UnavailableError) as e:
        changing.change()
    assert e.value.code == "keyservice.busy"
    store.close()


@pytest.mark.spec("KS-74")
def test_an_older_key_does_not_come_back_with_its_slot(changing: Changing) -> None:
    """Holders of enough older shares make a state under that key; the platform knows better."""
    old_slots = dict(_slots(changing))
    done = changing.change()
    key = unseal_older_state_key(MemoryBackend(old_slots), changing.bench.platform)
    store = changing.place.open()
    forged = MemoryBackend(old_slots)
    snapshot = key.seal_snapshot(_snapshot(store), head=done.head)
    forged.put_snapshot(done.head.sequence, snapshot, keep=0)
    store.close()
    with pytest.raises(CloisterError) as e:
        Store.load(
            forged, changing.bench.platform, SharedFreshness(changing.bench.platform.counter("x"))
        )
    assert e.value.code == "state.rolled-back"


@pytest.mark.spec("BR-5", "KS-74")
def test_a_backup_from_before_needs_a_reset(changing: Changing, tmp_path: Path) -> None:
    """One from afterwards comes back, with what it says of retired keys."""
    older, newer = tmp_path / "older", tmp_path / "newer"
    back_up(changing.place, older, progress=quiet)
    changing.change()
    facts = changing.facts()
    back_up(changing.place, newer, progress=quiet)
    before = _slots(changing)
    for path in changing.place.directory.glob("state.db*"):
        path.unlink()
    with pytest.raises(CloisterError) as e:
        restore(older, changing.place)
    assert e.value.code == "state.rolled-back"
    store, _ = look_into(older, changing.place.unlock_older)
    store.close()
    restore(newer, changing.place)
    assert changing.facts() == facts
    assert [name for name, _ in _slots(changing)] == [name for name, _ in before]


@pytest.mark.spec("BR-13", "KS-73", "KS-74")
def test_a_reset_to_a_backup_from_before_is_a_decision(changing: Changing, tmp_path: Path) -> None:
    """It brings the older key back, which this platform opens again; and is changed again."""
    path = tmp_path / "backup"
    back_up(changing.place, path, progress=quiet)
    store = changing.place.open()
    old = store.key.name
    store.close()
    changing.change()
    for file in changing.place.directory.glob("state.db*"):
        file.unlink()
    at, platform = changing.bench.clock.at, changing.bench.platform
    statement = propose_reset(
        path,
        service=changing.bench.domain.identity,
        platform=platform.anchor,
        given_up=newest_number(platform),
        at=at,
    )
    approvals, place = changing.yes(statement.subject), changing.place
    with pytest.raises(CloisterError) as e:
        reset(path, place, statement, approvals, unlock=place.unlock, at=at)
    assert e.value.code == "state.rolled-back"
    reset(path, place, statement, approvals, unlock=place.unlock_older, at=at)
    store = place.open()
    assert store.key.name == old
    store.close()
    again = changing.change()
    assert again.changed
    assert again.name != old
    assert changing.facts()[1] == DATA_KEY


@pytest.mark.spec("BR-53")
def test_an_earlier_plan_does_not_split_the_new_key(changing: Changing, tmp_path: Path) -> None:
    """Its approvals may still be good, and its holders were chosen for the older key."""
    keys = [key.public for key in changing.holders]
    at = changing.bench.clock.at
    digests = tuple(key.identity for key in keys)
    old = RecoveryPlan(changing.bench.domain.identity, 2, digests, at - 1)
    changing.change()
    with pytest.raises(CloisterError) as e:
        make_shares(
            changing.place, old, changing.yes(old.subject), keys, into=tmp_path / "s", at=at
        )
    assert e.value.code == "approval.invalid"
    assert not (tmp_path / "s").exists()
    new = replace(old, at=at)
    make_shares(changing.place, new, changing.yes(new.subject), keys, into=tmp_path / "s", at=at)


@pytest.mark.spec("BR-54")
def test_a_log_that_was_changed_is_not_put_under_the_new_key(changing: Changing) -> None:
    """Whoever has the older key seals entries that open, and have their own leaf; not its root."""
    store = changing.place.open()
    entry = b"what never happened"
    sealed = store.key.seal_entry(entry, position=0)
    store._backend._db.execute(
        "UPDATE log SET sealed = ?, leaf = ? WHERE position = 0", (sealed, merkle.leaf_hash(entry))
    )
    before = list(store._backend.slots())
    store.close()
    with pytest.raises(CloisterError) as e:
        changing.change()
    assert e.value.code == "state.tampered"
    assert _slots(changing) == before


# -- replicas


@pytest.fixture
def platform(tmp_path: Path) -> SimPlatform:
    """A platform with replicas."""
    return SimPlatform.create(tmp_path / "platform", svn=1, debug=False)


@pytest.fixture
def shared(platform: SimPlatform) -> MemoryBackend:
    """Their state."""
    return founded(platform, shared=True)


def replica(backend: MemoryBackend, platform: SimPlatform) -> Store:
    """One replica."""
    return Store.load(backend, platform, SharedFreshness(platform.counter("replicas")))


def rekey(store: Store, platform: SimPlatform) -> StateKey:
    """Change the key as one replica's host does, without asking who approved."""
    key = StateKey(bytes([store.sequence % 256]) * 32)
    put = KeyChange(key.name, b"s" * 32, store.sequence)

    def slots(present: Iterator[tuple[str, bytes]], old: StateKey) -> tuple[tuple[str, bytes], ...]:
        return slots_after(present, old, new=seal_next_state_key(key, platform))

    with store.changing_key(key, slots), store.transaction():
        put_key_change(store.tables, put)
        store.append(b"rekey %d" % store.sequence)
    return key


@pytest.mark.spec("BR-56", "KS-77")
@pytest.mark.parametrize("behind", [0, 3])
def test_a_replica_goes_on_under_the_new_key(
    platform: SimPlatform, shared: MemoryBackend, behind: int
) -> None:
    """Whether it has read the record before the change, or is further behind."""
    one, two = replica(shared, platform), replica(shared, platform)
    for number in range(behind):
        with one.transaction():
            one.append(b"%d" % number)
    key = rekey(one, platform)
    with two.transaction():
        two.append(b"two")
    assert two.key.name == one.key.name == key.name
    another = rekey(two, platform)
    third = rekey(two, platform)
    with one.transaction():
        one.append(b"one")
    assert one.key.name == third.name != another.name
    assert one.entries(0, 100) == replica(shared, platform).entries(0, 100)
    assert one.entries(0, 100)[-1] == b"one"


@pytest.mark.spec("KS-77")
def test_a_reader_that_meets_the_change_decides_again(
    platform: SimPlatform, shared: MemoryBackend
) -> None:
    """Rows of the log that it cannot open are no tampering then; others still are."""
    one, two = replica(shared, platform), replica(shared, platform)
    with one.transaction():
        one.append(b"entry")
    two.refresh()
    with two.group():
        rekey(one, platform)
        with pytest.raises(StateMovedError):
            two.entries(0, 1)
    two.refresh()
    assert two.entries(0, 1) == [b"entry"]
    shared.log_rows[0] = replace(shared.log_rows[0], sealed=b"x" * 60)
    with pytest.raises(CloisterError) as e:
        two.entries(0, 1)
    assert e.value.code == "state.tampered"


@pytest.mark.spec("BR-57", "KS-76")
def test_a_replica_elsewhere_stops(
    platform: SimPlatform, shared: MemoryBackend, tmp_path: Path
) -> None:
    """Its platform has not got the new key, and is told so."""
    one = replica(shared, platform)
    other = SimPlatform.create(tmp_path / "other", svn=1, debug=False)
    name = f"state-key/{other.anchor.text}"
    shared.put_slot(name, _moved(one.key, other))
    elsewhere = replica(shared, other)
    rekey(one, platform)
    for attempt in (elsewhere.refresh, lambda: replica(shared, other)):
        with pytest.raises(CloisterError) as e:
            attempt()
        assert e.value.code == "state.key-changed"


@pytest.mark.spec("KS-74", "KS-77")
def test_a_replica_that_is_kept_from_the_change_does_not_go_on(
    platform: SimPlatform, shared: MemoryBackend
) -> None:
    """Whoever has the older key and the database writes on under it; the platform knows better."""
    one, two = replica(shared, platform), replica(shared, platform)
    old, before = one.key, shared.copy()
    rekey(one, platform)
    head, forged = old.seal_record(Record((), (b"forged",)), after=two.head)
    shared.rows = before.rows | {head.sequence: forged}
    shared.kept, shared.log_rows = before.kept, before.log_rows
    for slots in (shared.slots_by_name, before.slots_by_name):
        shared.slots_by_name = slots
        with pytest.raises(CloisterError) as e:
            two.refresh()
        assert e.value.code == "state.rolled-back"


@pytest.mark.spec("KS-72")
def test_a_state_is_under_the_key_that_it_names(
    platform: SimPlatform, shared: MemoryBackend
) -> None:
    """A change that names no key, or another, is none; a state that names another is refused."""
    one = replica(shared, platform)
    before = shared.copy()
    with pytest.raises(LocalProtocolError), one.changing_key(StateKey(b"n" * 32), _same):
        one.append(b"no name")
    with pytest.raises(LocalProtocolError), one.changing_key(StateKey(b"n" * 32), _same):
        put_key_change(one.tables, KeyChange(b"o" * 32, b"s" * 32, 1))
    assert (shared.rows, shared.log_rows) == (before.rows, before.log_rows)
    with one.transaction():
        put_key_change(one.tables, KeyChange(b"o" * 32, b"s" * 32, 1))
    for attempt in (
        lambda: replica(shared, platform),
        lambda: Store.load_with(shared, one.key, SharedFreshness(platform.counter("replicas"))),
    ):
        with pytest.raises(CloisterError) as e:
            attempt()
        assert e.value.code == "state.tampered"


@pytest.mark.spec("KS-42")
def test_what_is_too_large_to_be_written_keeps_nobody_out(
    platform: SimPlatform, shared: MemoryBackend
) -> None:
    """The lock of the witness is taken for what will be written only."""
    one, two = replica(shared, platform), replica(shared, platform)
    with pytest.raises(UnavailableError) as e, one.transaction():
        one.append(b"x" * (1 << 22))
    assert e.value.code == "keyservice.busy"
    with two.transaction():
        two.append(b"small")


@pytest.mark.spec("KS-40", "KS-75")
@pytest.mark.parametrize("point", ["before", "after"])
def test_a_change_whose_outcome_is_not_known(
    platform: SimPlatform, shared: MemoryBackend, point: str
) -> None:
    """The next group finds out, and goes on under whichever key it is."""

    def lose() -> None:
        raise UnavailableError("lost", code="keyservice.database")

    one = replica(shared, platform)
    old = one.key.name
    setattr(shared, f"{point}_append", lose)
    with pytest.raises(UnavailableError):
        rekey(one, platform)
    shared.before_append = shared.after_append = None
    with one.transaction():
        one.append(b"next")
    assert (one.key.name == old) == (point == "before")
    assert one.entries(0, 9) == replica(shared, platform).entries(0, 9)


@pytest.mark.spec("BR-55", "BR-56")
def test_a_state_in_a_database_is_changed_while_a_replica_runs(
    changing: Changing, postgres: PostgresServer, tmp_path: Path
) -> None:
    """It has every row afterwards; whoever admitted platforms has one."""
    path = tmp_path / "backup"
    back_up(changing.place, path, progress=quiet)
    address = postgres.address(postgres.database())
    restore(path, replace(changing.place, database=address))
    changing.database = address
    before = changing.facts()
    running = changing.place.open()
    done = changing.change()
    assert changing.facts()[2][: len(before[2])] == before[2]
    with running.transaction():
        running.append(b"by the one that ran")
    assert running.key.name == done.name
    assert running.entries(running.log_size - 1, 1) == [b"by the one that ran"]
    running.close()


def _same(slots: Iterable[tuple[str, bytes]], _old: StateKey) -> Iterable[tuple[str, bytes]]:
    return slots


def _slots(changing: Changing) -> list[tuple[str, bytes]]:
    with changing.place.at_one_moment() as backend:
        return list(backend.slots())


def _snapshot(store: Store) -> Snapshot:
    return Snapshot(store.log_size, store._peaks, store.tables.all())


def _moved(key: StateKey, platform: SimPlatform) -> bytes:
    return seal_state_key(key, platform)[1]
