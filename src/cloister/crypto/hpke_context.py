"""HPKE (RFC 9180) base mode as a context, from which secrets for the way back can be exported.

`hpke.py` is for one message in one direction and uses the library's own HPKE, which exports
nothing. This is the key schedule on the library's primitives, for formats with an answer
(RFC 9458); always with HKDF-SHA-256.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from cloister.crypto.labelled import labelled_expand, labelled_extract
from cloister.errors import CloisterError

__all__ = [
    "AES_128_GCM",
    "AES_256_GCM",
    "CHACHA20_POLY1305",
    "HKDF_SHA256",
    "NONCE_BYTES",
    "Context",
    "Suite",
    "open_once",
    "seal_once",
]

HKDF_SHA256: Final = 0x0001
AES_128_GCM: Final = 0x0001
AES_256_GCM: Final = 0x0002
CHACHA20_POLY1305: Final = 0x0003
NONCE_BYTES: Final = 12
_HASH_BYTES: Final = 32
_MODE_BASE: Final = b"\0"
_KEY_BYTES: Final = {AES_128_GCM: 16, AES_256_GCM: 32, CHACHA20_POLY1305: 32}


@dataclass(frozen=True, slots=True)
class Suite:
    """Algorithms by their registered numbers."""

    kem: int
    kdf: int
    aead: int

    @property
    def key_bytes(self) -> int:
        """Length of an AEAD key."""
        return _KEY_BYTES[self.aead]

    def to_bytes(self) -> bytes:
        """The three numbers, two bytes each, as key schedules and headers have them."""
        return b"".join(number.to_bytes(2, "big") for number in (self.kem, self.kdf, self.aead))


class Context:
    """One side of an exchange. Whether it seals or opens is the caller's to keep apart."""

    __slots__ = ("_aead", "_count", "_exporter", "_nonce", "_suite")

    def __init__(self, suite: Suite, secret: bytes, *, info: bytes) -> None:
        """Derive keys from a shared secret.

        Args:
            suite: HKDF-SHA-256, and an AEAD of this module.
            secret: What the KEM gave.
            info: Context that both sides have alike, or they do not understand each other.
        """
        self._suite = b"HPKE" + suite.to_bytes()
        context = (
            _MODE_BASE
            + labelled_extract(self._suite, b"", b"psk_id_hash", b"")
            + labelled_extract(self._suite, b"", b"info_hash", info)
        )
        key = labelled_extract(self._suite, secret, b"secret", b"")
        self._aead = _cipher(
            suite, labelled_expand(self._suite, key, b"key", context, suite.key_bytes)
        )
        self._nonce = labelled_expand(self._suite, key, b"base_nonce", context, NONCE_BYTES)
        self._exporter = labelled_expand(self._suite, key, b"exp", context, _HASH_BYTES)
        self._count = 0

    def seal(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Encrypt the next message."""
        return self._aead.encrypt(self._next(), plaintext, aad)

    def open(self, sealed: bytes, aad: bytes = b"", *, error: CloisterError) -> bytes:
        """Decrypt the next message, or raise `error`."""
        try:
            return self._aead.decrypt(self._next(), sealed, aad)
        except (InvalidTag, ValueError) as e:
            raise error from e

    def export(self, purpose: bytes, length: int) -> bytes:
        """Return secret bytes for a purpose, which only the other side has as well."""
        return labelled_expand(self._suite, self._exporter, b"sec", purpose, length)

    def _next(self) -> bytes:
        base = int.from_bytes(self._nonce, "big") ^ self._count
        self._count += 1
        return base.to_bytes(NONCE_BYTES, "big")


def seal_once(suite: Suite, key: bytes, nonce: bytes, plaintext: bytes) -> bytes:
    """Encrypt the one message that this key and nonce are for."""
    return _cipher(suite, key).encrypt(nonce, plaintext, b"")


def open_once(
    suite: Suite, key: bytes, nonce: bytes, sealed: bytes, *, error: CloisterError
) -> bytes:
    """Decrypt what `seal_once` made, or raise `error`."""
    try:
        return _cipher(suite, key).decrypt(nonce, sealed, b"")
    except (InvalidTag, ValueError) as e:
        raise error from e


def _cipher(suite: Suite, key: bytes) -> AESGCM | ChaCha20Poly1305:
    return ChaCha20Poly1305(key) if suite.aead == CHACHA20_POLY1305 else AESGCM(key)
