"""Ed25519 over labelled messages."""

import pytest

from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import EvidenceError, MalformedError


def refused() -> EvidenceError:
    """The error that callers choose."""
    return EvidenceError("no", code="evidence.signature")


def test_label_and_message_are_bound_separately() -> None:
    """Moving a byte from label to message makes another signature."""
    key = SigningKey.generate()
    signature = key.sign(b"label", b"message")
    key.public.verify(b"label", b"message", signature, error=refused())
    for label, message in ((b"labelm", b"essage"), (b"label", b"Message"), (b"", b"labelmessage")):
        with pytest.raises(EvidenceError):
            key.public.verify(label, message, signature, error=refused())
    with pytest.raises(EvidenceError):
        key.public.verify(b"label", b"message", b"", error=refused())


def test_text_form_round_trips_and_is_strict() -> None:
    """`ed25519:<hex>` and nothing else."""
    key = SigningKey(bytes(range(32)))
    assert VerifyingKey.from_text(key.public.text) == key.public
    for bad in (
        "",
        key.public.raw.hex(),
        key.public.text.upper(),
        key.public.text + "0",
        "ed25519:" + "g" * 64,
    ):
        with pytest.raises(MalformedError):
            VerifyingKey.from_text(bad)


def test_repr_shows_no_secret() -> None:
    """A private key in a log shows nothing."""
    seed = b"S" * 32
    assert seed.hex() not in repr(SigningKey(seed))
    assert "S" * 8 not in repr(SigningKey(seed))
