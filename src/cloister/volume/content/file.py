"""One file's bytes: what is sealed in blocks, and what is newer and still in memory.

Invariants:
    1. A block in memory (`dirty`) is newer than its sealed form, and is a whole block.
    2. Every byte of a block behind the end of the file is zero.
    3. A file of at most one block lies inline or in the shared pack; when it outgrows that, it
       moves to a backing file of its own, and returns only by being emptied.
    4. An authenticated file never lies inline: the host may read it. By 2 its blocks hold nothing
       else. Table pages are encrypted in any case.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cloister.crypto.kdf import random_bytes
from cloister.volume.content.blocks import BlockFile, BlockPlace, sessions_in
from cloister.volume.content.shared import Shared
from cloister.volume.content.space import SpaceMap
from cloister.volume.content.table import Table, release_all
from cloister.volume.format import POINTER_BYTES
from cloister.volume.index import NO_OBJECT, OBJECT_ID_BYTES, Inode

__all__ = ["FileContent", "object_file"]

_MAX_DIRTY_PAGES: Final = 128
_NO_END: Final = 2**63
_REMEMBERED_NAMES: Final = 512


@lru_cache(_REMEMBERED_NAMES)
def object_file(object_id: bytes, *, block_bytes: int) -> BlockFile:
    """Return the backing file with this identifier."""
    name = object_id.hex()
    return BlockFile(f"objects/{name[:2]}/{name}", block_bytes)


class FileContent:
    """The bytes of one regular file of an open volume."""

    def __init__(self, inode: Inode, shared: Shared) -> None:
        """Read nothing yet."""
        self.inode = inode
        self._shared = shared
        self.dirty: dict[int, bytearray] = {}
        self._space: SpaceMap | None = None
        self._table: Table | None = None
        if inode.object_id != NO_OBJECT:
            self._table = self._new_table()

    # Reading

    def read_into(self, offset: int, out: memoryview) -> int:
        """Fill `out` from `offset`; return how many bytes there were."""
        block = self._shared.geometry.block
        end = min(offset + len(out), self.inode.size)
        position = offset
        while position < end:
            index, within = divmod(position, block)
            left = end - position
            if within or left < block or index in self.dirty or self._table is None:
                count = min(left, block - within)
                source = self._block(index)
                at = position - offset
                out[at : at + count] = memoryview(source)[within : within + count]
            else:
                count = self._read_whole(index, left // block, out[position - offset :])
            position += count
        return max(position - offset, 0)

    def _read_whole(self, index: int, blocks: int, out: memoryview) -> int:
        table = self._own_table()
        if self.dirty:
            blocks = next((n for n in range(1, blocks) if index + n in self.dirty), blocks)
        packed = table.slice(index, blocks)
        count = len(packed) // POINTER_BYTES * self._shared.geometry.block
        place = self._place(index)
        self._shared.blocks.read(self._file(), place, packed, out[:count])
        return count

    def _block(self, index: int) -> bytearray:
        """Return one whole block's plaintext, to be read only."""
        found = self.dirty.get(index)
        if found is not None:
            return found
        key = (self.inode.ino, index)
        cached = self._shared.recent.get(key)
        if cached is None:
            cached = self._shared.recent.put(key)
            try:
                self._load(index, cached)
            except BaseException:
                self._shared.recent.drop(key)
                raise
        return cached

    def _load(self, index: int, into: bytearray) -> None:
        inode = self.inode
        view = memoryview(into)
        if self._table is None and not inode.pointers:
            count = len(inode.inline) if not index else 0
            view[:count] = inode.inline[:count]
            view[count:] = bytes(len(view) - count)
            return
        packed = inode.pointers
        if self._table is not None:
            packed = self._table.slice(index, 1)
        elif index:
            packed = bytes(POINTER_BYTES)
        place = self._place(index)
        self._shared.blocks.read(self._file(), place, packed, view)

    # Writing

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of `data`; on an error, what was written up to there is the file's end."""
        block = self._shared.geometry.block
        end = offset + len(data)
        if end > block and self._table is None:
            self._move_out()
        position = offset
        try:
            while position < end:
                index, within = divmod(position, block)
                left = end - position
                at = position - offset
                if within or left < block or self._table is None:
                    count = min(left, block - within)
                    buffer = self.editable(index)
                    buffer[within : within + count] = data[at : at + count]
                else:
                    count = min(left // block, self._shared.blocks.batch) * block
                    count = self._write_whole(index, data[at : at + count])
                position += count
        finally:
            self.inode.size = max(self.inode.size, position)

    def _write_whole(self, index: int, data: memoryview) -> int:
        block = self._shared.geometry.block
        space = self._own_space()
        slot, count = space.take(len(data) // block, whole=False)
        views = [data[n * block : (n + 1) * block] for n in range(count)]
        place = self._place(index)
        try:
            packed = self._shared.blocks.write(self._file(), place, slot, views)
        except BaseException:
            space.release(slot, count)
            raise
        self._point(index, packed)
        for number in range(index, index + count) if self.dirty else ():
            self._discard_buffer(number)
        self._shared.recent.drop_between(self.inode.ino, index, index + count)
        return count * block

    def editable(self, index: int) -> bytearray:
        """Return one block's buffer that differs from its sealed form from now on."""
        found = self.dirty.get(index)
        if found is None:
            key = (self.inode.ino, index)
            found = self._shared.recent.take(key)
            if found is None:
                found = self._shared.buffers.take()
                try:
                    self._load(index, found)
                except BaseException:
                    self._shared.buffers.give(found)
                    raise
            self.dirty[index] = found
            self._shared.dirty_blocks += 1
        return found

    def resize(self, size: int) -> None:
        """Cut the file, or extend it with zeros."""
        block = self._shared.geometry.block
        inode = self.inode
        if size == inode.size:
            return
        if not size:
            self.clear()
            return
        if self._table is None and size > block:
            self._move_out()
        if self._table is None:
            buffer = self.editable(0)
            buffer[size:] = bytes(block - size)
        elif size < inode.size:
            self._cut(size)
        inode.size = size

    def _cut(self, size: int) -> None:
        block = self._shared.geometry.block
        keep, tail = divmod(size, block)
        if tail:
            buffer = self.editable(keep)
            buffer[tail:] = bytes(block - tail)
            keep += 1
        for index in [index for index in self.dirty if index >= keep]:
            self._discard_buffer(index)
        self._shared.recent.drop_between(self.inode.ino, keep, _NO_END)
        blocks = self._shared.geometry.blocks(self.inode.size)
        self._own_table().cut(keep, blocks, self._own_space())

    def clear(self) -> None:
        """Drop all content; what was sealed leaves after the next commit."""
        inode = self.inode
        for index in list(self.dirty):
            self._discard_buffer(index)
        self._shared.recent.drop_between(inode.ino, 0, _NO_END)
        if self._table is not None:
            self._table.forget()
            self._table = None
            self._shared.doom(self._file())
            self._space = None
        else:
            self._release_packed()
        inode.object_id, inode.height = NO_OBJECT, 0
        inode.pointers, inode.inline, inode.size = b"", b"", 0

    # To the store

    def flush(self) -> None:
        """Seal what is newer in memory; nothing is durable or committed by that."""
        if self._table is None:
            self._flush_small()
            return
        self._flush_own()
        self._table.flush(self._own_space())
        self.inode.height = self._table.height
        self.inode.pointers = self._table.export()

    def _flush_small(self) -> None:
        buffer = self.dirty.get(0)
        inode = self.inode
        if buffer is None:
            return
        if inode.size <= self._shared.geometry.inline and not inode.authenticated:
            self._release_packed()
            inode.inline = bytes(buffer[: inode.size])
        else:
            inode.pointers, old = self._seal_packed(buffer), inode.pointers
            inode.inline = b""
            if old:
                self._shared.release_packed(old)
        self._retire(0)

    def _seal_packed(self, buffer: bytearray) -> bytes:
        geometry = self._shared.geometry
        view = memoryview(buffer)[: geometry.stored_length(self.inode.size)]
        space = self._shared.pack_space()
        units = len(view) // geometry.granule
        slot, _ = space.take(units, whole=True)
        try:
            place = self._place(0)
            return self._shared.blocks.write(self._shared.pack, place, slot, [view])
        except BaseException:
            space.release(slot, units)
            raise

    def _flush_own(self) -> None:
        geometry = self._shared.geometry
        indices = sorted(self.dirty)
        space = self._own_space()
        while indices:
            first = indices[0]
            want = 1
            limit = min(len(indices), self._shared.blocks.batch)
            while want < limit and indices[want] == first + want:
                want += 1
            slot, count = space.take(want, whole=False)
            views = [memoryview(self.dirty[first + n]) for n in range(count)]
            plain = self.inode.size - (first + count - 1) * geometry.block
            views[-1] = views[-1][: geometry.stored_length(plain)]
            place = self._place(first)
            try:
                packed = self._shared.blocks.write(self._file(), place, slot, views)
            except BaseException:
                space.release(slot, count)
                raise
            self._point(first, packed)
            for index in indices[:count]:
                self._retire(index)
            del indices[:count]

    # Under a newer key

    def stale_blocks(self, first: int, end_session: int) -> tuple[int, int] | None:
        """Find consecutive blocks from `first` whose sealed form is of an older session.

        Returns:
            The first of them and how many; None where there are no more. A block that is newer in
            memory counts as well: its sealed form is what was committed.
        """
        blocks = self._shared.geometry.blocks(self.inode.size)
        if self._table is not None:
            found = self._table.stale_blocks(first, blocks, end_session)
            return found and (found[0], min(found[1], self._shared.blocks.batch))
        for session in sessions_in(self.inode.pointers):
            if session is not None and session < end_session and not first:
                return 0, 1
        return None

    def reseal(self, first: int, count: int) -> None:
        """Have blocks sealed again, at once or with the next flush; their content stays."""
        block = self._shared.geometry.block
        whole = min(count, self.inode.size // block - first)
        inside = [index for index in range(first, first + count) if index in self.dirty]
        if self._table is None or inside or whole < count:
            for index in range(first, first + count):
                self.editable(index)
            return
        buffer = memoryview(bytearray(whole * block))
        done = 0
        while done < len(buffer):
            done += self._read_whole(first + done // block, whole - done // block, buffer[done:])
        done = 0
        while done < len(buffer):
            done += self._write_whole(first + done // block, buffer[done:])

    def reseal_pages(self, end_session: int) -> bool:
        """Seal table pages of older sessions again; tell whether there were any."""
        if self._table is None:
            return False
        blocks = self._shared.geometry.blocks(self.inode.size)
        found = False
        while self._table.touch_stale_pages(blocks, end_session, limit=_MAX_DIRTY_PAGES):
            self.flush()
            found = True
        return found

    # Inside

    def _point(self, first: int, packed: bytes) -> None:
        table = self._own_table()
        space = self._own_space()
        while packed:
            old = table.put(first, packed)
            release_all(old, space)
            first += len(old) // POINTER_BYTES
            packed = packed[len(old) :]
        if table.dirty_pages > _MAX_DIRTY_PAGES:
            table.flush(space)
            self.inode.height, self.inode.pointers = table.height, table.export()

    def _move_out(self) -> None:
        """Give the file a backing file of its own; its one block becomes dirty."""
        inode = self.inode
        if inode.size:
            self.editable(0)
        object_id = random_bytes(OBJECT_ID_BYTES)
        file = object_file(object_id, block_bytes=self._shared.geometry.block)
        self._shared.blocks.create(file)
        self._release_packed()
        inode.object_id, inode.inline, inode.pointers, inode.height = object_id, b"", b"", 0
        self._table = self._new_table()
        self._space = SpaceMap(0)

    def _release_packed(self) -> None:
        if self.inode.pointers:
            self._shared.release_packed(self.inode.pointers)
            self.inode.pointers = b""

    def _own_space(self) -> SpaceMap:
        """Return the map of free slots, found by reading the table where it is not known yet."""
        file = self._file()
        if self._space is None:
            kept = self._shared.spaces.get(file.path)
            self._space = kept[1] if kept is not None else self._find_space(file)
        self._shared.touch(file, self._space)
        return self._space

    def _find_space(self, file: BlockFile) -> SpaceMap:
        space = SpaceMap(-(-self._shared.blocks.size(file) // file.unit))
        self._own_table().claim(space, self._shared.geometry.blocks(self.inode.size))
        return space

    def _own_table(self) -> Table:
        if self._table is None:
            self._table = self._new_table()
        return self._table

    def _new_table(self) -> Table:
        inode = self.inode
        return Table(
            self._shared.blocks,
            self._shared.budget,
            self._shared.geometry,
            file=self._file(),
            ino=inode.ino,
            height=inode.height,
            pointers=inode.pointers,
        )

    def _place(self, index: int) -> BlockPlace:
        return BlockPlace(self.inode.ino, 0, index, self.inode.authenticated)

    def _file(self) -> BlockFile:
        if self.inode.object_id == NO_OBJECT:
            return self._shared.pack
        return object_file(self.inode.object_id, block_bytes=self._shared.geometry.block)

    def _discard_buffer(self, index: int) -> None:
        buffer = self.dirty.pop(index, None)
        if buffer is not None:
            self._shared.dirty_blocks -= 1
            self._shared.buffers.give(buffer)

    def _retire(self, index: int) -> None:
        """Move a flushed buffer among the recently read ones."""
        self._shared.dirty_blocks -= 1
        self._shared.recent.keep((self.inode.ino, index), self.dirty.pop(index))

    def forget(self) -> None:
        """Give memory back; only for content that is not dirty."""
        if self._table is not None:
            self._table.forget()
