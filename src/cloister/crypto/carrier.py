"""Certificates of peers that carry something else: one of them, its own issuer or somebody else's.

Older versions of Mbed TLS, which Gramine has, write NULL behind an ECDSA algorithm where nothing
belongs (RFC 5758, section 3.2), and the library refuses such certificates whole. Here they are read
as if NULL were not there, and the signature is checked over the bytes that were signed. Nothing
else is forgiven.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from cloister.crypto.chain import MAX_CERTIFICATE_BYTES, Certificate
from cloister.errors import EndorsementError, MalformedError

__all__ = ["CarrierCertificate"]

_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_END: Final = b"-----END CERTIFICATE-----"
_SEQUENCE, _BIT_STRING, _VERSION = 0x30, 0x03, 0xA0
_NULL: Final = b"\x05\x00"
_SHORT: Final = 0x80
_MAX_CHILDREN: Final = 16
_ECDSA: Final[Mapping[bytes, HashAlgorithm]] = {
    bytes.fromhex("06082a8648ce3d040302"): SHA256(),
    bytes.fromhex("06082a8648ce3d040303"): SHA384(),
    bytes.fromhex("06082a8648ce3d040304"): SHA512(),
}


@dataclass(frozen=True, slots=True)
class CarrierCertificate:
    """One certificate, parsed; nobody has checked its signature yet.

    Attributes:
        certificate: What it says.
        signed: What was signed, its hash and the signature, where the library cannot check it.
    """

    certificate: Certificate
    signed: tuple[bytes, HashAlgorithm, bytes] | None

    @classmethod
    def from_der(cls, der: bytes) -> CarrierCertificate:
        """Read untrusted bytes.

        Raises:
            MalformedError: They are no certificate of at most `MAX_CERTIFICATE_BYTES`.
        """
        try:
            return cls(Certificate.from_der(der), None)
        except MalformedError:
            if len(der) > MAX_CERTIFICATE_BYTES:
                raise
            repaired = _without_null(der)
            if repaired is None:
                raise
        plain, signed = repaired
        return cls(Certificate.from_der(plain), signed)

    @classmethod
    def from_pem(cls, text: bytes) -> CarrierCertificate:
        """Read PEM of one certificate and nothing else.

        Raises:
            MalformedError: It is not.
        """
        wrong = MalformedError("not one certificate in PEM", code="certificate.malformed")
        lines = [line.strip() for line in text.strip().splitlines()]
        if len(text) > 2 * MAX_CERTIFICATE_BYTES or [lines[:1], lines[-1:]] != [[_BEGIN], [_END]]:
            raise wrong
        try:
            return cls.from_der(base64.b64decode(b"".join(lines[1:-1]), validate=True))
        except binascii.Error as e:
            raise wrong from e

    def require_self_signed(self, algorithms: Collection[str]) -> None:
        """Check that its own key signed it, with one of these algorithms.

        Raises:
            EndorsementError: It did not (`endorsement.signature`).
        """
        if self.signed is None:
            self.certificate.require_issued_by(self.certificate, algorithms)
            return
        wrong = EndorsementError(
            "a certificate was not signed by its own key", code="endorsement.signature"
        )
        if self.certificate.signature_algorithm not in algorithms:
            raise wrong
        message, algorithm, signature = self.signed
        try:
            key = load_der_public_key(self.certificate.public_key)
            if not isinstance(key, ec.EllipticCurvePublicKey):
                raise wrong
            key.verify(signature, message, ec.ECDSA(algorithm))
        except (InvalidSignature, UnsupportedAlgorithm, ValueError) as e:
            raise wrong from e


def _without_null(der: bytes) -> tuple[bytes, tuple[bytes, HashAlgorithm, bytes]] | None:
    """Leave NULL out behind an ECDSA algorithm that stands in both its places; None elsewhere."""
    outer = _children(der, _SEQUENCE)
    parts = None if outer is None or len(outer) != 3 else _children(outer[0], _SEQUENCE)  # noqa: PLR2004  # X.509: what is signed, algorithm, signature
    if outer is None or parts is None:
        return None
    message, algorithm, signature = outer
    place = 2 if parts[:1] and parts[0][0] == _VERSION else 1
    inner = _algorithm(algorithm)
    if inner is None or len(parts) <= place or parts[place] != algorithm:
        return None
    bits = _content(signature, _BIT_STRING)
    if bits is None or bits[:1] != b"\0":
        return None
    plain = _wrap(_SEQUENCE, inner)
    body = _wrap(_SEQUENCE, b"".join([*parts[:place], plain, *parts[place + 1 :]]))
    whole = _wrap(_SEQUENCE, body + plain + signature)
    return whole, (message, _ECDSA[inner], bits[1:])


def _algorithm(value: bytes) -> bytes | None:
    """Return the identifier of an ECDSA algorithm with NULL behind it."""
    content = _content(value, _SEQUENCE)
    if content is None or not content.endswith(_NULL):
        return None
    found = content.removesuffix(_NULL)
    return found if found in _ECDSA else None


def _children(value: bytes, tag: int) -> list[bytes] | None:
    """Return what a constructed value holds, each with its head; None where it is none."""
    content = _content(value, tag)
    found: list[bytes] = []
    while content and len(found) < _MAX_CHILDREN:
        end = _end(content)
        if end is None:
            return None
        found.append(content[:end])
        content = content[end:]
    return None if content is None or content else found


def _content(value: bytes, tag: int) -> bytes | None:
    """Return what one DER value holds, where it is all of `value`."""
    end = _end(value)
    if end != len(value) or value[:1] != bytes([tag]):
        return None
    return value[2 if value[1] < _SHORT else 2 + value[1] - _SHORT :]


def _end(value: bytes) -> int | None:
    """Return where the first DER value ends; None where it does not, or is spelt otherwise."""
    if len(value) < 2:  # noqa: PLR2004  # a tag and a length
        return None
    start, size = 2, value[1]
    if size >= _SHORT:
        start += size - _SHORT
        size = int.from_bytes(value[2:start], "big")
        if start == 2 or start > 5 or size < _SHORT or value[2] == 0:  # noqa: PLR2004  # three bytes at most
            return None
    return start + size if start + size <= len(value) else None


def _wrap(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < _SHORT:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, _SHORT + len(length)]) + length + content
