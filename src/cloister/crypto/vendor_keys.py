"""Public keys of manufacturers' devices: ECDSA on P-256 and P-384, RSA. Verifying only.

The caller names curve and hash by the class or method that it picks; nothing in the evidence does.
"""

from __future__ import annotations

from typing import Final, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from cloister.errors import CloisterError, MalformedError

__all__ = ["Curve", "EcdsaKey", "Hash", "RsaKey"]

Curve = Literal["P-256", "P-384"]
Hash = Literal["SHA-256", "SHA-384", "SHA-512"]
_CURVES: Final[dict[Curve, ec.EllipticCurve]] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
_HASHES: Final[dict[Hash, HashAlgorithm]] = {
    "SHA-256": SHA256(),
    "SHA-384": SHA384(),
    "SHA-512": SHA512(),
}
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 4096


class EcdsaKey:
    """A public key on one curve."""

    __slots__ = ("_key", "curve")

    def __init__(self, key: ec.EllipticCurvePublicKey, curve: Curve) -> None:
        """Use `from_point` or `from_spki`."""
        self._key = key
        self.curve: Final = curve

    @classmethod
    def from_point(cls, point: bytes, curve: Curve) -> EcdsaKey:
        """Read x ‖ y, big-endian, of the curve's length each.

        Raises:
            MalformedError: Not a point on the curve.
        """
        if len(point) != 2 * _width(curve):
            raise _not_a_key()
        try:
            key = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[curve], b"\x04" + point)
        except ValueError as e:
            raise _not_a_key() from e
        return cls(key, curve)

    @classmethod
    def from_spki(cls, der: bytes, curve: Curve) -> EcdsaKey:
        """Read a DER SubjectPublicKeyInfo, which must be on this curve.

        Raises:
            MalformedError: It is not.
        """
        try:
            key = load_der_public_key(der)
        except (ValueError, TypeError, UnsupportedAlgorithm) as e:
            raise _not_a_key() from e
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != _CURVES[curve].name:
            raise _not_a_key()
        return cls(key, curve)

    @property
    def point(self) -> bytes:
        """The key as x ‖ y."""
        return self._key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]

    @property
    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        return self._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def verify(
        self, message: bytes, signature: bytes, digest: Hash, *, error: CloisterError
    ) -> None:
        """Raise `error` unless r ‖ s, big-endian, of the curve's length each, signs the message."""
        width = _width(self.curve)
        if len(signature) != 2 * width:
            raise error
        numbers = (int.from_bytes(signature[:width]), int.from_bytes(signature[width:]))
        self.verify_der(message, encode_dss_signature(*numbers), digest, error=error)

    def verify_der(
        self, message: bytes, signature: bytes, digest: Hash, *, error: CloisterError
    ) -> None:
        """Raise `error` unless the DER signature is this key's over the message."""
        try:
            self._key.verify(signature, message, ec.ECDSA(_HASHES[digest]))
        except (InvalidSignature, ValueError) as e:
            raise error from e


class RsaKey:
    """An RSA public key of 2048 to 4096 bits."""

    __slots__ = ("_key",)

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        """Use `from_numbers` or `from_spki`."""
        if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
            raise _not_a_key()
        self._key = key

    @classmethod
    def from_numbers(cls, modulus: int, exponent: int) -> RsaKey:
        """Take modulus and exponent.

        Raises:
            MalformedError: Not a key of an accepted size.
        """
        try:
            return cls(rsa.RSAPublicNumbers(exponent, modulus).public_key())
        except ValueError as e:
            raise _not_a_key() from e

    @classmethod
    def from_spki(cls, der: bytes) -> RsaKey:
        """Read a DER SubjectPublicKeyInfo.

        Raises:
            MalformedError: Not an RSA key of an accepted size.
        """
        try:
            key = load_der_public_key(der)
        except (ValueError, TypeError, UnsupportedAlgorithm) as e:
            raise _not_a_key() from e
        if not isinstance(key, rsa.RSAPublicKey):
            raise _not_a_key()
        return cls(key)

    @property
    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        return self._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def verify_pkcs1(
        self, message: bytes, signature: bytes, digest: Hash, *, error: CloisterError
    ) -> None:
        """Raise `error` unless the RSASSA-PKCS1-v1_5 signature is this key's over the message."""
        self._verify(message, signature, padding.PKCS1v15(), digest, error)

    def verify_pss(
        self, message: bytes, signature: bytes, digest: Hash, *, error: CloisterError
    ) -> None:
        """Raise `error` unless the RSASSA-PSS signature, of any salt, is this key's over it."""
        scheme = padding.PSS(padding.MGF1(_HASHES[digest]), padding.PSS.AUTO)
        self._verify(message, signature, scheme, digest, error)

    def _verify(
        self,
        message: bytes,
        signature: bytes,
        scheme: padding.PKCS1v15 | padding.PSS,
        digest: Hash,
        error: CloisterError,
    ) -> None:
        try:
            self._key.verify(signature, message, scheme, _HASHES[digest])
        except (InvalidSignature, ValueError) as e:
            raise error from e


def _width(curve: Curve) -> int:
    return (_CURVES[curve].key_size + 7) // 8


def _not_a_key() -> MalformedError:
    return MalformedError("a public key cannot be read", code="certificate.malformed")
