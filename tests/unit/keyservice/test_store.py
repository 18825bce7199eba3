"""The encrypted database: durable, its own, and never old."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import cloister.keyservice.state.journal
from cloister.errors import (
    CloisterError,
    ConfigError,
    StateMovedError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice import merkle
from cloister.keyservice.records import Holder, PolicyRecord, VolumeRecord
from cloister.keyservice.state.freshness import PlatformFreshness
from cloister.keyservice.state.record import Snapshot
from cloister.keyservice.store import ServiceSecrets, Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.postgres import PostgresServer
from cloister.testing.state import MemoryBackend, MemoryFreshness

SECRETS = ServiceSecrets(
    signing_seed=b"PLAIN-SIGNING-SEED",
    hpke_seed=b"h",
    ca_key=b"c",
    ca_certificate=b"d",
    reader_secret=b"r",
    owner=b"o",
    trust_domain="example.test",
)
VOLUME = VolumeRecord(b"v" * 16, b"PLAIN-VOLUME-KEY", "data", 1, b"r" * 32, 0, 0, None)


@pytest.fixture
def platform(tmp_path: Path) -> SimPlatform:
    """A simulated platform."""
    return SimPlatform.create(tmp_path / "platform", svn=1, debug=False)


@pytest.fixture
def directory(tmp_path: Path, platform: SimPlatform) -> Path:
    """A service's directory with a database of a few pages and entries."""
    directory = tmp_path / "keyservice"
    directory.mkdir(mode=0o700)
    Store.create(directory, platform, SECRETS)
    store = Store.open(directory, platform)
    for number in range(40):
        with store.transaction():
            store.append(b"entry %d " % number + b"x" * 300)
            store.put_volume(VOLUME)
    store.close()
    return directory


@pytest.mark.spec("KR-90")
def test_what_was_committed_is_there_after_opening_again(
    directory: Path, platform: SimPlatform
) -> None:
    """Secrets, volumes, policies and log."""
    store = Store.open(directory, platform)
    record = PolicyRecord(b"h" * 32, b"canonical", "lab", "digits", current=True, at=1)
    held = VolumeRecord(b"w" * 16, b"k", "data", 1, b"r" * 32, 1, 2, Holder(b"a" * 32, b"s"))
    with store.transaction():
        store.put_policy(record)
        store.put_volume(held)
    size, root = store.log_size, store.log_root()
    store.close()
    store = Store.open(directory, platform)
    assert store.secrets() == SECRETS
    assert store.policy(b"h" * 32) == record
    assert store.current_policy("lab", "digits") == record
    assert store.policies() == [record]
    assert store.volume(b"w" * 16) == held
    assert len(store.volumes()) == 2
    assert (store.log_size, store.log_root()) == (size, root) == (40, store.log_root())
    assert store.entries(3, 2)[0].startswith(b"entry 3 ")
    assert len(store.leaves()) == 40
    store.close()


def test_a_newer_policy_replaces_the_older(directory: Path, platform: SimPlatform) -> None:
    """Exactly one is current; the old one stays known."""
    store = Store.open(directory, platform)
    for digest in (b"1" * 32, b"2" * 32):
        with store.transaction():
            store.put_policy(PolicyRecord(digest, digest, "lab", "p", current=True, at=1))
    current = store.current_policy("lab", "p")
    old = store.policy(b"1" * 32)
    assert current is not None
    assert current.hash == b"2" * 32
    assert old is not None
    assert not old.current
    store.close()


@pytest.mark.spec("KR-91")
def test_nothing_of_a_failed_transaction_stays(directory: Path, platform: SimPlatform) -> None:
    """Neither in the database nor in memory."""
    store = Store.open(directory, platform)
    before = (store.log_size, store.log_root())

    def fail() -> None:
        with store.transaction():
            store.append(b"never")
            store.put_volume(VOLUME)
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fail()
    assert (store.log_size, store.log_root()) == before
    with store.transaction():
        assert store.append(b"next").index == 40
    store.close()


@pytest.mark.spec("KR-90")
def test_nothing_readable_lies_on_the_disk(directory: Path, platform: SimPlatform) -> None:
    """Not in the database, nor in its journal while it is open."""
    store = Store.open(directory, platform)
    with store.transaction():
        store.put_volume(VOLUME)
    found = b"".join(path.read_bytes() for path in directory.iterdir())
    store.close()
    for marker in (b"PLAIN", b"entry 3", b"SQLite", b"example.test", b"CREATE TABLE"):
        assert marker not in found


