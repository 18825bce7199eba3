"""COSE_Sign1 (RFC 9052, section 4.2) as devices emit it: one algorithm, nothing else in the header.

The caller names curve and hash; the header is compared with them, and chooses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.crypto.vendor_keys import Curve, EcdsaKey, Hash
from cloister.errors import EvidenceError, MalformedError
from cloister.wire.foreign_cbor import ForeignValue, Tagged, read_foreign, write_foreign

__all__ = ["ES256", "ES384", "TAG", "CoseSign1"]

TAG: Final = 18
ES256: Final = -7
ES384: Final = -35
_ALGORITHM: Final = 1
_PARTS: Final = 4
_SUITES: Final[dict[int, tuple[Curve, Hash]]] = {
    ES256: ("P-256", "SHA-256"),
    ES384: ("P-384", "SHA-384"),
}


@dataclass(frozen=True, slots=True)
class CoseSign1:
    """A signed message; nobody has checked its signature yet.

    Attributes:
        algorithm: What its header says: `ES256` or `ES384`.
        payload: The content.
        signature: r and s.
    """

    algorithm: int
    payload: bytes
    signature: bytes

    @classmethod
    def from_bytes(cls, data: bytes, *, tagged: bool, max_bytes: int) -> CoseSign1:
        """Read untrusted bytes.

        Args:
            data: Untrusted.
            tagged: Whether this kind of evidence has the tag 18, or has none.
            max_bytes: The longest input.

        Raises:
            MalformedError: They are no such message (`evidence.malformed`).
        """
        value = read_foreign(data, what="a signed message", max_bytes=max_bytes, code=_CODE)
        if tagged:
            if not isinstance(value, Tagged) or value.tag != TAG:
                raise _malformed("has no tag 18")
            value = value.value
        if not isinstance(value, list) or len(value) != _PARTS:
            raise _malformed("does not have four parts")
        protected, unprotected, payload, signature = value
        if not (isinstance(payload, bytes) and isinstance(signature, bytes)):
            raise _malformed("has no payload or signature")
        if unprotected != {}:
            raise _malformed("has a header that nobody signed")
        return cls(_algorithm(protected), payload, signature)

    def to_bytes(self, *, tagged: bool) -> bytes:
        """Return the message's bytes."""
        value: ForeignValue = [self._protected, {}, self.payload, self.signature]
        return write_foreign(Tagged(TAG, value) if tagged else value)

    @property
    def signed(self) -> bytes:
        """The bytes that are signed: Sig_structure without external data."""
        return write_foreign(["Signature1", self._protected, b"", self.payload])

    @property
    def curve(self) -> Curve:
        """The curve of the key that its algorithm takes."""
        return _SUITES[self.algorithm][0]

    def require_signed(self, key: EcdsaKey) -> None:
        """Check that a key, chosen by the caller, signed it, with the algorithm of its curve.

        Raises:
            EvidenceError: It did not (`evidence.signature`).
        """
        error = EvidenceError(
            "the signature of the evidence does not hold", code="evidence.signature"
        )
        curve, digest = _SUITES[self.algorithm]
        if key.curve != curve:
            raise error
        key.verify(self.signed, self.signature, digest, error=error)

    @property
    def _protected(self) -> bytes:
        return write_foreign({_ALGORITHM: self.algorithm})


_CODE: Final = "evidence.malformed"


def _algorithm(protected: ForeignValue) -> int:
    if not isinstance(protected, bytes):
        raise _malformed("has no signed header")
    header = read_foreign(protected, what="a signed header", max_bytes=16, code=_CODE)
    if not isinstance(header, dict) or set(header) != {_ALGORITHM}:
        raise _malformed("has more in its header than the algorithm")
    algorithm = header[_ALGORITHM]
    if not isinstance(algorithm, int) or algorithm not in _SUITES:
        raise _malformed("has another algorithm")
    return algorithm


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"a signed message {problem}", code=_CODE)
