"""What an owner does from her own machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.errors import (
    ConfigError,
    ReleaseDeniedError,
    StorageFullError,
    UnavailableError,
)
from cloister.keyservice.anchors import KeyServiceAnchor
from cloister.keyservice.policy import parse_policy, policy_hash
from cloister.launcher.owner import Owner
from cloister.testing.keyservice import ServiceBench, policy_text
from cloister.testing.volume import get, put
from cloister.volume.opening import create_volume, observe
from cloister.volume.reader import walk
from cloister.volume.rekey import RekeyProgress


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServiceBench]:
    """A trust domain with its service."""
    bench = ServiceBench.create(tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def owner(bench: ServiceBench) -> Owner:
    """Its owner."""
    return Owner(bench.domain, bench, clock=bench.clock)


def _seal(owner: Owner, folder: Path) -> Path:
    (folder / "plain").mkdir()
    (folder / "plain" / "secret").write_text("a secret")
    owner.seal(folder / "plain", folder / "sealed", kind="data", progress=lambda _: None)
    return folder / "sealed"


def test_a_sealed_folder_is_read_back(owner: Owner, tmp_path: Path) -> None:
    """Its key is the key service's, fresh for each volume; the store shows nothing."""
    store = _seal(owner, tmp_path)
    with owner.reading(store) as filesystem:
        assert [entry.path for entry in walk(filesystem)] == ["secret"]
    for path in store.rglob("*"):
        assert not path.is_file() or b"a secret" not in path.read_bytes()


def test_writing_holds_the_lease_and_gives_it_back(owner: Owner, tmp_path: Path) -> None:
    """One writer at a time; after the block, the next."""
    store = tmp_path / "out"
    owner.create(store, kind="results")
    with owner.writing(store) as (filesystem, anchor):
        assert anchor.epoch > 0
        assert filesystem.identity.version >= 1
        with pytest.raises(UnavailableError) as caught, owner.writing(store):
            pytest.fail("two writers")
        assert caught.value.code in {"volume.leased", "volume.busy"}
    with owner.writing(store) as (_, second):
        assert second.epoch > anchor.epoch


def test_the_lease_is_given_back_after_a_failure_too(owner: Owner, tmp_path: Path) -> None:
    """An error inside does not lock the volume."""
    store = tmp_path / "out"
    owner.create(store, kind="results")
    with pytest.raises(StorageFullError), owner.writing(store):
        raise StorageFullError("no room", code="storage.full")
    with owner.writing(store):
        pass


def test_a_volume_that_was_never_entrusted_is_refused(
    owner: Owner, bench: ServiceBench, tmp_path: Path
) -> None:
    """Its key is somebody else's."""
    other_bench = ServiceBench.create(tmp_path, "other.test")
    other = Owner(other_bench.domain, other_bench, clock=other_bench.clock)
    store = _seal(other, tmp_path)
    with pytest.raises(ReleaseDeniedError) as caught, owner.reading(store):
        pytest.fail("opened")
    assert caught.value.code == "release.volume-unknown"
    other_bench.close()


def test_a_policy_is_applied_by_its_hash(owner: Owner, bench: ServiceBench) -> None:
    """What the operator's copy is compared with."""
    bench.register_volumes()
    policy = parse_policy(policy_text(bench).encode(), source="policy.yaml")
    assert owner.apply(policy) == policy_hash(policy)


def test_a_name_that_two_namespaces_have_is_not_guessed(tmp_path: Path) -> None:
    """The whole name says which."""
    bench = ServiceBench.create(tmp_path)
    bench.register_volumes()
    bench.apply(policy_text(bench))
    bench.apply(policy_text(bench).replace("namespace: lab", "namespace: ward"))
    owner = Owner(bench.domain, bench, clock=bench.clock)
    with pytest.raises(ConfigError) as e:
        owner.find_job("digits")
    assert e.value.code == "config.value"
    assert owner.roster(owner.find_job("ward/digits")).members == ()
    bench.close()


def test_keys_change_by_epoch(owner: Owner, bench: ServiceBench, tmp_path: Path) -> None:
    """Each rotation adds one; rekeying and retiring leave the newest."""
    store = tmp_path / "out"
    identity = owner.create(store, kind="results")
    with owner.writing(store) as (filesystem, _):
        put(filesystem, b"file", b"f" * 100_000)
    assert [owner.rotate(store), owner.rotate(store)] == [2, 3]
    with pytest.raises(ReleaseDeniedError) as caught:
        owner.retire(store)
    assert caught.value.code == "release.key-in-use"
    report = owner.rekey(store, progress=lambda _: None)
    assert (report.key_epoch, report.resealed) == (3, 100_000)
    assert owner.retire(store) == 3
    assert owner.retire(store) == 3
    assert owner.client.volume_key(identity.volume_id).keys.oldest == 3
    bench.restart()
    with owner.reading(store) as filesystem:
        assert get(filesystem, b"file") == b"f" * 100_000


def test_rekeying_keeps_its_lease(owner: Owner, bench: ServiceBench, tmp_path: Path) -> None:
    """However long it takes between two commits, nobody else becomes the writer."""
    store = tmp_path / "out"
    owner.create(store, kind="results")
    with owner.writing(store) as (filesystem, _):
        for number in range(20):
            put(filesystem, b"%d" % number, b"f" * 100_000)
    owner.rotate(store)
    volume_id = observe(store).volume_id
    refused = []

    def step(_: RekeyProgress) -> None:
        bench.clock.move(6)
        with pytest.raises(UnavailableError) as caught:
            bench.owner().take_lease(volume_id)
        refused.append(caught.value.code)

    owner.rekey(store, progress=step)
    assert len(refused) > 20
    assert set(refused) == {"volume.leased"}


def test_a_renewal_that_fails_does_not_end_it(
    owner: Owner, bench: ServiceBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next commit tells whether the lease was lost."""
    store = tmp_path / "out"
    owner.create(store, kind="results")
    with owner.writing(store) as (filesystem, _):
        put(filesystem, b"file", b"f" * 100_000)
    owner.rotate(store)
    asked = []

    def away(_: KeyServiceAnchor) -> None:
        asked.append(bench.clock.uptime)
        raise UnavailableError("away", code="keyservice.unreachable")

    monkeypatch.setattr(KeyServiceAnchor, "renew", away)
    owner.rekey(store, progress=lambda _: bench.clock.move(6))
    assert asked
    assert owner.retire(store) == 2


def test_a_sealed_volume_is_not_rotated(owner: Owner, tmp_path: Path) -> None:
    """Its key never changes."""
    store = _seal(owner, tmp_path)
    with pytest.raises(ConfigError) as caught:
        owner.rotate(store)
    assert caught.value.code == "config.value"


def test_a_volume_that_the_service_does_not_know_is_not_rotated(
    owner: Owner, tmp_path: Path
) -> None:
    """As with any other operation on it."""
    create_volume(tmp_path / "out", bytes(32))
    for operation in (owner.rotate, owner.retire):
        with pytest.raises(ReleaseDeniedError) as caught:
            operation(tmp_path / "out")
        assert caught.value.code == "release.volume-unknown"