@pytest.mark.spec("KR-90")
def test_files_are_private(directory: Path, platform: SimPlatform) -> None:
    """0600, the journal too."""
    store = Store.open(directory, platform)
    with store.transaction():
        store.put_volume(VOLUME)
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    store.close()
    assert set(modes.values()) == {0o600}
    assert "state.db-wal" in modes


@pytest.mark.spec("KR-91")
@pytest.mark.parametrize("position", [0, 8, 17, 100, 4090, 5000, 20000, -1])
def test_a_flipped_bit_is_refused(directory: Path, platform: SimPlatform, position: int) -> None:
    """On whichever page it lies."""
    path = directory / "state.db"
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(TamperedError) as e:
        Store.open(directory, platform)
    assert e.value.code == "state.tampered"


@pytest.mark.spec("KR-91")
@pytest.mark.parametrize("length", [0, 1, 4096, -4096])
def test_a_cut_database_is_refused(directory: Path, platform: SimPlatform, length: int) -> None:
    """Empty, a stump, one page, or one page short."""
    path = directory / "state.db"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(TamperedError) as e:
        Store.open(directory, platform)
    assert e.value.code == "state.tampered"


@pytest.mark.spec("KR-91")
def test_a_missing_database_is_refused(directory: Path, platform: SimPlatform) -> None:
    """A service that forgot everything is not the same service."""
    (directory / "state.db").unlink()
    with pytest.raises(TamperedError) as e:
        Store.open(directory, platform)
    assert e.value.code == "state.tampered"


@pytest.mark.spec("KR-91")
def test_a_foreign_database_is_refused(directory: Path, tmp_path: Path) -> None:
    """Another platform's sealing key does not open it."""
    other = SimPlatform.create(tmp_path / "other", svn=1, debug=False)
    with pytest.raises(TamperedError) as e:
        Store.open(directory, other)
    assert e.value.code == "state.tampered"


@pytest.mark.spec("KR-92")
def test_an_older_copy_is_refused(directory: Path, platform: SimPlatform, tmp_path: Path) -> None:
    """The platform's counter has moved on."""
    shutil.copytree(directory, tmp_path / "copy")
    store = Store.open(directory, platform)
    with store.transaction():
        store.append(b"one more")
    store.close()
    shutil.rmtree(directory)
    shutil.copytree(tmp_path / "copy", directory)
    with pytest.raises(TamperedError) as e:
        Store.open(directory, platform)
    assert e.value.code == "state.rolled-back"
    assert "old copy" in e.value.public


@pytest.mark.spec("KR-92")
def test_a_journal_that_was_thrown_away_is_seen(directory: Path, platform: SimPlatform) -> None:
    """Losing committed transactions is going back."""
    store = Store.open(directory, platform)
    with store.transaction():
        store.append(b"one more")
    saved = (directory / "state.db").read_bytes()
    store.close()
    (directory / "state.db").write_bytes(saved)
    with pytest.raises(TamperedError) as e:
        Store.open(directory, platform)
    assert e.value.code == "state.rolled-back"


@pytest.mark.spec("KR-93")
def test_a_second_service_is_refused(directory: Path, platform: SimPlatform) -> None:
    """One process at a time; afterwards the next may."""
    store = Store.open(directory, platform)
    with pytest.raises(UnavailableError) as e:
        Store.open(directory, platform)
    assert e.value.code == "keyservice.busy"
    store.close()
    Store.open(directory, platform).close()


def test_creating_twice_is_refused(directory: Path, platform: SimPlatform) -> None:
    """State is never replaced."""
    with pytest.raises(ConfigError) as e:
        Store.create(directory, platform, SECRETS)
    assert e.value.code == "config.exists"


def test_an_unusable_directory_is_a_state_error(tmp_path: Path, platform: SimPlatform) -> None:
    """It may be mounted later."""
    with pytest.raises(UnavailableError) as e:
        Store.open(tmp_path / "nowhere", platform)
    assert e.value.code == "keyservice.state"


def test_a_full_disk_keeps_what_was_committed(directory: Path, platform: SimPlatform) -> None:
    """The failed change is gone, the rest is there."""
    store = Store.open(directory, platform)
    store._backend._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    pages = store._backend._db.execute("PRAGMA page_count").fetchone()[0]
    store._backend._db.execute(f"PRAGMA max_page_count = {pages}").fetchall()

    def fill() -> None:
        for _ in range(100):
            with store.transaction():
                store.append(b"x" * 4000)

    with pytest.raises(StorageFullError) as e:
        fill()
    assert e.value.code == "storage.full"
    size = store.log_size
    store.close()
    again = Store.open(directory, platform)
    assert again.log_size == size >= 40
    again.close()


