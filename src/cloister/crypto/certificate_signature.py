"""Signatures by the key of a certificate of ours (ECDSA P-256 with SHA-256), for what is no TLS.

The message is labelled and framed, so that it begins with a zero byte: what TLS 1.3 has this key
sign begins with 64 spaces, and neither passes for the other.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from cloister.crypto.chain import UNREADABLE
from cloister.crypto.digest import framed
from cloister.errors import CloisterError, MalformedError

__all__ = ["MAX_SIGNATURE_BYTES", "CertificateKey", "verify_by_certificate"]

MAX_SIGNATURE_BYTES: Final = 80
_ALGORITHM: Final = ec.ECDSA(SHA256())


class CertificateKey:
    """A certificate with its private key."""

    __slots__ = ("_key", "certificate_der", "not_after")

    def __init__(self, certificate_pem: bytes, key_pem: bytes) -> None:
        """Take both as PEM; only the certificate is public.

        Raises:
            MalformedError: Not PEM, not P-256, or not each other's (`certificate.malformed`).
        """
        wrong = MalformedError(
            "not a certificate with its P-256 key in PEM", code="certificate.malformed"
        )
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            key = load_pem_private_key(key_pem, password=None)
            same = key.public_key() == certificate.public_key()
        except UNREADABLE as e:
            raise wrong from e
        if not same or not isinstance(key, ec.EllipticCurvePrivateKey):
            raise wrong
        if not isinstance(key.curve, ec.SECP256R1):
            raise wrong
        self._key = key
        self.certificate_der: Final = certificate.public_bytes(Encoding.DER)
        self.not_after: Final = int(certificate.not_valid_after_utc.timestamp())

    def sign(self, label: bytes, message: bytes) -> bytes:
        """Return the signature over the framed label and message, as DER."""
        return self._key.sign(framed(label, message), _ALGORITHM)


def verify_by_certificate(
    certificate_der: bytes,
    label: bytes,
    message: bytes,
    signature: bytes,
    *,
    error: CloisterError,
) -> None:
    """Raise `error` unless the key of this certificate signed exactly this label and message.

    Whose certificate it is, and whether it counts, is for `read_peer_certificate` to say first.
    """
    try:
        public = x509.load_der_x509_certificate(certificate_der).public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise error
        public.verify(signature, framed(label, message), _ALGORITHM)
    except (InvalidSignature, *UNREADABLE) as e:
        raise error from e
