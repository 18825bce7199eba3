"""Seal blocks into backing files and open them again, many at a time, without copying twice.

Invariants:
    1. Ciphertext is read into memory of our own before it is authenticated, so the host cannot
       change it between check and use.
    2. A pointer's tag, not the host's, decides: tags are not stored beside the data.
    3. What the plaintext is bound to: volume, inode, level in the table, index, stored length.
    4. The blocks of an authenticated file are stored as they are, under keys of their own, and
       are checked like all others before a byte of them is used.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.errors import TamperedError
from cloister.volume.format import POINTER, Geometry, malformed
from cloister.volume.keys import SessionKeys, session_of
from cloister.volume.memory import PAGE_BYTES, page_aligned, whole_pages
from cloister.volume.store import Buffer, Handle, Store

__all__ = [
    "BATCH_BYTES",
    "BlockFile",
    "BlockPlace",
    "Blocks",
    "pointer_parts",
    "pointers_in",
    "sessions_in",
]

BATCH_BYTES: Final = 2**20
_TAG_BYTES: Final = 16
_AAD_LABEL: Final = b"cloister volume v1 block"
_AAD: Final = struct.Struct(">24s16sQBQI")
_READABLE_LABEL: Final = b"cloister volume v1 readable"
_LEAD: Final = struct.Struct(">27s16sQBQI")
_MAX_HANDLES: Final = 128
_LENGTH_MASK: Final = 2**24 - 1

Pointer = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True)
class BlockFile:
    """A backing file and the size of its slots in bytes."""

    path: str
    unit: int

    @property
    def directory(self) -> str:
        """The directory it is in."""
        return self.path.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class BlockPlace:
    """Where a block belongs: part of what its ciphertext is bound to.

    `readable` blocks are authenticated and not encrypted.
    """

    ino: int
    level: int
    index: int
    readable: bool = False


def pointers_in(packed: bytes) -> Iterator[tuple[int, int]]:
    """Return slot and stored length of each packed pointer that is no hole."""
    for where, _, _ in POINTER.iter_unpack(packed):
        if where & _LENGTH_MASK:
            yield where >> 24, where & _LENGTH_MASK


def sessions_in(packed: bytes) -> Iterator[int | None]:
    """Return the session of each packed pointer; None for a hole."""
    for where, stamp, _ in POINTER.iter_unpack(packed):
        yield session_of(stamp) if where & _LENGTH_MASK else None


def pointer_parts(pointer: bytes | bytearray | memoryview) -> tuple[int, int]:
    """Return the slot and the stored length of a packed pointer; length 0 is a hole."""
    where, _, _ = POINTER.unpack(pointer)
    return where >> 24, where & _LENGTH_MASK


class Blocks:
    """All block input and output of one open volume. Not for two threads at once."""

    def __init__(
        self, store: Store, *, volume_id: bytes, geometry: Geometry, sessions: SessionKeys
    ) -> None:
        """Set up the staging memory that every batch goes through."""
        self._store = store
        self._geometry = geometry
        self._sessions = sessions
        self._volume_id = volume_id
        block = geometry.block
        self._zeros = memoryview(bytes(block))
        self._batch = max(1, min(BATCH_BYTES // block, 512))
        stride = whole_pages(block + _TAG_BYTES)
        staging = page_aligned(PAGE_BYTES + self._batch * stride)
        starts = range(PAGE_BYTES, PAGE_BYTES + self._batch * stride, stride)
        # What a readable block's tag covers is one piece of memory: the place, then the block.
        self._led = [staging[start - _LEAD.size : start + block] for start in starts]
        self._sealed = [staging[start : start + block + _TAG_BYTES] for start in starts]
        self._ciphertexts = [sealed[:block] for sealed in self._sealed]
        self._tags = [sealed[block:] for sealed in self._sealed]
        self._handles: OrderedDict[str, Handle] = OrderedDict()
        self._unsynced: dict[str, BlockFile] = {}
        self._new_directories: set[str] = set()

    @property
    def batch(self) -> int:
        """How many blocks one call may write."""
        return self._batch

    def read(self, file: BlockFile, place: BlockPlace, pointers: bytes, out: memoryview) -> None:
        """Fill `out` with consecutive whole blocks, the first at `place`.

        Args:
            file: Where their ciphertext is.
            place: Position of the first.
            pointers: Packed; their number times the block size is the length of `out`.
            out: Holds unspecified bytes when this raises.

        Raises:
            TamperedError: A block is missing or is not the one the pointer names.
        """
        block = self._geometry.block
        parts: list[Pointer] = list(POINTER.iter_unpack(pointers))
        first = 0
        while first < len(parts):
            where = parts[first][0]
            end = first + 1
            rest = out[first * block :]
            here = _later(place, first) if first else place
            if where & _LENGTH_MASK == block:
                limit = min(len(parts), first + self._batch)
                while end < limit and parts[end][0] == where + (end - first << 24):
                    end += 1
                self._read_run(file, here, parts[first:end], rest)
            else:
                self._read_short(file, here, parts[first], rest[:block])
            first = end

    def _read_run(
        self, file: BlockFile, place: BlockPlace, run: list[Pointer], out: memoryview
    ) -> None:
        block = self._geometry.block
        offset = (run[0][0] >> 24) * file.unit
        self._handle(file.path).read_into(self._ciphertexts[: len(run)], offset)
        if place.readable:
            self._take_readable(place, run, out, length=block)
            return
        error = _tampered(place)
        ino, level, index = place.ino, place.level, place.index
        volume_id, opening = self._volume_id, self._sessions.opening
        at = 0
        for (_, stamp, tag), sealed, sealed_tag in zip(run, self._sealed, self._tags, strict=False):
            sealed_tag[:] = tag
            key, nonce = opening(stamp)
            aad = _AAD.pack(_AAD_LABEL, volume_id, ino, level, index, block)
            key.open_into(nonce, sealed, aad, out[at : at + block], error=error)
            index += 1
            at += block

    def _read_short(
        self, file: BlockFile, place: BlockPlace, pointer: Pointer, out: memoryview
    ) -> None:
        where, stamp, tag = pointer
        slot, length = where >> 24, where & _LENGTH_MASK
        if length:
            if length > len(out) or length % self._geometry.granule:
                raise malformed("a pointer has an impossible length", clause="VOL-13")
            sealed = self._sealed[0][: length + _TAG_BYTES]
            self._handle(file.path).read_into([sealed[:length]], slot * file.unit)
            if place.readable:
                self._take_readable(place, [pointer], out, length=length)
            else:
                sealed[length:] = tag
                key, nonce = self._sessions.opening(stamp)
                key.open_into(
                    nonce, sealed, self._aad(place, length), out[:length], error=_tampered(place)
                )
        elif slot or stamp:
            raise malformed("a hole's pointer is not zero", clause="VOL-13")
        out[length:] = self._zeros[length:]

    def _take_readable(
        self, place: BlockPlace, run: list[Pointer], out: memoryview, *, length: int
    ) -> None:
        """Check readable blocks that are in the staging memory, each before it is handed out."""
        error = _tampered(place)
        for number, (_, stamp, tag) in enumerate(run):
            led = self._lead(_later(place, number), number, length)
            key, nonce = self._sessions.opening(stamp, readable=True)
            key.check(nonce, led, tag, error=error)
            out[number * length : (number + 1) * length] = led[_LEAD.size :]

    def _lead(self, place: BlockPlace, number: int, length: int) -> memoryview:
        """Put its place before a block in the staging memory; return both."""
        led = self._led[number][: _LEAD.size + length]
        _LEAD.pack_into(
            led, 0, _READABLE_LABEL, self._volume_id, place.ino, place.level, place.index, length
        )
        return led

    def write(
        self, file: BlockFile, place: BlockPlace, slot: int, blocks: Sequence[Buffer]
    ) -> bytes:
        """Seal consecutive blocks into consecutive slots.

        Args:
            file: Where to.
            place: Position of the first.
            slot: First of the slots, which no committed state may use.
            blocks: At most `batch`; all of the block size but the last, which may be shorter by
                whole granules.

        Returns:
            Their packed pointers.

        Raises:
            StorageFullError: Nothing points to what was written; the slots may be taken again.
        """
        pointers = bytearray()
        ciphertexts: list[memoryview] = []
        ino, level, index = place.ino, place.level, place.index
        volume_id, sealing = self._volume_id, self._sessions.sealing
        for number, plain in enumerate(blocks):
            length = len(plain)
            if place.readable:
                pointers += self._vouch(_later(place, number), number, slot + number, plain)
                ciphertexts.append(self._ciphertexts[number][:length])
                continue
            sealed = self._sealed[number][: length + _TAG_BYTES]
            key, nonce, stamp = sealing()
            aad = _AAD.pack(_AAD_LABEL, volume_id, ino, level, index + number, length)
            key.seal_into(nonce, plain, aad, sealed)
            ciphertexts.append(sealed[:length])
            pointers += POINTER.pack(slot + number << 24 | length, stamp, bytes(sealed[length:]))
        self._unsynced[file.path] = file
        self._handle(file.path).write(ciphertexts, slot * file.unit)
        return bytes(pointers)

    def _vouch(self, place: BlockPlace, number: int, slot: int, plain: Buffer) -> bytes:
        """Copy a block to the staging memory and tag it there; return its pointer."""
        length = len(plain)
        led = self._lead(place, number, length)
        led[_LEAD.size :] = plain
        key, nonce, stamp = self._sessions.sealing(readable=True)
        return POINTER.pack(slot << 24 | length, stamp, key.vouch(nonce, led))

    def create(self, file: BlockFile) -> None:
        """Make an empty backing file."""
        self._keep(file.path, self._store.create(file.path))
        self._unsynced[file.path] = file
        self._new_directories.add(file.directory)

    def size(self, file: BlockFile) -> int:
        """Return a backing file's length in bytes; the host's word."""
        return self._handle(file.path).size()

    def sync(self) -> None:
        """Return when all that was written is durable, names of new files included."""
        for path in self._unsynced:
            self._handle(path).sync()
        for directory in self._new_directories:
            self._store.sync_directory(directory)
        self._unsynced.clear()
        self._new_directories.clear()

    def cut(self, file: BlockFile, units: int) -> None:
        """Shorten a backing file to its first `units` slots."""
        handle = self._handle(file.path)
        if handle.size() > units * file.unit:
            handle.truncate(units * file.unit)

    def remove(self, file: BlockFile) -> None:
        """Delete a backing file that no state will need again."""
        handle = self._handles.pop(file.path, None)
        if handle is not None:
            handle.close()
        self._unsynced.pop(file.path, None)
        self._store.remove(file.path)

    def close(self) -> None:
        """Close all backing files."""
        while self._handles:
            self._handles.popitem()[1].close()

    def _aad(self, place: BlockPlace, length: int) -> bytes:
        return _AAD.pack(_AAD_LABEL, self._volume_id, place.ino, place.level, place.index, length)

    def _handle(self, path: str) -> Handle:
        handle = self._handles.get(path)
        if handle is None:
            handle = self._keep(path, self._store.open(path))
        else:
            self._handles.move_to_end(path)
        return handle

    def _keep(self, path: str, handle: Handle) -> Handle:
        self._handles[path] = handle
        if len(self._handles) > _MAX_HANDLES:
            old_path, old = next(iter(self._handles.items()))
            if old_path in self._unsynced:
                old.sync()
                del self._unsynced[old_path]
            del self._handles[old_path]
            old.close()
        return handle


def _later(place: BlockPlace, number: int) -> BlockPlace:
    return BlockPlace(place.ino, place.level, place.index + number, place.readable)


def _tampered(place: BlockPlace) -> TamperedError:
    return TamperedError(
        "data in the volume was changed",
        code="volume.tampered",
        detail=f"inode {place.ino}, level {place.level}, near block {place.index}",
    )
