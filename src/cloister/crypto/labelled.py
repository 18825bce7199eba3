"""HKDF-SHA-256 as HPKE labels it (RFC 9180, section 4): every use names its suite and purpose."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

__all__ = ["expand", "extract", "labelled_expand", "labelled_extract"]

_VERSION = b"HPKE-v1"


def extract(salt: bytes, secret: bytes) -> bytes:
    """Return the pseudorandom key of a secret that need not be uniform (RFC 5869)."""
    return hmac.digest(salt, secret, hashlib.sha256)


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """Return `length` secret bytes of a pseudorandom key for what `info` says (RFC 5869)."""
    return HKDFExpand(algorithm=SHA256(), length=length, info=info).derive(key)


def labelled_extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    """Return `LabeledExtract` of RFC 9180."""
    return extract(salt, _VERSION + suite + label + secret)


def labelled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """Return `LabeledExpand` of RFC 9180."""
    return expand(key, length.to_bytes(2, "big") + _VERSION + suite + label + info, length)
