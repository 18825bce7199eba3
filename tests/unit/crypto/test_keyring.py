"""Rings of keys by epoch."""

from __future__ import annotations

import pytest

from cloister.crypto.keyring import MAX_KEY_EPOCH, MAX_KEYS, KeyRing
from cloister.errors import MalformedError
from cloister.wire import Fields

ONE, TWO, THREE = b"1" * 32, b"2" * 32, b"3" * 32
RING = KeyRing.first(ONE).rotated(TWO).rotated(THREE)


def read(value: dict[str, object]) -> KeyRing:
    fields = Fields(value, what="ring")
    ring = KeyRing.from_fields(fields)
    fields.end()
    return ring


def test_a_ring_grows_at_the_end_and_shrinks_at_the_beginning() -> None:
    """Each key keeps its epoch."""
    assert (RING.epoch, RING.oldest, RING.newest) == (3, 1, THREE)
    assert [RING.key(epoch) for epoch in range(5)] == [None, ONE, TWO, THREE, None]
    later = RING.since(2)
    assert (later.epoch, later.oldest) == (3, 2)
    assert [later.key(epoch) for epoch in range(5)] == [None, None, TWO, THREE, None]
    assert RING.since(0) == RING.since(1) == RING
    assert RING.since(3).keys == RING.since(99).keys == (THREE,)


@pytest.mark.parametrize("ring", [KeyRing.first(ONE), RING, RING.since(2), RING.since(3)])
def test_a_ring_survives_its_message(ring: KeyRing) -> None:
    """Reading gives back what was written."""
    assert read(dict(ring.to_value())) == ring


def test_a_key_that_was_never_replaced_is_the_key_alone() -> None:
    """Messages of things that were never rotated stay as they were."""
    assert KeyRing.first(ONE).to_value() == {"key": ONE}


def test_a_ring_shows_no_key() -> None:
    """Its text has epochs only."""
    assert repr(RING) == "KeyRing(oldest=1, epoch=3)"


@pytest.mark.parametrize(
    "value",
    [
        {"key": ONE[:31]},
        {"key": ONE, "key_epoch": 1},
        {"key": ONE, "key_epoch": MAX_KEY_EPOCH + 1},
        {"key": ONE, "older_keys": [TWO]},
        {"key": ONE, "key_epoch": 2, "older_keys": []},
        {"key": ONE, "key_epoch": 2, "older_keys": [TWO, THREE]},
        {"key": ONE, "key_epoch": 2, "older_keys": [TWO[:31]]},
        {"key": ONE, "key_epoch": 2, "older_keys": ["2" * 32]},
        {"key": ONE, "key_epoch": 2, "older_keys": [TWO, 3]},
        {"key": ONE, "key_epoch": 999, "older_keys": [TWO] * MAX_KEYS},
    ],
)
def test_what_is_no_ring_is_refused(value: dict[str, object]) -> None:
    """Lengths, numbers and the one spelling of each ring are exact."""
    with pytest.raises(MalformedError) as caught:
        read(value)
    assert caught.value.code in {"message.malformed", "wire.malformed"}


def test_epochs_end() -> None:
    """After the last epoch there is no other."""
    last = KeyRing(MAX_KEY_EPOCH, (ONE,))
    with pytest.raises(MalformedError) as caught:
        last.rotated(TWO)
    assert caught.value.code == "message.malformed"
