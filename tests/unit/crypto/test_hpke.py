"""HPKE with X-Wing."""

import pytest

from cloister.crypto.hpke import PUBLIC_BYTES, HPKEPrivateKey, HPKEPublicKey
from cloister.errors import EvidenceError, MalformedError


def refused() -> EvidenceError:
    """The error that callers choose."""
    return EvidenceError("no", code="evidence.binding")


def test_round_trip_through_bytes() -> None:
    """A key survives its serialisation and opens what was sealed to it."""
    key = HPKEPrivateKey.generate()
    sealed = HPKEPublicKey(key.public.raw).seal(b"secret", info=b"ctx")
    again = HPKEPrivateKey(key.to_secret())
    assert again.open(sealed, info=b"ctx", error=refused()) == b"secret"
    assert again.public.identity == key.public.identity


def test_other_key_other_info_or_a_flipped_bit_are_refused() -> None:
    """The context is bound, and so is every bit."""
    key, other = HPKEPrivateKey.generate(), HPKEPrivateKey.generate()
    sealed = key.public.seal(b"secret", info=b"ctx")
    flipped = bytes([sealed[0] ^ 1]) + sealed[1:]
    for opener, data, info in (
        (other, sealed, b"ctx"),
        (key, sealed, b"other"),
        (key, flipped, b"ctx"),
        (key, b"", b"ctx"),
    ):
        with pytest.raises(EvidenceError):
            opener.open(data, info=info, error=refused())


@pytest.mark.parametrize("raw", [b"", bytes(PUBLIC_BYTES - 1), b"\xff" * PUBLIC_BYTES])
def test_public_keys_are_read_strictly(raw: bytes) -> None:
    """Wrong lengths and non-canonical ML-KEM keys are malformed."""
    with pytest.raises(MalformedError):
        HPKEPublicKey(raw)


def test_private_key_length() -> None:
    """A private key has 96 bytes."""
    with pytest.raises(MalformedError):
        HPKEPrivateKey(b"x")
