"""Ed25519 signatures (RFC 8032) over labelled, length-framed messages."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from cloister.crypto.digest import framed, sha256
from cloister.errors import CloisterError, LocalProtocolError, MalformedError

__all__ = ["PUBLIC_BYTES", "SIGNATURE_BYTES", "SigningKey", "VerifyingKey"]

PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_PREFIX: Final = "ed25519:"


class VerifyingKey:
    """A public key; two are equal when their 32 bytes are."""

    __slots__ = ("_key", "raw")

    def __init__(self, raw: bytes) -> None:
        """Take the 32 public bytes."""
        if len(raw) != PUBLIC_BYTES:
            raise MalformedError("an Ed25519 public key has 32 bytes", code="wire.malformed")
        self.raw: Final = raw
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    @classmethod
    def from_text(cls, text: str) -> VerifyingKey:
        """Read `ed25519:<64 hex digits>`."""
        digits = text.removeprefix(_PREFIX)
        if (
            not text.startswith(_PREFIX)
            or len(digits) != 2 * PUBLIC_BYTES
            or digits.lower() != digits
        ):
            raise MalformedError(
                "a public key is written ed25519: and 64 lower-case hex digits",
                code="wire.malformed",
            )
        try:
            return cls(bytes.fromhex(digits))
        except ValueError as e:
            raise MalformedError("a public key has hex digits only", code="wire.malformed") from e

    @property
    def text(self) -> str:
        """The key as `ed25519:<hex>`."""
        return _PREFIX + self.raw.hex()

    @property
    def identity(self) -> bytes:
        """SHA-256 of the public bytes: the short name under which the key is pinned."""
        return sha256(self.raw)

    def verify(
        self, label: bytes, message: bytes, signature: bytes, *, error: CloisterError
    ) -> None:
        """Raise `error` unless `signature` is this key's over exactly this label and message."""
        try:
            self._key.verify(signature, framed(label, message))
        except InvalidSignature as e:
            raise error from e

    def verify_text(self, text: bytes, signature: bytes, *, error: CloisterError) -> None:
        """Raise `error` unless `signature` is this key's over exactly `text`, unframed.

        For formats that others define (signed notes). Printable text cannot be taken for a
        framed message, whose first byte is zero.
        """
        try:
            self._key.verify(signature, text)
        except InvalidSignature as e:
            raise error from e

    def __eq__(self, other: object) -> bool:
        """Equal when the public bytes are."""
        return isinstance(other, VerifyingKey) and other.raw == self.raw

    def __hash__(self) -> int:
        """Consistent with equality."""
        return hash(self.raw)

    def __repr__(self) -> str:
        """Show the public key."""
        return f"VerifyingKey({self.text})"


class SigningKey:
    """A private key. Its `repr` shows nothing; `to_secret` is the only way out."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        """Take the 32 secret bytes."""
        if len(seed) != PUBLIC_BYTES:
            raise MalformedError("an Ed25519 private key has 32 bytes", code="wire.malformed")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: Final = VerifyingKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a fresh key."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    def sign(self, label: bytes, message: bytes) -> bytes:
        """Return the 64-byte signature over the framed label and message."""
        return self._key.sign(framed(label, message))

    def sign_text(self, text: bytes) -> bytes:
        """Return the signature over `text` itself, for formats that others define.

        Raises:
            LocalProtocolError: The text is empty or starts with a zero byte, as framed messages do.
        """
        if not text or text[0] == 0:
            raise LocalProtocolError("only printable text is signed bare", code="protocol.local")
        return self._key.sign(text)

    def to_secret(self) -> bytes:
        """Return the 32 secret bytes, for sealing."""
        return self._key.private_bytes_raw()
