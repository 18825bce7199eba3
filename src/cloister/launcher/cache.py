"""What was hashed before: folder listings with the manifest entries that they led to.

The cache is a file on the machine's own disk, authenticated under a key that only this platform
derives, so that a cache from elsewhere, or an edited one, counts as empty. Believing it means
believing that a file whose inode, size, modification and change time are the same has the same
content. The kernel guarantees that to anybody but root of the machine that holds the file system;
where that machine is not inside the trust boundary, measure without a cache.

Spec: launch-measurement-v1, clauses LM-20 to LM-25.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, same_bytes
from cloister.crypto.kdf import derive_key
from cloister.errors import ConfigError

__all__ = ["CacheKey", "KnownFolder", "read_cache", "write_cache"]

_MAGIC: Final = b"cloister/v1/measurement-cache\n"
_MAX_CACHE_BYTES: Final = 1 << 30
_LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class KnownFolder:
    """A folder's lines when it was measured, and the manifest entries they led to."""

    lines: bytes
    entries: bytes


class CacheKey:
    """The key that authenticates one platform's cache."""

    __slots__ = ("_key",)

    def __init__(self, sealing_secret: bytes) -> None:
        """Derive from the platform's sealing secret, of which nothing is kept here."""
        self._key = derive_key(sealing_secret, label=_MAGIC.strip(), salt=b"")

    def tag(self, body: bytes | memoryview) -> bytes:
        """Return the 32-byte authenticator of a cache's body."""
        return hmac.digest(self._key, body, "sha256")


def read_cache(path: Path, key: CacheKey) -> dict[bytes, KnownFolder]:
    """Return what this platform measured before; empty where there is nothing that it wrote."""
    try:
        if path.stat().st_size > _MAX_CACHE_BYTES:
            return {}
        data = path.read_bytes()
    except OSError:
        return {}
    head = len(_MAGIC) + DIGEST_BYTES
    body = memoryview(data)[head:]
    if not data.startswith(_MAGIC) or not same_bytes(key.tag(body), data[len(_MAGIC) : head]):
        return {}
    parts = list(_parts(data, head))
    return {
        parts[index]: KnownFolder(parts[index + 1], parts[index + 2])
        for index in range(0, len(parts) - 2, 3)
    }


def write_cache(path: Path, key: CacheKey, known: Mapping[bytes, KnownFolder]) -> None:
    """Replace the cache, readable by this user only; the folder is made with mode 0700.

    Raises:
        ConfigError: The folder cannot be written.
    """
    parts: list[bytes] = []
    for folder, item in known.items():
        for part in (folder, item.lines, item.entries):
            parts += (len(part).to_bytes(_LENGTH_BYTES, "big"), part)
    body = b"".join(parts)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
        )
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(_MAGIC + key.tag(body))
            stream.write(body)
        temporary.replace(path)
    except OSError as e:
        raise ConfigError(
            f"the measurement cache {path} cannot be written: {e.strerror}", code="config.file"
        ) from e


def _parts(data: bytes, offset: int) -> Iterator[bytes]:
    end = len(data)
    while offset < end:
        start = offset + _LENGTH_BYTES
        offset = start + int.from_bytes(data[offset:start], "big")
        yield data[start:offset]
