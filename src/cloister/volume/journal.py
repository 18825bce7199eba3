"""The chain of index entries on disk: framing, hashing, sealing; no opinion on which is current.

`journal/<version>` is a segment: one FULL entry (the whole index), then DELTA entries. A root is
a hash over the very bytes of the chain, so it can be computed without a key, and two different
journals never have the same one.
"""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from cloister.crypto.kdf import random_bytes
from cloister.errors import MalformedError, TamperedError
from cloister.volume.format import (
    ENTRY_CHUNK_BYTES,
    ENTRY_HEADER_BYTES,
    MAX_ENTRY_BYTES,
    NO_ROOT,
    EntryHeader,
    EntryKind,
    Superblock,
    malformed,
)
from cloister.volume.keys import SALT_BYTES, VolumeKeys
from cloister.volume.store import Handle, Store

__all__ = [
    "JOURNAL",
    "Ending",
    "Frame",
    "Segment",
    "open_entry",
    "seal_entry",
    "segment_path",
    "survey",
]

JOURNAL: Final = "journal"
_ROOT_LABEL: Final = b"cloister volume v1 root"
_ENTRY_LABEL: Final = b"cloister volume v1 entry"
_TAG_BYTES: Final = 16
_SEALED_CHUNK: Final = ENTRY_CHUNK_BYTES + _TAG_BYTES
_READ_BYTES: Final = 2**20
_MAX_SEGMENTS: Final = 64
_NAME: Final = re.compile(r"[0-9a-f]{16}")


class Ending(enum.Enum):
    """What follows the last good frame of a segment."""

    CLEAN = "nothing"
    CUT = "the file ends inside a frame, or holds none"
    BROKEN = "bytes that are no frame following on the last"


@dataclass(frozen=True, slots=True)
class Frame:
    """A complete entry as found on disk, with the root it would make. Nothing is authentic yet."""

    header: EntryHeader
    root: bytes
    offset: int
    end: int


@dataclass(frozen=True, slots=True)
class Segment:
    """The complete, chained frames at the beginning of one file, and how it goes on."""

    path: str
    frames: tuple[Frame, ...]
    ending: Ending


def segment_path(version: int) -> str:
    """Return where the segment that begins with this version is."""
    return f"{JOURNAL}/{version:016x}"


