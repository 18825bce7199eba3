"""The fixed parts of a volume's bytes: superblock, block pointers, entry headers, limits.

No I/O and no keys: bytes to values and back. Everything read here is untrusted until
`recovery.py` has tied it to the anchor. The page is docs/spec/volume-v1.md.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import sha256
from cloister.crypto.keyring import FIRST_KEY_EPOCH
from cloister.errors import CallerError, MalformedError

__all__ = [
    "DIRECT_POINTERS",
    "ENTRY_CHUNK_BYTES",
    "ENTRY_HEADER_BYTES",
    "INLINE_BYTES",
    "MAX_ENTRY_BYTES",
    "MAX_FILE_BYTES",
    "MAX_HEIGHT",
    "MAX_INODES",
    "MAX_NAME_BYTES",
    "MAX_TARGET_BYTES",
    "NO_ROOT",
    "NULL_POINTER",
    "POINTER",
    "POINTER_BYTES",
    "SUPERBLOCK_BYTES",
    "EntryHeader",
    "EntryKind",
    "Geometry",
    "Superblock",
    "VolumeIdentity",
    "VolumeKind",
    "malformed",
]

MAGIC: Final = b"CLSTRVOL"
FORMAT_VERSION: Final = 1
SUPERBLOCK_BYTES: Final = 64
VOLUME_ID_BYTES: Final = 16
_SUPERBLOCK: Final = struct.Struct(">8sHBBI16s")
_MIN_BLOCK_LOG2: Final = 9
_MAX_BLOCK_LOG2: Final = 20

# A pointer: slot << 24 | stored length; session << 40 | counter; GCM tag. Zeros mean a hole.
POINTER: Final = struct.Struct(">QQ16s")
POINTER_BYTES: Final = POINTER.size
NULL_POINTER: Final = bytes(POINTER_BYTES)
DIRECT_POINTERS: Final = 16
MAX_HEIGHT: Final = 8

ENTRY_HEADER_BYTES: Final = 96
ENTRY_CHUNK_BYTES: Final = 65536
_ENTRY_MAGIC: Final = b"CLE1"
_ENTRY: Final = struct.Struct(">4sB3sQQQ32s32s")
_MIN_BODY_BYTES: Final = 17
NO_ROOT: Final = bytes(32)

INLINE_BYTES: Final = 1024
MAX_NAME_BYTES: Final = 255
MAX_TARGET_BYTES: Final = 4095
MAX_FILE_BYTES: Final = 2**43
MAX_INODES: Final = 2**24
MAX_ENTRY_BYTES: Final = 2**32


def malformed(what: str, *, clause: str, offset: int | None = None) -> MalformedError:
    """Make the error for bytes that do not follow the page."""
    return MalformedError(f"volume: {what}", code="volume.malformed", clause=clause, offset=offset)


class VolumeKind(enum.IntEnum):
    """What may happen to a volume after it was made."""

    SEALED = 1
    MUTABLE = 2


class EntryKind(enum.IntEnum):
    """What an entry of the index chain holds: the whole index, or what changed."""

    FULL = 1
    DELTA = 2


@dataclass(frozen=True, slots=True)
class VolumeIdentity:
    """What can be said of a volume without its key; `root` commits to the index's bytes."""

    volume_id: bytes
    version: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes in bytes that follow from the block size."""

    block: int

    @property
    def granule(self) -> int:
        """The unit to which a short block's stored length is rounded up."""
        return min(4096, self.block)

    @property
    def fanout(self) -> int:
        """How many pointers a table page holds."""
        return self.block // POINTER_BYTES

    @property
    def inline(self) -> int:
        """The largest content that is kept in the index instead of in a block."""
        return min(INLINE_BYTES, self.block // 64)

    def stored_length(self, plain: int) -> int:
        """Return how many bytes a block with `plain` meaningful bytes takes."""
        return min(self.block, -(-plain // self.granule) * self.granule)

    def blocks(self, size: int) -> int:
        """Return how many blocks a file of `size` bytes spans."""
        return -(-size // self.block)


@dataclass(frozen=True, slots=True)
class Superblock:
    """The immutable first file of a volume. `mac` is untrusted until `VolumeKeys` checked it."""

    kind: VolumeKind
    block_bytes: int
    volume_id: bytes
    mac: bytes

    @staticmethod
    def fields(kind: VolumeKind, block_bytes: int, volume_id: bytes) -> bytes:
        """Return the 32 bytes that the MAC covers.

        Raises:
            CallerError: The block size is not a power of two from 512 bytes to 1 MiB.
        """
        log2 = block_bytes.bit_length() - 1
        if block_bytes != 1 << log2 or not _MIN_BLOCK_LOG2 <= log2 <= _MAX_BLOCK_LOG2:
            raise CallerError(
                "a volume's block size is a power of two from 512 bytes to 1 MiB",
                code="caller.misuse",
            )
        return _SUPERBLOCK.pack(MAGIC, FORMAT_VERSION, kind, log2, 0, volume_id)

    def to_bytes(self) -> bytes:
        """Return the 64 bytes of the file."""
        return self.fields(self.kind, self.block_bytes, self.volume_id) + self.mac

    @property
    def digest(self) -> bytes:
        """SHA-256 of the file; part of every root, so that a root names one volume and key."""
        return sha256(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> Superblock:
        """Parse untrusted bytes; nothing is verified yet.

        Raises:
            MalformedError: Not a superblock of this version.
        """
        if len(data) != SUPERBLOCK_BYTES:
            raise malformed(f"superblock has {len(data)} bytes instead of 64", clause="VOL-1")
        magic, version, kind, log2, reserved, volume_id = _SUPERBLOCK.unpack_from(data)
        if magic != MAGIC or version != FORMAT_VERSION or reserved:
            raise malformed("not a superblock of format 1", clause="VOL-1")
        if kind not in set(VolumeKind) or not _MIN_BLOCK_LOG2 <= log2 <= _MAX_BLOCK_LOG2:
            raise malformed("superblock has an unknown kind or block size", clause="VOL-1")
        return cls(VolumeKind(kind), 1 << log2, volume_id, data[_SUPERBLOCK.size :])


@dataclass(frozen=True, slots=True)
class EntryHeader:
    """The clear header of one entry of the index chain.

    `epoch` is the writer's lease, `key_epoch` the volume key that seals the entry.
    """

    kind: EntryKind
    key_epoch: int
    version: int
    epoch: int
    body_bytes: int
    previous: bytes
    salt: bytes

    def to_bytes(self) -> bytes:
        """Return the 96 bytes."""
        return _ENTRY.pack(
            _ENTRY_MAGIC,
            self.kind,
            (self.key_epoch - FIRST_KEY_EPOCH).to_bytes(3, "big"),
            self.version,
            self.epoch,
            self.body_bytes,
            self.previous,
            self.salt,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> EntryHeader:
        """Parse untrusted bytes.

        Raises:
            MalformedError: Not an entry header.
        """
        if len(data) != ENTRY_HEADER_BYTES:
            raise malformed("not an entry header", clause="VOL-20")
        magic, kind, replaced, version, epoch, body, previous, salt = _ENTRY.unpack(data)
        if magic != _ENTRY_MAGIC or kind not in set(EntryKind):
            raise malformed("not an entry header", clause="VOL-20")
        if (
            not 1 <= version < 2**63
            or epoch >= 2**63
            or not _MIN_BODY_BYTES <= body <= MAX_ENTRY_BYTES
        ):
            raise malformed("entry header is outside its limits", clause="VOL-20")
        key_epoch = int.from_bytes(replaced, "big") + FIRST_KEY_EPOCH
        return cls(EntryKind(kind), key_epoch, version, epoch, body, previous, salt)
