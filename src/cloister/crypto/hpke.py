"""HPKE (RFC 9180) base mode with the hybrid KEM X-Wing (ML-KEM-768 + X25519), single shot.

Suite: MLKEM768_X25519, HKDF-SHA-256, AES-256-GCM, as `cryptography` 48 and newer offer it.
What this binding lacks is associated data: context that must match goes into `info`.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from cloister.crypto.digest import sha256
from cloister.errors import CloisterError, MalformedError

__all__ = ["PUBLIC_BYTES", "HPKEPrivateKey", "HPKEPublicKey"]

_MLKEM_PUBLIC_BYTES: Final = 1184
_X25519_BYTES: Final = 32
_MLKEM_SEED_BYTES: Final = 64
PUBLIC_BYTES: Final = _MLKEM_PUBLIC_BYTES + _X25519_BYTES
_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class HPKEPublicKey:
    """Where secrets may be sent: 1184 bytes of ML-KEM-768, then 32 of X25519."""

    __slots__ = ("_key", "raw")

    def __init__(self, raw: bytes) -> None:
        """Take untrusted public bytes.

        Raises:
            MalformedError: Wrong length or not a valid key.
        """
        if len(raw) != PUBLIC_BYTES:
            raise MalformedError(
                f"an HPKE public key has {PUBLIC_BYTES} bytes", code="wire.malformed"
            )
        try:
            self._key = hpke.MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES]),
                X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_BYTES:]),
            )
        except ValueError as e:
            raise MalformedError("not an HPKE public key", code="wire.malformed") from e
        self.raw: Final = raw

    @property
    def identity(self) -> bytes:
        """SHA-256 of the public bytes."""
        return sha256(self.raw)

    def seal(self, plaintext: bytes, *, info: bytes) -> bytes:
        """Encrypt so that only the private key opens it, and only under the same `info`."""
        return _SUITE.encrypt(plaintext, self._key, info=info)


class HPKEPrivateKey:
    """The receiving side; made inside the TEE and never written down there."""

    __slots__ = ("_mlkem", "_pair", "_x25519", "public")

    def __init__(self, seed: bytes) -> None:
        """Take 96 secret bytes: the ML-KEM seed and the X25519 key."""
        if len(seed) != _MLKEM_SEED_BYTES + _X25519_BYTES:
            raise MalformedError("an HPKE private key has 96 bytes", code="wire.malformed")
        self._mlkem = MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED_BYTES])
        self._x25519 = X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED_BYTES:])
        self._pair = hpke.MLKEM768X25519PrivateKey(self._mlkem, self._x25519)
        self.public: Final = HPKEPublicKey(
            self._mlkem.public_key().public_bytes_raw()
            + self._x25519.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> HPKEPrivateKey:
        """Make a fresh key."""
        seed = MLKEM768PrivateKey.generate().private_bytes_raw()
        return cls(seed + X25519PrivateKey.generate().private_bytes_raw())

    def to_secret(self) -> bytes:
        """Return the 96 secret bytes, for sealing."""
        return self._mlkem.private_bytes_raw() + self._x25519.private_bytes_raw()

    def open(self, sealed: bytes, *, info: bytes, error: CloisterError) -> bytes:
        """Decrypt, or raise `error` for another key, another `info`, or one changed bit."""
        try:
            return _SUITE.decrypt(sealed, self._pair, info=info)
        except (InvalidTag, ValueError) as e:
            raise error from e
