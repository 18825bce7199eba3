"""The launch measurement: what Cloister itself measured before it asked for keys (design D5).

Hardware measures an image; an interpreted program is not in it. The measured launcher digests the
code tree and the runtime and binds both digests into the evidence through `bind`, so that they are
as trustworthy as the launcher's own measurement, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.errors import MalformedError
from cloister.wire import Fields, encode

__all__ = ["MAX_MEASUREMENT_BYTES", "LaunchMeasurement"]

MAX_MEASUREMENT_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class LaunchMeasurement:
    """Digests of what is about to run.

    Attributes:
        code: 32 bytes: the root of the code volume, or the digest of a plain code tree.
        runtime: 32 bytes: SHA-256 over the interpreter and the installed distributions.
    """

    code: bytes
    runtime: bytes

    def __post_init__(self) -> None:
        """Both have 32 bytes."""
        if len(self.code) != DIGEST_BYTES or len(self.runtime) != DIGEST_BYTES:
            raise MalformedError(
                "a launch measurement has two digests of 32 bytes", code="evidence.malformed"
            )

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that `bind` hashes."""
        return encode({"code": self.code, "runtime": self.runtime})

    @classmethod
    def from_bytes(cls, data: bytes) -> LaunchMeasurement:
        """Read a launch measurement from untrusted bytes."""
        return cls.from_fields(
            Fields.decode(data, what="launch measurement", max_bytes=MAX_MEASUREMENT_BYTES)
        )

    @classmethod
    def from_fields(cls, fields: Fields) -> LaunchMeasurement:
        """Read a launch measurement that is part of a larger message."""
        code = fields.octets("code", length=DIGEST_BYTES)
        runtime = fields.octets("runtime", length=DIGEST_BYTES)
        fields.end()
        return cls(code, runtime)
