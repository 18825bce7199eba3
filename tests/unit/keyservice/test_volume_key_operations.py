"""The owner's operations on volumes' keys, through the service."""

from __future__ import annotations

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.log import LogEntry
from cloister.keyservice.owner import OwnerClient
from cloister.testing.keyservice import DATA_ID, DATA_KEY, ServiceBench


@pytest.fixture
def owner(bench: ServiceBench) -> OwnerClient:
    """The owner of the registered volumes."""
    return bench.owner()


def newest(bench: ServiceBench) -> LogEntry:
    return LogEntry.from_bytes(bench.store.entries(bench.store.log_size - 1, 1)[0])


def move(bench: ServiceBench, owner: OwnerClient, *, oldest_key: int) -> None:
    """Commit once more, as a writer whose state is sealed under keys from this epoch on."""
    held = owner.take_lease(DATA_ID)
    assert held.lease is not None
    anchor = bench.anchor(DATA_ID, held.lease)
    anchor.advance(
        version=held.state.version,
        root=held.state.root,
        new_version=held.state.version + 1,
        new_root=bytes([held.state.version + 1]) * 32,
        oldest_key=oldest_key,
    )
    anchor.release()


@pytest.mark.spec("KR-140", "KR-141", "KR-142")
def test_the_service_makes_the_key_and_the_log_knows(
    bench: ServiceBench, owner: OwnerClient
) -> None:
    """Afterwards the owner gets both keys, and the new one comes from nobody else."""
    owner.rotate_volume(DATA_ID, epoch=2)
    assert (newest(bench).operation, newest(bench).code) == ("volume.rotate", "")
    assert newest(bench).subject == DATA_ID.hex()
    held = owner.volume_key(DATA_ID)
    assert held.keys.key(1) == DATA_KEY
    assert (held.keys.epoch, held.keys.oldest) == (2, 1)
    assert len(set(held.keys.keys)) == 2
    bench.restart()
    assert bench.owner().volume_key(DATA_ID).keys == held.keys
    taken = bench.owner().take_lease(DATA_ID)
    assert taken.keys == held.keys


@pytest.mark.spec("KR-142")
def test_an_answer_that_was_lost_makes_no_second_key(
    bench: ServiceBench, owner: OwnerClient
) -> None:
    """The same epoch again changes neither key nor log."""
    owner.rotate_volume(DATA_ID, epoch=2)
    keys, size = owner.volume_key(DATA_ID).keys, bench.store.log_size
    owner.rotate_volume(DATA_ID, epoch=2)
    assert bench.store.log_size == size
    assert owner.volume_key(DATA_ID).keys == keys


@pytest.mark.spec("KR-144")
def test_keys_go_when_the_anchored_state_does_without(
    bench: ServiceBench, owner: OwnerClient
) -> None:
    """Before, it is refused and logged; afterwards nobody gets the old key again."""
    owner.rotate_volume(DATA_ID, epoch=2)
    with pytest.raises(CloisterError) as caught:
        owner.retire_keys(DATA_ID, before=2)
    assert caught.value.code == "release.key-in-use"
    assert (newest(bench).operation, newest(bench).code) == ("volume.retire", "release.key-in-use")
    move(bench, owner, oldest_key=2)
    assert owner.retire_keys(DATA_ID, before=2) == 2
    assert (newest(bench).operation, newest(bench).subject) == (
        "volume.retire",
        DATA_ID.hex(),
    )
    size = bench.store.log_size
    assert owner.retire_keys(DATA_ID, before=2) == 2
    assert bench.store.log_size == size
    bench.restart()
    keys = bench.owner().volume_key(DATA_ID).keys
    assert (keys.oldest, keys.epoch) == (2, 2)
    assert DATA_KEY not in keys.keys
    record = bench.store.volume(DATA_ID)
    assert record is not None
    assert DATA_KEY not in (record.key, *record.older_keys)


@pytest.mark.spec("KR-143")
def test_a_state_under_a_retired_key_is_not_anchored(
    bench: ServiceBench, owner: OwnerClient
) -> None:
    """A writer that says so is fenced."""
    owner.rotate_volume(DATA_ID, epoch=2)
    move(bench, owner, oldest_key=2)
    owner.retire_keys(DATA_ID, before=2)
    with pytest.raises(CloisterError) as caught:
        move(bench, owner, oldest_key=1)
    assert caught.value.code == "release.fenced"


@pytest.mark.spec("KR-145")
def test_the_status_tells_which_keys_there_are(bench: ServiceBench, owner: OwnerClient) -> None:
    """By epoch; of a volume that was never rotated it tells nothing."""
    owner.rotate_volume(DATA_ID, epoch=2)
    facts = {bytes(volume["id"]): volume for volume in owner.status().volumes}
    found = facts.pop(DATA_ID)
    names = ("key_epoch", "oldest_key_kept", "oldest_key_used")
    assert tuple(found[name] for name in names) == (2, 1, 1)
    for other in facts.values():
        assert not set(names) & set(other)


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("volume.rotate", {"id": b"?" * 16, "epoch": 2}, "release.volume-unknown"),
        ("volume.retire", {"id": b"?" * 16, "before": 2}, "release.volume-unknown"),
        ("volume.rotate", {"id": DATA_ID, "epoch": 1}, "message.malformed"),
        ("volume.rotate", {"id": DATA_ID, "epoch": 3}, "config.value"),
        ("volume.rotate", {"id": DATA_ID, "epoch": 2**24 + 1}, "message.malformed"),
        ("volume.rotate", {"id": DATA_ID}, "message.malformed"),
        ("volume.rotate", {"id": DATA_ID, "epoch": 2, "key": b"k" * 32}, "message.malformed"),
        ("volume.retire", {"id": DATA_ID, "before": 0}, "message.malformed"),
        ("volume.retire", {"id": DATA_ID, "before": 2, "more": 1}, "message.malformed"),
    ],
)
def test_arguments_are_read_strictly(
    bench: ServiceBench, owner: OwnerClient, operation: str, arguments: dict[str, object], code: str
) -> None:
    """What is refused changes nothing."""
    before = bench.store.volume(DATA_ID)
    with pytest.raises(CloisterError) as caught:
        owner.call.do(operation, arguments)
    assert caught.value.code == code
    assert bench.store.volume(DATA_ID) == before


def test_a_stranger_rotates_nothing(bench: ServiceBench) -> None:
    """Nor does he learn whether there is such a volume."""
    with pytest.raises(CloisterError) as caught:
        bench.client(SigningKey.generate()).rotate_volume(DATA_ID, epoch=2)
    assert caught.value.code == "release.not-owner"
