"""The rules by which a volume's keys change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloister.crypto.keyring import MAX_KEYS
from cloister.errors import CloisterError, ConfigError, MalformedError, ReleaseDeniedError
from cloister.keyservice.leases import AnchorMove, advance
from cloister.keyservice.records import VolumeRecord
from cloister.keyservice.state.rows import volume_from_row, volume_to_row
from cloister.keyservice.volume_rotation import key_facts, require_kept, retire, rotate

FIRST = VolumeRecord(b"v" * 16, b"1" * 32, "data", 4, b"4" * 32, 0, 7, None)


def rotated(record: VolumeRecord, times: int) -> VolumeRecord:
    for _ in range(times):
        epoch = record.key_epoch + 1
        newer = rotate(record, epoch, bytes([48 + epoch]) * 32)
        assert newer is not None
        record = newer
    return record


@pytest.mark.spec("KR-140", "KR-142")
def test_a_newer_key_joins_the_older_ones() -> None:
    """The record keeps both, and the newest is the one to seal under."""
    record = rotated(FIRST, 2)
    assert (record.key, record.key_epoch) == (b"3" * 32, 3)
    assert record.older_keys == (b"1" * 32, b"2" * 32)
    assert record.keys.keys == (b"1" * 32, b"2" * 32, b"3" * 32)
    assert record.oldest_key == 1


@pytest.mark.spec("KR-142")
def test_the_same_epoch_again_changes_nothing() -> None:
    """A client that lost the answer asks again."""
    assert rotate(rotated(FIRST, 1), 2, b"x" * 32) is None


@pytest.mark.spec("KR-142")
@pytest.mark.parametrize(("rotations", "epoch"), [(0, 1), (0, 3), (1, 1), (1, 4), (3, 2)])
def test_only_the_next_epoch_is_made(rotations: int, epoch: int) -> None:
    """Another one is refused."""
    with pytest.raises(ConfigError) as caught:
        rotate(rotated(FIRST, rotations), epoch, b"x" * 32)
    assert caught.value.code == "config.value"


@pytest.mark.spec("KR-142")
def test_so_many_keys_are_kept_and_no_more() -> None:
    """Old ones must go first."""
    record = rotated(FIRST, MAX_KEYS - 1)
    with pytest.raises(ReleaseDeniedError) as caught:
        rotate(record, MAX_KEYS + 1, b"x" * 32)
    assert caught.value.code == "quota.exceeded"
    fewer = retire(replace(record, oldest_key=2), 2)
    assert fewer is not None
    assert rotate(fewer, MAX_KEYS + 1, b"x" * 32) is not None


@pytest.mark.spec("KR-144")
def test_keys_below_what_is_used_go() -> None:
    """What the anchored state may be sealed under stays; again is no change."""
    record = replace(rotated(FIRST, 3), oldest_key=3)
    fewer = retire(record, 3)
    assert fewer is not None
    assert (fewer.key, fewer.key_epoch, fewer.older_keys) == (b"4" * 32, 4, (b"3" * 32,))
    assert retire(fewer, 3) is None
    assert retire(fewer, 1) is None
    last = retire(replace(fewer, oldest_key=4), 4)
    assert last is not None
    assert (last.older_keys, last.keys.oldest) == ((), 4)


@pytest.mark.spec("KR-144")
@pytest.mark.parametrize("before", [2, 3, 4, 5, 99])
def test_a_key_in_use_stays(before: int) -> None:
    """The newest always is."""
    with pytest.raises(ReleaseDeniedError) as caught:
        retire(rotated(FIRST, 3), before)
    assert caught.value.code == "release.key-in-use"
    with pytest.raises(ReleaseDeniedError) as caught:
        retire(replace(rotated(FIRST, 3), oldest_key=4), 5)
    assert caught.value.code == "release.key-in-use"


@pytest.mark.spec("KR-143")
def test_a_move_tells_what_is_in_use() -> None:
    """The record follows the anchored state, down as well as up."""
    record = rotated(FIRST, 2)
    moved = advance(record, AnchorMove(4, b"4" * 32, 5, b"5" * 32, 3))
    assert moved is not None
    assert moved.oldest_key == 3
    back = advance(moved, AnchorMove(5, b"5" * 32, 6, b"6" * 32, 2))
    assert back is not None
    assert back.oldest_key == 2


@pytest.mark.spec("KR-143")
@pytest.mark.parametrize(
    ("record", "oldest_key", "code"),
    [
        (FIRST, 2, "message.malformed"),
        (rotated(FIRST, 1), 3, "message.malformed"),
        (retire(replace(rotated(FIRST, 2), oldest_key=3), 3), 2, "release.fenced"),
        (retire(replace(rotated(FIRST, 2), oldest_key=3), 3), 1, "release.fenced"),
    ],
)
def test_no_state_is_anchored_under_a_key_that_is_not_kept(
    record: VolumeRecord, oldest_key: int, code: str
) -> None:
    """A key that was retired fences its writer; one that was never made is malformed."""
    with pytest.raises((ReleaseDeniedError, MalformedError)) as caught:
        require_kept(record, oldest_key)
    assert isinstance(caught.value, CloisterError)
    assert caught.value.code == code
    with pytest.raises((ReleaseDeniedError, MalformedError)):
        advance(record, AnchorMove(4, b"4" * 32, 5, b"5" * 32, oldest_key))


@pytest.mark.parametrize(
    "record", [FIRST, rotated(FIRST, 1), replace(rotated(FIRST, 2), oldest_key=2, older_keys=())]
)
def test_rows_keep_every_key(record: VolumeRecord) -> None:
    """Reading gives back what was written, and a first key alone as it always was."""
    assert volume_from_row(record.id, volume_to_row(record)) == record
    assert (b"key_epoch" in volume_to_row(record)) == (record.key_epoch > 1)


@pytest.mark.spec("KR-145")
def test_facts_have_no_key() -> None:
    """Of a volume that was never rotated there is nothing to say."""
    assert key_facts(FIRST) == {}
    facts = key_facts(replace(rotated(FIRST, 2), oldest_key=2))
    assert facts == {"key_epoch": 3, "oldest_key_kept": 1, "oldest_key_used": 2}
