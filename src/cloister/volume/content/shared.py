"""What all files of one open volume share: blocks, the pack, and bounded memory.

The pack is one backing file for the single block of every small file, in granules of 4 KiB: a
thousand small files are then one file to make durable instead of a thousand.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cloister.volume.content.blocks import BlockFile, Blocks, pointer_parts
from cloister.volume.content.space import SpaceMap
from cloister.volume.content.table import PageBudget
from cloister.volume.format import Geometry

__all__ = ["PACK_PATH", "BufferPool", "RecentBlocks", "Shared"]

PACK_PATH: Final = "objects/pack"
_RECENT_BLOCKS: Final = 32
_SPARE_BUFFERS: Final = 64

BlockKey = tuple[int, int]


class BufferPool:
    """Block buffers that are used again instead of allocated again."""

    def __init__(self, block_bytes: int) -> None:
        """Allocate nothing yet."""
        self._block_bytes = block_bytes
        self._spare: list[bytearray] = []

    def take(self) -> bytearray:
        """Return a block of memory with unspecified content."""
        return self._spare.pop() if self._spare else bytearray(self._block_bytes)

    def give(self, buffer: bytearray) -> None:
        """Take a block of memory back."""
        if len(self._spare) < _SPARE_BUFFERS:
            self._spare.append(buffer)


class RecentBlocks:
    """The plaintext of the last few blocks that were read in part."""

    def __init__(self, buffers: BufferPool) -> None:
        """Begin empty."""
        self._buffers = buffers
        self._blocks: OrderedDict[BlockKey, bytearray] = OrderedDict()

    def get(self, key: BlockKey) -> bytearray | None:
        """Return a block if it is here."""
        found = self._blocks.get(key)
        if found is not None:
            self._blocks.move_to_end(key)
        return found

    def put(self, key: BlockKey) -> bytearray:
        """Return memory, kept under this key, that the caller fills."""
        buffer = self._buffers.take()
        self.keep(key, buffer)
        return buffer

    def keep(self, key: BlockKey, buffer: bytearray) -> None:
        """Keep a filled buffer; the one not used for longest leaves."""
        self.drop(key)
        self._blocks[key] = buffer
        if len(self._blocks) > _RECENT_BLOCKS:
            self._buffers.give(self._blocks.popitem(last=False)[1])

    def take(self, key: BlockKey) -> bytearray | None:
        """Hand a block over to the caller."""
        return self._blocks.pop(key, None)

    def drop(self, key: BlockKey) -> None:
        """Forget a block that is no longer what is stored."""
        buffer = self._blocks.pop(key, None)
        if buffer is not None:
            self._buffers.give(buffer)

    def drop_between(self, ino: int, first: int, end: int) -> None:
        """Forget a file's blocks from `first` up to `end`."""
        for key in [key for key in self._blocks if key[0] == ino and first <= key[1] < end]:
            self.drop(key)


class Shared:
    """The parts that every `FileContent` of one volume uses."""

    def __init__(self, blocks: Blocks, geometry: Geometry) -> None:
        """Put the parts together."""
        self.blocks = blocks
        self.geometry = geometry
        self.budget = PageBudget()
        self.buffers = BufferPool(geometry.block)
        self.recent = RecentBlocks(self.buffers)
        self.pack = BlockFile(PACK_PATH, geometry.granule)
        self.dirty_blocks = 0
        self.spaces: dict[str, tuple[BlockFile, SpaceMap]] = {}
        self._touched: set[str] = set()
        self.doomed: list[BlockFile] = []
        self._pack_space = SpaceMap(0)

    def claim_packed(self, pointer: bytes) -> None:
        """Note, while loading, where a small file lies."""
        self._pack_space.claim(*self._packed_units(pointer))

    def load_pack(self) -> None:
        """Ask for the pack's length before pointers into it are claimed."""
        self._pack_space = SpaceMap(-(-self.blocks.size(self.pack) // self.pack.unit))

    def pack_space(self) -> SpaceMap:
        """Return the pack's map, to take from it."""
        self.touch(self.pack, self._pack_space)
        return self._pack_space

    def release_packed(self, pointer: bytes) -> None:
        """Release what a pointer into the pack names."""
        self.pack_space().release(*self._packed_units(pointer))

    def doom(self, file: BlockFile) -> None:
        """Have a backing file deleted once no state that may be opened needs it."""
        self.doomed.append(file)

    def touch(self, file: BlockFile, space: SpaceMap) -> None:
        """Keep this map, whatever else is forgotten, until its changes have settled."""
        self._touched.add(file.path)
        self.spaces[file.path] = (file, space)

    def settle(self) -> list[tuple[BlockFile, SpaceMap]]:
        """Return the maps touched since the last call; they are kept until `settled`."""
        found = [self.spaces[path] for path in sorted(self._touched)]
        self._touched.clear()
        return found

    def settled(self, file: BlockFile) -> None:
        """Let go of a map that has nothing left to settle."""
        if file.path not in self._touched:
            self.spaces.pop(file.path, None)

    def _packed_units(self, pointer: bytes) -> tuple[int, int]:
        slot, length = pointer_parts(pointer)
        return slot, -(-length // self.geometry.granule)
