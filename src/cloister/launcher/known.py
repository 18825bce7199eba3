"""Which digest belongs to which fingerprint: the short way of a run where nothing has changed.

A file of this platform's own, authenticated like the measurement cache and believed under the same
condition: that the kernel, and nobody else, sets change times.

Spec: launch-measurement-v1, clauses LM-22 to LM-25.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, same_bytes
from cloister.errors import ConfigError
from cloister.launcher.cache import CacheKey

__all__ = ["KnownDigests"]

_MAGIC: Final = b"cloister/v1/known-digests\n"
_PAIR_BYTES: Final = 2 * DIGEST_BYTES
_MAX_PAIRS: Final = 16


@dataclass(frozen=True, slots=True)
class KnownDigests:
    """Where the pairs are kept, and the key that authenticates them: no other file's key."""

    path: Path
    key: CacheKey

    def get(self, fingerprint: bytes) -> bytes | None:
        """Return the digest that a tree with this fingerprint has, if this platform knows it."""
        return self._read().get(fingerprint)

    def put(self, fingerprint: bytes, digest: bytes) -> None:
        """Remember a pair; the oldest beyond 16 are forgotten.

        Raises:
            ConfigError: The folder cannot be written.
        """
        pairs = self._read()
        pairs.pop(fingerprint, None)
        newest = [(fingerprint, digest), *pairs.items()][:_MAX_PAIRS]
        body = b"".join(one + other for one, other in newest)
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
            )
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(_MAGIC + self.key.tag(body) + body)
            temporary.replace(self.path)
        except OSError as e:
            raise ConfigError(
                f"the measurement cache {self.path} cannot be written: {e.strerror}",
                code="config.file",
            ) from e

    def _read(self) -> dict[bytes, bytes]:
        limit = len(_MAGIC) + DIGEST_BYTES + _MAX_PAIRS * _PAIR_BYTES
        try:
            with self.path.open("rb") as stream:
                data = stream.read(limit + 1)
        except OSError:
            return {}
        head = len(_MAGIC) + DIGEST_BYTES
        body = data[head:]
        if (
            len(data) > limit
            or len(body) % _PAIR_BYTES
            or not data.startswith(_MAGIC)
            or not same_bytes(self.key.tag(body), data[len(_MAGIC) : head])
        ):
            return {}
        return {
            body[start : start + DIGEST_BYTES]: body[start + DIGEST_BYTES : start + _PAIR_BYTES]
            for start in range(0, len(body), _PAIR_BYTES)
        }
