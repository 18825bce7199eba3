"""Signatures with an instance's certified key (ECDSA P-256), for what it says after a handshake.

Who verifies first judges the certificate (`x509.read_peer_certificate`); this judges only whether
its key signed.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from cloister.crypto.chain import UNREADABLE
from cloister.crypto.digest import framed
from cloister.errors import CloisterError, MalformedError

__all__ = ["certificate_der", "sign_as_instance", "verify_instance"]


def sign_as_instance(key_pem: bytes, label: bytes, message: bytes) -> bytes:
    """Return a DER signature over the framed label and message.

    Raises:
        MalformedError: Not a P-256 key in PEM.
    """
    try:
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as e:
        raise MalformedError("not a private key", code="certificate.malformed") from e
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise MalformedError("not an EC key", code="certificate.malformed")
    return key.sign(framed(label, message), ec.ECDSA(SHA256()))


def certificate_der(pem: bytes) -> bytes:
    """Return the DER bytes of one certificate in PEM.

    Raises:
        MalformedError: Not a certificate.
    """
    try:
        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    except UNREADABLE as e:
        raise MalformedError("not a certificate", code="certificate.malformed") from e


def verify_instance(
    leaf_der: bytes, label: bytes, message: bytes, signature: bytes, *, error: CloisterError
) -> None:
    """Raise `error` unless the key in the certificate signed exactly this label and message.

    Says nothing about the certificate itself.
    """
    try:
        key = x509.load_der_x509_certificate(leaf_der).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise error
        key.verify(signature, framed(label, message), ec.ECDSA(SHA256()))
    except (*UNREADABLE, InvalidSignature) as e:
        raise error from e