@pytest.mark.spec("KR-91")
def test_a_group_becomes_durable_at_its_end(directory: Path, platform: SimPlatform) -> None:
    """Several transactions, one step of the counter; a copy taken before the end has none."""
    store = Store.open(directory, platform)
    before = platform.counter("keyservice").value
    with store.group():
        for number in range(3):
            with store.transaction():
                assert store.append(b"grouped").index == 40 + number
                store.put_volume(VOLUME)
        assert platform.counter("keyservice").value == before
    assert platform.counter("keyservice").value == before + 1
    size, root = store.log_size, store.log_root()
    store.close()
    store = Store.open(directory, platform)
    assert (store.log_size, store.log_root()) == (size, root)
    assert size == 43
    store.close()


@pytest.mark.spec("KR-91")
def test_a_failed_transaction_leaves_its_group_alone(
    directory: Path, platform: SimPlatform
) -> None:
    """Nothing of it stays, and the others do."""
    store = Store.open(directory, platform)

    def fail() -> None:
        with store.transaction():
            store.append(b"never")
            store.put_volume(replace(VOLUME, version=99))
            raise KeyError("stop")

    with store.group():
        with store.transaction():
            first = store.append(b"first")
        with pytest.raises(KeyError):
            fail()
        with store.transaction():
            second = store.append(b"second")
    assert (first.index, second.index, store.log_size) == (40, 41, 42)
    assert store.entries(40, 9) == [b"first", b"second"]
    found = store.volume(VOLUME.id)
    assert found is not None
    assert found.version == 1
    assert store.leaves()[40:] == [merkle.leaf_hash(b"first"), merkle.leaf_hash(b"second")]
    assert merkle.root_of_leaves(store.leaves()) == store.log_root()
    store.close()


def test_a_group_that_changes_nothing_costs_nothing(directory: Path, platform: SimPlatform) -> None:
    """No step of the counter."""
    store = Store.open(directory, platform)
    before = platform.counter("keyservice").value
    with store.group():
        assert store.volume(VOLUME.id) == VOLUME
    assert platform.counter("keyservice").value == before
    store.close()


@pytest.mark.spec("KR-91")
def test_a_group_that_cannot_be_committed_did_not_happen(
    directory: Path, platform: SimPlatform
) -> None:
    """Whoever reads afterwards, here or after a restart, finds the state before it."""
    store = Store.open(directory, platform)
    before = (store.log_size, store.log_root())

    def fail() -> None:
        with store.group():
            with store.transaction():
                store.append(b"never")
            store._backend._db.execute("PRAGMA query_only = ON")

    with pytest.raises(CloisterError):
        fail()
    store._backend._db.execute("PRAGMA query_only = OFF")
    assert (store.log_size, store.log_root()) == before
    with store.transaction():
        assert store.append(b"next").index == 40
    store.close()
    again = Store.open(directory, platform)
    assert again.entries(40, 9) == [b"next"]
    again.close()


# -- replicas, snapshots, faults: over a backend that several stores share


@pytest.fixture
def shared(platform: SimPlatform) -> MemoryBackend:
    """A founded state in memory."""
    backend = MemoryBackend()
    Store.found(backend, platform, MemoryFreshness(), SECRETS)
    return backend


def replica(backend: MemoryBackend, platform: SimPlatform) -> Store:
    """One more store over a backend."""
    return Store.load(backend, platform, MemoryFreshness())


def add(store: Store, number: int) -> None:
    """Change the state once."""
    with store.transaction():
        store.append(b"entry %d" % number)
        store.put_volume(replace(VOLUME, version=number))


@pytest.mark.spec("KS-31")
def test_the_slower_replica_catches_up_and_decides_again(
    shared: MemoryBackend, platform: SimPlatform
) -> None:
    """Nothing of its first attempt stays."""
    first, second = replica(shared, platform), replica(shared, platform)
    add(first, 1)
    with pytest.raises(StateMovedError):
        add(second, 2)
    assert second.log_size == 0
    second.refresh()
    assert second.volume(VOLUME.id) == first.volume(VOLUME.id)
    add(second, 2)
    first.refresh()
    assert first.volume(VOLUME.id) == replace(VOLUME, version=2)
    assert (first.log_size, first.log_root()) == (2, second.log_root())


