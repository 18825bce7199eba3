"""Key derivation: HKDF-SHA-256 (RFC 5869) with a label for each purpose."""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["derive_key", "random_bytes"]


def derive_key(secret: bytes, *, label: bytes, salt: bytes, length: int = 32) -> bytes:
    """Derive a key for one purpose from a uniformly random secret.

    Args:
        secret: At least 32 secret, uniformly random bytes.
        label: The purpose, as the specification of the format spells it.
        salt: Public context that separates instances, such as a volume's identity.
        length: Bytes wanted.
    """
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=label).derive(secret)


def random_bytes(count: int) -> bytes:
    """Draw secret random bytes from the kernel."""
    return os.urandom(count)
