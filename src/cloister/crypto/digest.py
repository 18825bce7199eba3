"""SHA-256 digests, written `sha256:<hex>` where people read them, and length-framed hashing."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from cloister.errors import MalformedError

__all__ = [
    "DIGEST_BYTES",
    "digest_from_text",
    "digest_to_text",
    "framed",
    "require_equal",
    "same_bytes",
    "sha256",
    "sha384",
    "sha512",
]

DIGEST_BYTES: Final = 32
_TEXT: Final = re.compile(r"sha256:([0-9a-f]{64})")


def sha256(data: bytes | bytearray | memoryview) -> bytes:
    """Return the 32-byte SHA-256 of `data`."""
    return hashlib.sha256(data).digest()


def sha384(data: bytes) -> bytes:
    """Return the 48-byte SHA-384 of `data`."""
    return hashlib.sha384(data).digest()


def sha512(data: bytes) -> bytes:
    """Return the 64-byte SHA-512 of `data`."""
    return hashlib.sha512(data).digest()


def framed(label: bytes, *parts: bytes) -> bytes:
    """Join parts so that no two different lists give the same bytes.

    Each part, the label first, is preceded by its length as 8 bytes, big-endian.
    """
    return b"".join([len(part).to_bytes(8, "big") + part for part in (label, *parts)])


def digest_to_text(digest: bytes) -> str:
    """Write a SHA-256 digest as `sha256:<hex>`."""
    if len(digest) != DIGEST_BYTES:
        raise MalformedError("a SHA-256 digest has 32 bytes", code="wire.malformed")
    return "sha256:" + digest.hex()


def digest_from_text(text: str) -> bytes:
    """Read `sha256:<64 lower-case hex digits>` and nothing else."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise MalformedError(
            "a digest is written sha256: and 64 lower-case hex digits", code="wire.malformed"
        )
    return bytes.fromhex(match.group(1))


def same_bytes(left: bytes, right: bytes) -> bool:
    """Compare without leaking where the first difference is."""
    return hmac.compare_digest(left, right)


def require_equal(left: bytes, right: bytes, *, error: Exception) -> None:
    """Raise `error` unless both are the same bytes; takes the same time either way."""
    if not hmac.compare_digest(left, right):
        raise error
