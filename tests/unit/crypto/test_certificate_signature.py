"""Signatures by a certificate's key."""

import pytest

from cloister.crypto.certificate_signature import CertificateKey, verify_by_certificate
from cloister.crypto.x509 import TLSKey
from cloister.errors import IdentityError, MalformedError
from cloister.testing.certificates import FakeDomain

NOW = 1_800_000_000
DOMAIN = FakeDomain("clinic.example", at=NOW)
REFUSED = IdentityError("no", code="private.keys")


def test_a_signature_holds_for_its_label_message_and_certificate() -> None:
    """And for nothing else."""
    ours, other = (DOMAIN.credential("serve") for _ in range(2))
    key = CertificateKey(ours.certificate_pem, ours.key_pem)
    signature = key.sign(b"label", b"message")
    verify_by_certificate(key.certificate_der, b"label", b"message", signature, error=REFUSED)
    foreign = CertificateKey(other.certificate_pem, other.key_pem).certificate_der
    for certificate, label, message, found in (
        (key.certificate_der, b"labe", b"lmessage", signature),
        (key.certificate_der, b"label", b"massage", signature),
        (key.certificate_der, b"label", b"message", signature[:-1]),
        (key.certificate_der, b"label", b"message", b""),
        (foreign, b"label", b"message", signature),
        (b"none", b"label", b"message", signature),
    ):
        with pytest.raises(IdentityError) as error:
            verify_by_certificate(certificate, label, message, found, error=REFUSED)
        assert error.value.code == "private.keys"


def test_a_certificate_and_its_key_belong_together() -> None:
    """Another's key, and what is no PEM, are malformed."""
    ours = DOMAIN.credential("serve", lifetime_s=1000)
    assert CertificateKey(ours.certificate_pem, ours.key_pem).not_after == NOW + 1000
    for certificate, key in (
        (ours.certificate_pem, TLSKey.generate().pem()),
        (b"", ours.key_pem),
        (ours.certificate_pem, b""),
    ):
        with pytest.raises(MalformedError) as error:
            CertificateKey(certificate, key)
        assert error.value.code == "certificate.malformed"