@pytest.mark.spec("KS-22")
def test_a_snapshot_opens_to_the_same_state(
    shared: MemoryBackend, platform: SimPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its place between the records."""
    monkeypatch.setattr(cloister.keyservice.state.journal, "SNAPSHOT_EVERY", 5)
    store = replica(shared, platform)
    for number in range(23):
        add(store, number)
        again = replica(shared, platform)
        assert again.volume(VOLUME.id) == store.volume(VOLUME.id)
        assert (again.log_size, again.log_root()) == (number + 1, store.log_root())
        assert again.secrets() == SECRETS
    assert len(shared.rows) < 11
    assert store.entries(0, 1) == [b"entry 0"]


@pytest.mark.spec("KS-13")
@pytest.mark.parametrize("change", ["drop", "swap", "flip", "cut-snapshot", "older-snapshot"])
def test_a_backend_that_lies_is_refused(
    shared: MemoryBackend, platform: SimPlatform, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """It is trusted to be durable, not to be honest."""
    monkeypatch.setattr(cloister.keyservice.state.journal, "SNAPSHOT_EVERY", 6)
    store = replica(shared, platform)
    for number in range(4):
        add(store, number)
    old = store._key.seal_snapshot(Snapshot(0, (), {}), head=store._head)
    for number in range(4, 9):
        add(store, number)
    rows = shared.rows
    newest = max(rows)
    if change == "drop":
        del rows[newest - 1]
    elif change == "swap":
        rows[newest], rows[newest - 1] = rows[newest - 1], rows[newest]
    elif change == "flip":
        rows[newest] = rows[newest][:-1] + bytes([rows[newest][-1] ^ 1])
    elif change == "cut-snapshot":
        assert shared.kept is not None
        shared.kept = (shared.kept[0], shared.kept[1][:-1])
    else:
        assert shared.kept is not None
        shared.kept = (shared.kept[0], old)
    with pytest.raises(TamperedError) as e:
        replica(shared, platform)
    assert e.value.code == "state.tampered"


@pytest.mark.spec("KS-15")
@pytest.mark.parametrize("change", ["end", "middle", "all", "exchange", "leaf", "repeat"])
def test_a_backend_that_lies_about_the_log_is_refused(
    shared: MemoryBackend, platform: SimPlatform, change: str
) -> None:
    """Entries and proofs alike; what is really past the end is none, and no lie."""
    store = replica(shared, platform)
    for number in range(5):
        with store.transaction():
            store.append(b"entry %d" % number)
    assert store.entries(3, 9) == [b"entry 3", b"entry 4"]
    assert store.entries(5, 9) == []
    kept = list(shared.log_rows)
    shared.log_rows[:] = {
        "end": kept[:-1],
        "middle": kept[:2] + kept[3:],
        "all": [],
        "exchange": [kept[0], kept[2], kept[1], *kept[3:]],
        "leaf": [kept[0], replace(kept[1], leaf=kept[2].leaf), *kept[2:]],
        "repeat": [kept[0], kept[0], *kept[2:]],
    }[change]
    for ask in (lambda: store.entries(0, 9), lambda: store.proofs.inclusion(0, 5)):
        with pytest.raises(TamperedError) as e:
            ask()
        assert e.value.code == "state.tampered"
    store.close()


@pytest.mark.spec("KR-92", "KS-32")
def test_a_service_on_a_copy_stops_before_it_answers(platform: SimPlatform, tmp_path: Path) -> None:
    """Two copies started from one snapshot: one goes on, the other stops."""
    backend = MemoryBackend()

    def counter() -> PlatformFreshness:
        return PlatformFreshness(platform.counter("copies"))

    Store.found(backend, platform, counter(), SECRETS)
    copy = backend.copy()
    first = Store.load(backend, platform, counter())
    second = Store.load(copy, platform, counter())
    add(first, 1)
    with pytest.raises(TamperedError) as e:
        add(second, 2)
    assert e.value.code == "state.forked"
    assert second.log_size == 0
    assert len(copy.rows) == 1
    add(first, 3)


@pytest.mark.spec("KS-40")
@pytest.mark.parametrize("lost", ["before", "after"])
def test_after_an_unknown_outcome_the_next_decision_knows_it(
    shared: MemoryBackend, platform: SimPlatform, lost: str
) -> None:
    """A lost connection, after the commit or before it."""
    store = replica(shared, platform)
    there = lost == "after"

    def lose() -> None:
        raise UnavailableError("connection lost", code="keyservice.database")

    if there:
        shared.after_append = lose
    else:
        shared.before_append = lose
    with pytest.raises(UnavailableError):
        add(store, 1)
    assert store.log_size == 0
    shared.after_append = shared.before_append = None
    with store.group():
        assert store.log_size == int(there)
        assert (store.volume(VOLUME.id) is not None) == there
    add(store, 2)
    assert store.entries(0, 9) == ([b"entry 1", b"entry 2"] if there else [b"entry 2"])
    assert merkle.root_of_leaves(store.leaves()) == store.log_root()


@pytest.mark.spec("KS-40")
def test_an_unknown_outcome_stays_unknown_until_it_is_read(
    shared: MemoryBackend, platform: SimPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away nothing is decided."""
    store = replica(shared, platform)

    def lose() -> None:
        raise UnavailableError("connection lost", code="keyservice.database")

    shared.after_append = lose
    with pytest.raises(UnavailableError):
        add(store, 1)
    with monkeypatch.context() as away:
        away.setattr(MemoryBackend, "records", lambda *_: lose())
        for _ in range(2):
            with pytest.raises(UnavailableError):
                add(store, 2)
    shared.after_append = None
    add(store, 3)
    assert store.entries(0, 9) == [b"entry 1", b"entry 3"]


@pytest.mark.spec("KS-41")
def test_a_replica_decides_on_what_others_have_committed(
    shared: MemoryBackend, platform: SimPlatform
) -> None:
    """Each group begins with it."""
    shared.shared = True
    first, second = replica(shared, platform), replica(shared, platform)
    add(first, 1)
    with second.group():
        assert second.volume(VOLUME.id) == replace(VOLUME, version=1)
    add(second, 2)
    add(first, 3)
    assert first.entries(0, 9) == [b"entry 1", b"entry 2", b"entry 3"]


@pytest.mark.spec("KS-22")
def test_a_replica_that_was_overtaken_goes_on_from_the_snapshot(
    shared: MemoryBackend, platform: SimPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records it would have read next are gone."""
    monkeypatch.setattr(cloister.keyservice.state.journal, "SNAPSHOT_EVERY", 5)
    first, second = replica(shared, platform), replica(shared, platform)
    for number in range(23):
        add(first, number)
    assert min(shared.rows) > 2
    second.refresh()
    assert (second.log_size, second.log_root()) == (23, first.log_root())
    add(second, 23)
    first.refresh()
    assert first.volume(VOLUME.id) == replace(VOLUME, version=23)


def test_a_snapshot_that_fails_takes_nothing_back(
    shared: MemoryBackend,
    platform: SimPlatform,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was committed is there, and the snapshot is taken later."""
    monkeypatch.setattr(cloister.keyservice.state.journal, "SNAPSHOT_EVERY", 3)
    store = replica(shared, platform)

    def full(*_: object, **__: object) -> None:
        raise StorageFullError("full", code="storage.full")

    with monkeypatch.context() as broken:
        broken.setattr(MemoryBackend, "put_snapshot", full)
        for number in range(4):
            add(store, number)
    assert "state.snapshot-failed code=storage.full" in caplog.text
    assert (store.log_size, shared.kept) == (4, None)
    add(store, 4)
    assert shared.kept is not None
    again = replica(shared, platform)
    assert (again.log_size, again.log_root()) == (5, store.log_root())


# -- replicas over PostgreSQL


@pytest.fixture
def address(postgres: PostgresServer, platform: SimPlatform) -> str:
    """The address of a database with a founded state."""
    address = postgres.address(postgres.database())
    Store.create_shared(address, platform, SECRETS)
    return address


@pytest.fixture
def pair(address: str, platform: SimPlatform) -> Iterator[tuple[Store, Store]]:
    """Two replicas."""
    stores = Store.open_shared(address, platform), Store.open_shared(address, platform)
    yield stores
    for store in stores:
        store.close()


def database_of(address: str) -> str:
    """The name in an address."""
    return address.partition("?")[0].rpartition("/")[2]


@pytest.mark.spec("KS-41", "KS-42")
def test_replicas_over_postgres_take_turns(pair: tuple[Store, Store]) -> None:
    """Each decides on what the other has committed."""
    for number in range(10):
        store = pair[number % 2]
        with store.group():
            found = store.volume(VOLUME.id)
            assert found == (replace(VOLUME, version=number - 1) if number else None)
            add(store, number)
    pair[0].refresh()
    assert pair[0].entries(0, 99) == [b"entry %d" % number for number in range(10)]


@pytest.mark.spec("KS-13")
def test_nothing_readable_lies_in_postgres(
    pair: tuple[Store, Store], postgres: PostgresServer, address: str
) -> None:
    """A dump of every table has no secret and no name, as text or as hexadecimal digits."""
    for number in range(5):
        add(pair[0], number)
    pair[0]._take_snapshot()
    dump = postgres.dump(database_of(address))
    assert dump.count(b"\\\\x") > 10
    for marker in (b"PLAIN", b"entry 3", b"example.test", b"reader_secret", VOLUME.id, VOLUME.root):
        assert marker not in dump
        assert marker.hex().encode() not in dump


@pytest.mark.spec("KS-12", "KS-13", "KS-24")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (
            "UPDATE cloister.records a SET sealed = b.sealed FROM cloister.records b"
            " WHERE a.sequence IN (4, 5) AND a.sequence + b.sequence = 9",
            "state.tampered",
        ),
        ("DELETE FROM cloister.records WHERE sequence = 4", "state.tampered"),
        ("DELETE FROM cloister.records WHERE sequence > 4", "state.rolled-back"),
        ("DELETE FROM cloister.records WHERE sequence < 4", "state.tampered"),
        ("DELETE FROM cloister.records", "state.rolled-back"),
        (
            "UPDATE cloister.records SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1)"
            " WHERE sequence = 4",
            "state.tampered",
        ),
        ("INSERT INTO cloister.records VALUES (99, 'x')", "state.tampered"),
        ("DELETE FROM cloister.slots WHERE name <> 'format'", "state.tampered"),
    ],
)
def test_rows_that_were_changed_in_postgres_are_refused(
    postgres: PostgresServer, address: str, platform: SimPlatform, change: str, code: str
) -> None:
    """Exchanged, taken away, cut off, flipped, added."""
    store = Store.open_shared(address, platform)
    for number in range(6):
        add(store, number)
    store.close()
    postgres.sql(database_of(address), change)
    with pytest.raises(TamperedError) as e:
        Store.open_shared(address, platform)
    assert e.value.code == code


