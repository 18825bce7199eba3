"""AES-256-GCM recipes."""

import pytest

from cloister.crypto.aead import AEADKey
from cloister.errors import TamperedError

KEY = bytes(range(32))
NONCE = bytes(12)


def refused() -> TamperedError:
    """The error that callers choose."""
    return TamperedError("changed", code="volume.tampered")


def test_known_answer() -> None:
    """NIST GCM test case 14: zero key, zero nonce, one zero block."""
    sealed = AEADKey(bytes(32)).seal(bytes(12), bytes(16), b"")
    assert sealed.hex() == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"


@pytest.mark.parametrize("place", ["nonce", "sealed", "aad", "key"])
def test_one_changed_bit_raises_the_callers_error(place: str) -> None:
    """Key, nonce, data and associated data are all bound."""
    parts = {
        "key": KEY,
        "nonce": NONCE,
        "aad": b"aad",
        "sealed": AEADKey(KEY).seal(NONCE, b"text", b"aad"),
    }
    parts[place] = bytes([parts[place][0] ^ 1]) + parts[place][1:]
    with pytest.raises(TamperedError) as caught:
        AEADKey(parts["key"]).open(parts["nonce"], parts["sealed"], parts["aad"], error=refused())
    assert caught.value.code == "volume.tampered"


def test_in_place_forms_agree_with_the_allocating_ones() -> None:
    """`seal_into` and `open_into` give the same bytes."""
    key = AEADKey(KEY)
    out = bytearray(5 + 16)
    key.seal_into(NONCE, b"hello", b"x", out)
    assert bytes(out) == key.seal(NONCE, b"hello", b"x")
    plain = bytearray(5)
    key.open_into(NONCE, out, b"x", plain, error=refused())
    assert plain == b"hello"
    out[0] ^= 1
    with pytest.raises(TamperedError):
        key.open_into(NONCE, out, b"x", plain, error=refused())


def test_random_nonce_form_round_trips_and_refuses_short_input() -> None:
    """`open_random` opens what `seal_random` made and raises on anything else."""
    key = AEADKey(KEY)
    assert key.open_random(key.seal_random(b"s", b"a"), b"a", error=refused()) == b"s"
    for bad in (b"", b"short", bytes(40)):
        with pytest.raises(TamperedError):
            key.open_random(bad, b"a", error=refused())


def test_a_tag_over_readable_data_is_gmac() -> None:
    """NIST's GMAC: GCM over nothing, with the data as associated data; no other tag passes."""
    assert AEADKey(bytes(32)).vouch(bytes(12), b"").hex() == "530f8afbc74536b9a963b4f1c4cb738b"
    key, data = AEADKey(KEY), bytearray(b"everybody may read this")
    tag = key.vouch(NONCE, memoryview(data))
    assert tag == key.seal(NONCE, b"", bytes(data))
    key.check(NONCE, data, tag, error=refused())
    for changed in (tag[:-1], b"", tag + b"\0", bytes([tag[0] ^ 1]) + tag[1:]):
        with pytest.raises(TamperedError):
            key.check(NONCE, data, changed, error=refused())
    for other, nonce, text in (
        (AEADKey(bytes(32)), NONCE, data),
        (key, b"\1" + NONCE[1:], data),
        (key, NONCE, data[:-1]),
        (key, NONCE, data + b"\0"),
    ):
        with pytest.raises(TamperedError):
            other.check(nonce, text, tag, error=refused())
