"""Threat: an old key of a volume gets into wrong hands, the host's among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.crypto.keyring import KeyRing
from cloister.errors import CloisterError, ReleaseDeniedError, TamperedError
from cloister.keyservice.client import Release
from cloister.testing.keyservice import DATA_ID, DATA_KEY, MEASUREMENT, ServiceBench, policy_text
from cloister.testing.volume import VolumeBench, get, put
from cloister.volume.anchor import AnchorState
from cloister.volume.format import EntryHeader, EntryKind
from cloister.volume.index import Index
from cloister.volume.journal import seal_entry
from cloister.volume.keys import VolumeKeys
from cloister.volume.recovery import read_superblock


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceBench]:
    """A trust domain with two volumes and a policy."""
    bench = ServiceBench.create(tmp_path)
    bench.register_volumes()
    yield bench
    bench.close()


def granted(bench: ServiceBench, policy: bytes, workload: str, instance: str) -> Release:
    return bench.release_client().release(
        policy=policy,
        workload=workload,
        instance=instance,
        measurement=MEASUREMENT,
        attester=bench.attester(),
    )


def keys_of(release: Release) -> KeyRing:
    return release.bundle.volumes["/data"].keys


@pytest.mark.spec("KR-141", "KR-142")
def test_what_was_granted_before_a_rotation_stays_what_it_was(service: ServiceBench) -> None:
    """The newer key reaches nobody but who proves anew, afterwards."""
    policy = service.apply(policy_text(service))
    before = granted(service, policy, "serve", "run-1")
    service.owner().rotate_volume(DATA_ID, epoch=2)
    after = granted(service, policy, "serve", "run-2")
    assert keys_of(before).keys == (DATA_KEY,)
    assert (keys_of(after).epoch, keys_of(after).key(1)) == (2, DATA_KEY)
    assert keys_of(after).newest not in keys_of(before).keys
    for _, request in service.requests:
        assert keys_of(after).newest not in request


@pytest.mark.spec("KR-144")
def test_a_retired_key_is_released_to_nobody(service: ServiceBench) -> None:
    """Not to a workload, not to the owner, not after a restart."""
    policy = service.apply(policy_text(service))
    owner = service.owner()
    owner.rotate_volume(DATA_ID, epoch=2)
    writer = granted(service, policy, "train", "run-1").bundle.volumes["/data"]
    service.anchor(DATA_ID, writer.lease).advance(
        version=writer.version,
        root=writer.root,
        new_version=writer.version + 1,
        new_root=b"n" * 32,
        oldest_key=2,
    )
    assert owner.retire_keys(DATA_ID, before=2) == 2
    service.restart()
    assert DATA_KEY not in keys_of(granted(service, policy, "serve", "run-2")).keys
    assert DATA_KEY not in service.owner().volume_key(DATA_ID).keys.keys


@pytest.mark.spec("KR-143", "KR-144")
def test_a_writer_from_before_the_rotation_cannot_bring_the_old_key_back(
    service: ServiceBench,
) -> None:
    """It is fenced by the writer after it; and its state would not be anchored any more."""
    policy = service.apply(policy_text(service))
    old = granted(service, policy, "train", "run-1").bundle.volumes["/data"]
    owner = service.owner()
    owner.rotate_volume(DATA_ID, epoch=2)
    service.clock.move(60)
    new = granted(service, policy, "train", "run-2").bundle.volumes["/data"]
    state = {"version": new.version, "root": new.root, "new_version": new.version + 1}
    service.anchor(DATA_ID, new.lease).advance(**state, new_root=b"n" * 32, oldest_key=2)
    owner.retire_keys(DATA_ID, before=2)
    with pytest.raises(ReleaseDeniedError) as caught:
        service.anchor(DATA_ID, old.lease).advance(**state, new_root=b"o" * 32)
    assert caught.value.code == "release.fenced"
    with pytest.raises(ReleaseDeniedError) as caught:
        service.anchor(DATA_ID, new.lease).advance(
            version=new.version + 1, root=b"n" * 32, new_version=new.version + 2, new_root=b"o" * 32
        )
    assert caught.value.code == "release.fenced"


@pytest.mark.spec("KR-144")
def test_a_key_that_the_volume_needs_cannot_be_destroyed(service: ServiceBench) -> None:
    """Not by mistake either: the anchored state says what it needs."""
    policy = service.apply(policy_text(service))
    service.owner().rotate_volume(DATA_ID, epoch=2)
    writer = granted(service, policy, "train", "run-1").bundle.volumes["/data"]
    service.anchor(DATA_ID, writer.lease).advance(
        version=writer.version, root=writer.root, new_version=9, new_root=b"n" * 32
    )
    for before in (2, 3, 2**24):
        with pytest.raises(ReleaseDeniedError) as caught:
            service.owner().retire_keys(DATA_ID, before=before)
        assert caught.value.code == "release.key-in-use"
    assert keys_of(granted(service, policy, "serve", "run-2")).key(1) == DATA_KEY


def rotated() -> VolumeBench:
    """Return a volume that was written under one key, and then under another."""
    bench = VolumeBench()
    bench.create()
    fs = bench.writer()
    put(fs, b"old", b"o" * 3000)
    put(fs, b"small", b"s" * 400)
    fs.close()
    bench.rotate()
    return bench


def journal(bench: VolumeBench) -> bytearray:
    (path,) = (path for path in bench.store.files if path.startswith("journal/"))
    return bench.store.files[path]


@pytest.mark.spec("VOL-75")
@pytest.mark.parametrize("kind", list(EntryKind))
def test_an_entry_by_whoever_has_the_old_key_is_not_taken(kind: EntryKind) -> None:
    """It chains on the anchored one and opens under a key that the writer has; it is cut."""
    bench = rotated()
    superblock = read_superblock(bench.store)
    index = Index()
    index.make_root(mode=0o755, at_ns=1)
    anchored = bench.holder.current
    pieces, _ = seal_entry(
        VolumeKeys(bench.key, superblock),
        superblock,
        index.full(),
        kind=kind,
        version=anchored.version + 1,
        epoch=anchored.epoch + 9,
        previous=anchored.root,
    )
    if kind is EntryKind.FULL:
        path = f"journal/{anchored.version + 1:016x}"
        bench.store.files[path] = bytearray(b"".join(pieces))
    else:
        journal(bench).extend(b"".join(pieces))
    bench.holder.lease += 20
    fs = bench.writer()
    assert get(fs, b"old") == b"o" * 3000
    assert bench.holder.current == anchored
    fs.close()


@pytest.mark.spec("VOL-52")
def test_a_block_of_an_old_key_does_not_pass_for_a_newer_one() -> None:
    """Backing files put back as they were before the file was written again."""
    bench = rotated()
    before = bench.store.copy()
    fs = bench.writer()
    put(fs, b"old", b"n" * 3000)
    put(fs, b"small", b"n" * 400)
    fs.close()
    for path, data in bench.store.files.items():
        if path.startswith("objects/"):
            data[:] = before.files[path].ljust(len(data), b"\0")
    fs = bench.reader()
    for name in (b"old", b"small"):
        with pytest.raises(TamperedError) as caught:
            get(fs, name)
        assert caught.value.code == "volume.tampered"


@pytest.mark.spec("VOL-20", "VOL-71")
@pytest.mark.parametrize("epoch", [1, 3, 2**24])
def test_a_host_that_changes_the_epoch_opens_nothing(epoch: int) -> None:
    """It is part of what the root hashes and the tags cover."""
    bench = rotated()
    fs = bench.writer()
    put(fs, b"new", b"n" * 400)
    fs.close()
    bench.rotate()
    journal(bench)[5:8] = (epoch - 1).to_bytes(3, "big")
    assert EntryHeader.from_bytes(bytes(journal(bench)[:96])).key_epoch == epoch
    for opened in (bench.reader, bench.writer):
        with pytest.raises(TamperedError) as caught:
            opened()
        assert caught.value.code == "volume.tampered"
        bench.crash()


@pytest.mark.spec("VOL-43")
def test_the_volume_from_before_it_was_rekeyed_is_an_older_copy() -> None:
    """Putting it back is a rollback, whoever still has its key."""
    bench = rotated()
    before = bench.store.copy()
    bench.rekey()
    bench.store = before
    for opened in (bench.reader, bench.writer):
        with pytest.raises(TamperedError) as caught:
            opened()
        assert caught.value.code == "volume.rolled-back"
        bench.crash()


@pytest.mark.spec("VOL-70", "VOL-74")
def test_the_old_key_reads_nothing_that_was_written_after_the_rotation() -> None:
    """Neither the index nor a block, even of a state that the thief has anchored himself."""
    bench = rotated()
    fs = bench.writer()
    put(fs, b"new", b"n" * 3000)
    fs.close()
    thief = VolumeBench(key=bench.key, store=bench.store.copy())
    state = bench.holder.current
    thief.holder.current = AnchorState(state.version, state.root, state.epoch)
    with pytest.raises(CloisterError) as caught:
        thief.reader()
    assert caught.value.code == "release.key-missing"
