"""Signatures with an instance's certified key."""

from __future__ import annotations

import pytest

from cloister.crypto.chain import to_pem
from cloister.crypto.instance import certificate_der, sign_as_instance, verify_instance
from cloister.crypto.x509 import CertificateAuthority, Identity, TLSKey
from cloister.errors import IdentityError, MalformedError

_AT = 1_800_000_000
_IDENTITY = Identity("example.test", "lab", "digits", "train", "one")


def _leaf(key: TLSKey) -> bytes:
    authority = CertificateAuthority.create(trust_domain="example.test", at=_AT, lifetime_s=9999)
    pem = authority.issue(
        key.request(),
        _IDENTITY,
        policy_hash=b"p" * 32,
        hardware_rooted=False,
        at=_AT,
        lifetime_s=60,
    )
    return certificate_der(pem)


def test_only_the_certified_key_and_the_same_message_hold() -> None:
    """Another key, label or message is refused."""
    key, other = TLSKey.generate(), TLSKey.generate()
    leaf = _leaf(key)
    error = IdentityError("no", code="identity.peer")
    signature = sign_as_instance(key.pem(), b"label", b"message")
    verify_instance(leaf, b"label", b"message", signature, error=error)
    forged = sign_as_instance(other.pem(), b"label", b"message")
    for label, message, tried in (
        (b"label", b"message", forged),
        (b"other", b"message", signature),
        (b"label", b"messagf", signature),
        (b"label", b"message", b""),
    ):
        with pytest.raises(IdentityError) as caught:
            verify_instance(leaf, label, message, tried, error=error)
        assert caught.value.code == "identity.peer"


def test_bytes_that_are_no_key_or_certificate_are_malformed() -> None:
    """`certificate.malformed`."""
    with pytest.raises(MalformedError) as caught:
        sign_as_instance(b"no", b"", b"")
    assert caught.value.code == "certificate.malformed"
    with pytest.raises(MalformedError) as caught:
        certificate_der(b"no")
    assert caught.value.code == "certificate.malformed"


def test_a_certificate_of_a_version_that_there_is_not_is_refused() -> None:
    """The library raises another error for it than for bytes that are no certificate."""
    key = TLSKey.generate()
    leaf = _leaf(key).replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020107"), 1)
    with pytest.raises(MalformedError) as caught:
        certificate_der(to_pem([leaf]))
    assert caught.value.code == "certificate.malformed"
    error = IdentityError("no", code="identity.peer")
    with pytest.raises(IdentityError) as refused:
        verify_instance(leaf, b"", b"", sign_as_instance(key.pem(), b"", b""), error=error)
    assert refused.value.code == "identity.peer"
