"""HMAC-SHA-256 over labelled, length-framed messages, for peers that share a secret."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from cloister.crypto.digest import framed
from cloister.errors import CloisterError

__all__ = ["MAC_BYTES", "make_mac", "require_mac"]

MAC_BYTES: Final = 32


def make_mac(secret: bytes, label: bytes, message: bytes) -> bytes:
    """Return the 32-byte code of exactly this label and message under `secret`."""
    return hmac.digest(secret, framed(label, message), hashlib.sha256)


def require_mac(
    secret: bytes, label: bytes, message: bytes, mac: bytes, *, error: CloisterError
) -> None:
    """Raise `error` unless `mac` was made with this secret, label and message."""
    if not hmac.compare_digest(make_mac(secret, label, message), mac):
        raise error