def seal_entry(
    keys: VolumeKeys,
    superblock: Superblock,
    items: bytes,
    *,
    kind: EntryKind,
    version: int,
    epoch: int,
    previous: bytes,
) -> tuple[list[bytes], bytes]:
    """Seal index items under a key of their own, which derives from the newest volume key.

    Returns:
        The entry's bytes in pieces, and the root it makes.
    """
    chunks = max(1, -(-len(items) // ENTRY_CHUNK_BYTES))
    body_bytes = len(items) + chunks * _TAG_BYTES
    if body_bytes > MAX_ENTRY_BYTES:
        raise malformed("index outgrows its limit", clause="VOL-20")
    salt = random_bytes(SALT_BYTES)
    header = EntryHeader(kind, keys.epoch, version, epoch, body_bytes, previous, salt)
    key = keys.entry_key(salt, keys.epoch)
    pieces = [header.to_bytes()]
    for number in range(chunks):
        part = items[number * ENTRY_CHUNK_BYTES : (number + 1) * ENTRY_CHUNK_BYTES]
        aad = _chunk_aad(superblock, pieces[0], final=number == chunks - 1)
        pieces.append(key.seal(number.to_bytes(12, "big"), part, aad))
    hasher = _root_hasher(superblock)
    for piece in pieces:
        hasher.update(piece)
    return pieces, hasher.digest()


def open_entry(
    store: Store, keys: VolumeKeys, superblock: Superblock, at: Frame, path: str
) -> bytes:
    """Read, authenticate and return the items of an entry.

    Raises:
        TamperedError: Its bytes were not made under this volume's key.
        ReleaseDeniedError: Code `release.key-missing`: its volume key is not here.
    """
    body = bytearray(at.header.body_bytes)
    handle = store.open(path)
    try:
        handle.read_into([body], at.offset + ENTRY_HEADER_BYTES)
    finally:
        handle.close()
    header = at.header.to_bytes()
    hasher = _root_hasher(superblock)
    hasher.update(header)
    hasher.update(body)
    error = TamperedError("the volume's index was changed", code="volume.tampered")
    if hasher.digest() != at.root:
        raise error
    key = keys.entry_key(at.header.salt, at.header.key_epoch)
    items = bytearray()
    for number, begin in enumerate(range(0, len(body), _SEALED_CHUNK)):
        sealed = bytes(body[begin : begin + _SEALED_CHUNK])
        aad = _chunk_aad(superblock, header, final=begin + _SEALED_CHUNK >= len(body))
        items += key.open(number.to_bytes(12, "big"), sealed, aad, error=error)
    return bytes(items)


def survey(store: Store, superblock: Superblock) -> list[Segment]:
    """Read and hash all segments, without any key.

    Raises:
        MalformedError: More segments than any history of commits leaves.
        UnavailableError: The storage failed.
    """
    names = [name for name in store.names(JOURNAL) if _NAME.fullmatch(name)]
    if len(names) > _MAX_SEGMENTS:
        raise malformed("journal has too many segments", clause="VOL-21")
    return [_survey_segment(store, superblock, name) for name in names]


def _survey_segment(store: Store, superblock: Superblock, name: str) -> Segment:
    path = f"{JOURNAL}/{name}"
    frames: list[Frame] = []
    handle = store.open(path)
    try:
        size = handle.size()
        offset = 0
        ending = Ending.CLEAN if size else Ending.CUT
        while offset < size:
            found = _read_frame(handle, superblock, offset, size)
            if isinstance(found, Ending):
                ending = found
                break
            if not _follows(found.header, frames, first_version=int(name, 16)):
                ending = Ending.BROKEN
                break
            frames.append(found)
            offset = found.end
    finally:
        handle.close()
    return Segment(path, tuple(frames), ending)


def _follows(header: EntryHeader, frames: list[Frame], *, first_version: int) -> bool:
    if not frames:
        first = header.version == 1
        if first != (header.previous == NO_ROOT):
            return False
        return header.kind is EntryKind.FULL and header.version == first_version
    last = frames[-1]
    return (
        header.kind is EntryKind.DELTA
        and header.key_epoch == last.header.key_epoch
        and header.version == last.header.version + 1
        and header.epoch >= last.header.epoch
        and header.previous == last.root
    )


def _read_frame(handle: Handle, superblock: Superblock, offset: int, size: int) -> Frame | Ending:
    """Return the frame at `offset`, or why there is none."""
    if size - offset < ENTRY_HEADER_BYTES:
        return Ending.CUT
    raw = bytearray(ENTRY_HEADER_BYTES)
    handle.read_into([raw], offset)
    try:
        header = EntryHeader.from_bytes(bytes(raw))
    except MalformedError:
        return Ending.BROKEN
    at = offset + ENTRY_HEADER_BYTES
    end = at + header.body_bytes
    if end > size:
        return Ending.CUT
    if (header.body_bytes - 1) % _SEALED_CHUNK < _TAG_BYTES:
        return Ending.BROKEN
    hasher = _root_hasher(superblock)
    hasher.update(raw)
    buffer = memoryview(bytearray(min(_READ_BYTES, header.body_bytes)))
    while at < end:
        part = buffer[: end - at]
        handle.read_into([part], at)
        hasher.update(part)
        at += len(part)
    return Frame(header, hasher.digest(), offset, end)


def _root_hasher(superblock: Superblock) -> hashlib._Hash:
    return hashlib.sha256(_ROOT_LABEL + superblock.digest)


def _chunk_aad(superblock: Superblock, header: bytes, *, final: bool) -> bytes:
    return _ENTRY_LABEL + superblock.digest + header + bytes([final])