@pytest.mark.spec("KS-24")
def test_exchanged_log_rows_in_postgres_are_refused(
    pair: tuple[Store, Store], postgres: PostgresServer, address: str
) -> None:
    """An entry opens at its own position."""
    for number in range(3):
        add(pair[0], number)
    postgres.sql(
        database_of(address),
        "UPDATE cloister.log a SET sealed = b.sealed FROM cloister.log b"
        " WHERE a.position IN (0, 1) AND a.position + b.position = 1",
    )
    with pytest.raises(TamperedError) as e:
        pair[0].entries(0, 3)
    assert e.value.code == "state.tampered"


@pytest.mark.spec("KS-42")
def test_of_two_replicas_on_two_copies_one_stops(
    address: str, postgres: PostgresServer, platform: SimPlatform
) -> None:
    """A load balancer for databases that has been fooled, or an operator who tries."""
    copy = postgres.address(postgres.database(template=database_of(address)))
    first, second = Store.open_shared(address, platform), Store.open_shared(copy, platform)
    add(first, 1)
    with pytest.raises(TamperedError) as e:
        add(second, 2)
    assert e.value.code == "state.rolled-back"
    assert second.log_size == 0
    add(first, 3)
    first.close()
    second.close()


@pytest.mark.spec("KS-40")
def test_a_server_that_dies_and_comes_back_loses_nothing(
    postgres: PostgresServer, address: str, platform: SimPlatform
) -> None:
    """While it is away nothing is decided; afterwards everything goes on."""
    store = Store.open_shared(address, platform)
    add(store, 1)
    postgres.kill()
    for _ in range(2):
        with pytest.raises(UnavailableError) as e:
            add(store, 2)
        assert e.value.code == "keyservice.database"
    postgres.start()
    add(store, 3)
    assert store.entries(0, 9) == [b"entry 1", b"entry 3"]
    store.close()


def test_an_empty_backend_is_no_state(shared: MemoryBackend, platform: SimPlatform) -> None:
    """A database that lost everything but the key is refused."""
    shared.rows.clear()
    with pytest.raises(TamperedError) as e:
        replica(shared, platform)
    assert e.value.code == "state.tampered"
