"""AES-256-GCM with explicit nonces, for callers that own their nonce discipline.

The nonce of a key must never repeat. Callers either use a fresh random key and count (volume
blocks), or draw 96 random bits with a key that seals few messages (records, secrets).
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloister.errors import CloisterError

__all__ = ["KEY_BYTES", "NONCE_BYTES", "TAG_BYTES", "AEADKey"]

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16


class AEADKey:
    """One AES-256-GCM key. The key bytes are not kept beside the cipher object."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        """Take 32 secret bytes."""
        self._aead = AESGCM(key)

    def seal(self, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """Return ciphertext followed by its 16-byte tag."""
        return self._aead.encrypt(nonce, plaintext, aad)

    def open(self, nonce: bytes, sealed: bytes, aad: bytes, *, error: CloisterError) -> bytes:
        """Return the plaintext, or raise `error` if one bit of key, nonce, data or AAD differs."""
        try:
            return self._aead.decrypt(nonce, sealed, aad)
        except (InvalidTag, ValueError) as e:
            raise error from e

    def seal_into(
        self,
        nonce: bytes,
        plaintext: bytes | bytearray | memoryview,
        aad: bytes,
        out: bytearray | memoryview,
    ) -> None:
        """Write ciphertext and tag into `out`, whose length is the plaintext's plus 16."""
        self._aead.encrypt_into(nonce, plaintext, aad, out)

    def open_into(
        self,
        nonce: bytes,
        sealed: bytes | bytearray | memoryview,
        aad: bytes,
        out: bytearray | memoryview,
        *,
        error: CloisterError,
    ) -> None:
        """Write the plaintext into `out` (16 bytes shorter than `sealed`), or raise `error`.

        On error `out` holds unspecified bytes that the caller must not use.
        """
        try:
            self._aead.decrypt_into(nonce, sealed, aad, out)
        except (InvalidTag, ValueError) as e:
            raise error from e

    def vouch(self, nonce: bytes, data: bytes | bytearray | memoryview) -> bytes:
        """Return the 16-byte tag of data that stays readable (GMAC); nonces as for `seal`."""
        return self._aead.encrypt(nonce, b"", data)

    def check(
        self,
        nonce: bytes,
        data: bytes | bytearray | memoryview,
        tag: bytes,
        *,
        error: CloisterError,
    ) -> None:
        """Return where `vouch` made the tag of exactly this data, or raise `error`."""
        if len(tag) != TAG_BYTES:
            raise error
        try:
            self._aead.decrypt(nonce, tag, data)
        except (InvalidTag, ValueError) as e:
            raise error from e

    def seal_random(self, plaintext: bytes, aad: bytes) -> bytes:
        """Seal under a random nonce, which is put in front; for few messages a key."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plaintext, aad)

    def open_random(self, sealed: bytes, aad: bytes, *, error: CloisterError) -> bytes:
        """Open what `seal_random` made, or raise `error`."""
        return self.open(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad, error=error)
