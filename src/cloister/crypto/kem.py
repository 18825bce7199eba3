"""Key encapsulation for HPKE: X-Wing (ML-KEM-768 with X25519), and X25519 alone.

X-Wing (`XWING`, 0x647a) holds while either of its halves does. DHKEM(X25519, HKDF-SHA-256)
(`X25519`, 0x0020) is what RFC 9458 has its example in; no format of ours accepts it.
Public keys and encapsulations are untrusted bytes; what is returned as a secret is secret.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from cloister.crypto.labelled import labelled_expand, labelled_extract
from cloister.errors import MalformedError

__all__ = ["X25519", "XWING", "Encapsulated", "KEMPrivateKey", "X25519Key", "XWingKey"]

X25519: Final = 0x0020
XWING: Final = 0x647A
_MLKEM_PUBLIC, _MLKEM_ENC, _MLKEM_SEED, _CURVE = 1184, 1088, 64, 32
_XWING_LABEL: Final = b"\\.//^\\"
_X25519_SUITE: Final = b"KEM" + X25519.to_bytes(2, "big")


@dataclass(frozen=True, slots=True, repr=False)
class Encapsulated:
    """A shared secret, and what the holder of the private key makes it again from."""

    secret: bytes
    enc: bytes


class KEMPrivateKey(Protocol):
    """The receiving side of one KEM."""

    kem: int
    enc_bytes: int
    public: bytes

    def decapsulate(self, enc: bytes) -> bytes:
        """Return the shared secret of an untrusted encapsulation.

        Raises:
            MalformedError: It is none (`wire.malformed`).
        """


class XWingKey:
    """A private key of X-Wing. Its 96 bytes are what draft-connolly-cfrg-xwing-kem expands."""

    kem: int = XWING
    enc_bytes: int = _MLKEM_ENC + _CURVE
    public_bytes: Final = _MLKEM_PUBLIC + _CURVE
    __slots__ = ("_curve", "_mlkem", "public")

    def __init__(self, secret: bytes) -> None:
        """Take 96 secret bytes: the seed of ML-KEM, and the key of X25519."""
        if len(secret) != _MLKEM_SEED + _CURVE:
            raise MalformedError("an X-Wing key has 96 bytes", code="wire.malformed")
        self._mlkem = MLKEM768PrivateKey.from_seed_bytes(secret[:_MLKEM_SEED])
        self._curve = X25519PrivateKey.from_private_bytes(secret[_MLKEM_SEED:])
        self.public: bytes = (
            self._mlkem.public_key().public_bytes_raw()
            + self._curve.public_key().public_bytes_raw()
        )

    @classmethod
    def from_seed(cls, seed: bytes) -> XWingKey:
        """Take the 32 secret bytes that the draft calls the key."""
        return cls(hashlib.shake_256(seed).digest(_MLKEM_SEED + _CURVE))

    @classmethod
    def generate(cls) -> XWingKey:
        """Make a fresh key."""
        seed = MLKEM768PrivateKey.generate().private_bytes_raw()
        return cls(seed + X25519PrivateKey.generate().private_bytes_raw())

    def decapsulate(self, enc: bytes) -> bytes:
        """Return the shared secret of an untrusted encapsulation."""
        if len(enc) != self.enc_bytes:
            raise _not_an_encapsulation()
        try:
            lattice = self._mlkem.decapsulate(enc[:_MLKEM_ENC])
            curve = self._curve.exchange(X25519PublicKey.from_public_bytes(enc[_MLKEM_ENC:]))
        except ValueError as e:
            raise _not_an_encapsulation() from e
        return _combined(lattice, curve, enc[_MLKEM_ENC:], self.public[_MLKEM_PUBLIC:])

    @classmethod
    def encapsulate(cls, public: bytes) -> Encapsulated:
        """Make a fresh secret for the holder of an untrusted public key.

        Raises:
            MalformedError: It is no key (`wire.malformed`).
        """
        if len(public) != cls.public_bytes:
            raise _not_a_key()
        try:
            lattice, sealed = MLKEM768PublicKey.from_public_bytes(
                public[:_MLKEM_PUBLIC]
            ).encapsulate()
            ephemeral = X25519PrivateKey.generate()
            curve = ephemeral.exchange(X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:]))
        except ValueError as e:
            raise _not_a_key() from e
        point = ephemeral.public_key().public_bytes_raw()
        return Encapsulated(
            _combined(lattice, curve, point, public[_MLKEM_PUBLIC:]), sealed + point
        )


class X25519Key:
    """A private key of DHKEM(X25519, HKDF-SHA-256)."""

    kem: int = X25519
    enc_bytes: int = _CURVE
    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        """Take 32 secret bytes."""
        self._key = X25519PrivateKey.from_private_bytes(secret)
        self.public: bytes = self._key.public_key().public_bytes_raw()

    def decapsulate(self, enc: bytes) -> bytes:
        """Return the shared secret of an untrusted encapsulation."""
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(enc))
        except ValueError as e:
            raise _not_an_encapsulation() from e
        return _extracted(shared, enc + self.public)

    @classmethod
    def encapsulate(cls, public: bytes, *, ephemeral: bytes) -> Encapsulated:
        """Make the secret that `ephemeral`, 32 secret bytes used once, has with a public key."""
        own = X25519PrivateKey.from_private_bytes(ephemeral)
        try:
            shared = own.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as e:
            raise _not_a_key() from e
        enc = own.public_key().public_bytes_raw()
        return Encapsulated(_extracted(shared, enc + public), enc)


def _combined(lattice: bytes, curve: bytes, enc: bytes, public: bytes) -> bytes:
    return hashlib.sha3_256(lattice + curve + enc + public + _XWING_LABEL).digest()


def _extracted(shared: bytes, context: bytes) -> bytes:
    secret = labelled_extract(_X25519_SUITE, b"", b"eae_prk", shared)
    return labelled_expand(_X25519_SUITE, secret, b"shared_secret", context, _CURVE)


def _not_an_encapsulation() -> MalformedError:
    return MalformedError("not an encapsulated key", code="wire.malformed")


def _not_a_key() -> MalformedError:
    return MalformedError("not a public key of this kind", code="wire.malformed")
