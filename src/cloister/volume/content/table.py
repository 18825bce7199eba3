"""Which block of a file is where: a radix tree of pointers, loaded page by page.

`height` 0: the inode's own pointers name data blocks. `height` h: they name table pages of level
h, whose pointers name pages of level h-1, and so on; level 0 is data. A page is a block like any
other, so its pointer's tag authenticates every pointer in it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Protocol

from cloister.volume.content.blocks import (
    BlockFile,
    BlockPlace,
    Blocks,
    pointers_in,
    sessions_in,
)
from cloister.volume.content.space import SpaceMap
from cloister.volume.format import (
    DIRECT_POINTERS,
    MAX_HEIGHT,
    NULL_POINTER,
    POINTER_BYTES,
    Geometry,
    malformed,
)

__all__ = ["PageBudget", "Table"]

_MAX_CLEAN_PAGES: Final = 256

PageKey = tuple[int, int]


class PageBudget:
    """Keeps all tables together to a bounded number of clean pages in memory."""

    def __init__(self, limit: int = _MAX_CLEAN_PAGES) -> None:
        """Allow `limit` clean pages."""
        self._limit = limit
        self._recent: OrderedDict[tuple[int, PageKey], _PageHolder] = OrderedDict()

    def used(self, holder: _PageHolder, key: PageKey) -> None:
        """Note that a page was used; drop the one not used for longest where there are too many."""
        entry = (id(holder), key)
        self._recent[entry] = holder
        self._recent.move_to_end(entry)
        if len(self._recent) > self._limit:
            (_, old_key), old = self._recent.popitem(last=False)
            old.drop_clean(old_key)

    def forget(self, holder: _PageHolder) -> None:
        """Forget a table that goes away."""
        for entry in [entry for entry, held in self._recent.items() if held is holder]:
            del self._recent[entry]


class _PageHolder(Protocol):
    def drop_clean(self, key: PageKey) -> None: ...


class Table:
    """The pointers of one file whose blocks lie in a backing file of its own or in the pack."""

    def __init__(
        self,
        blocks: Blocks,
        budget: PageBudget,
        geometry: Geometry,
        *,
        file: BlockFile,
        ino: int,
        height: int,
        pointers: bytes,
    ) -> None:
        """Take what the inode says; `pointers` may be shorter than the direct ones."""
        self._blocks = blocks
        self._budget = budget
        self._geometry = geometry
        self._file = file
        self._ino = ino
        self.height = height
        self._direct = bytearray(pointers.ljust(DIRECT_POINTERS * POINTER_BYTES, b"\0"))
        self._pages: dict[PageKey, bytearray] = {}
        self._dirty: set[PageKey] = set()

    @property
    def dirty_pages(self) -> int:
        """How many pages are newer than their sealed form."""
        return len(self._dirty)

    def export(self) -> bytes:
        """Return the inode's own pointers without the holes at the end. No page may be dirty."""
        packed = bytes(self._direct).rstrip(b"\0")
        count = -(-len(packed) // POINTER_BYTES)
        return bytes(self._direct[: count * POINTER_BYTES])

    def capacity(self) -> int:
        """Return how many blocks the tree can name at its present height."""
        count: int = DIRECT_POINTERS * self._geometry.fanout**self.height
        return count

    def slice(self, first: int, count: int) -> bytes:
        """Return up to `count` packed pointers from block `first`, fewer at the end of a page."""
        if first >= self.capacity():
            return bytes(min(count, self._geometry.fanout) * POINTER_BYTES)
        page, start = self._leaf(first, create=False)
        begin = start * POINTER_BYTES
        if page is None:
            room = self._geometry.fanout - start
            return bytes(min(count, room) * POINTER_BYTES)
        return bytes(page[begin : begin + count * POINTER_BYTES])

    def put(self, first: int, packed: bytes) -> bytes:
        """Set consecutive pointers from block `first`; return the ones that were there.

        All must lie in one leaf page or the packed pointers are cut; the caller sees by the length
        of what it gets back how many were set.
        """
        while first >= self.capacity():
            self._grow()
        page, start = self._leaf(first, create=True)
        if page is None:
            raise malformed("table page is missing", clause="VOL-14")
        begin = start * POINTER_BYTES
        old = bytes(page[begin : begin + len(packed)])
        page[begin : begin + len(old)] = packed[: len(old)]
        if self.height:
            self._dirty.add((1, first // self._geometry.fanout))
        return old

    def flush(self, space: SpaceMap) -> None:
        """Seal the dirty pages into fresh slots, from the leaves up."""
        for level in range(1, self.height + 1):
            for key in sorted(key for key in self._dirty if key[0] == level):
                self._flush_page(key, space)

    def claim(self, space: SpaceMap, blocks: int) -> None:
        """Note every slot that the table uses, reading each page once."""
        first = 0
        while first < min(blocks, self.capacity()):
            packed = self.slice(first, blocks - first)
            _claim_all(packed, space)
            first += len(packed) // POINTER_BYTES
        for _, _, packed in self._to_pages(blocks):
            _claim_all(packed, space)

    def stale_blocks(self, first: int, blocks: int, end_session: int) -> tuple[int, int] | None:
        """Find consecutive blocks of sessions below `end_session`; the first, and how many.

        Looks from block `first` up to `blocks`, and no further than the end of a page.
        """
        while first < min(blocks, self.capacity()):
            packed = self.slice(first, blocks - first)
            stale = [s is not None and s < end_session for s in sessions_in(packed)]
            if True in stale:
                begin = stale.index(True)
                rest = stale[begin:]
                return first + begin, rest.index(False) if False in rest else len(rest)
            first += len(stale)
        return None

    def touch_stale_pages(self, blocks: int, end_session: int, *, limit: int) -> int:
        """Have pages of sessions below `end_session` sealed again; return how many, or `limit`."""
        touched = 0
        for level, first, packed in self._to_pages(blocks):
            for number, session in enumerate(sessions_in(packed)):
                if session is None or session >= end_session or touched == limit:
                    continue
                self._page(level, first + number, create=False)
                self._dirty.add((level, first + number))
                touched += 1
        return touched

    def _to_pages(self, blocks: int) -> Iterator[tuple[int, int, bytes]]:
        """Return all pointers to pages: the level and number of the first, and the pointers."""
        if self.height:
            yield self.height, 0, bytes(self._direct)
        for level in range(self.height - 1, 0, -1):
            span = self._geometry.fanout ** (level + 1)
            for index in range(-(-blocks // span)):
                page = self._page(level + 1, index, create=False)
                if page is not None:
                    yield level, index * self._geometry.fanout, bytes(page)

    def cut(self, keep: int, blocks: int, space: SpaceMap) -> None:
        """Make holes of the blocks from `keep` up to `blocks`, releasing their slots."""
        first = keep
        end = min(blocks, self.capacity())
        while first < end:
            packed = self.slice(first, end - first)
            if packed.strip(b"\0"):
                release_all(self.put(first, bytes(len(packed))), space)
            first += len(packed) // POINTER_BYTES

    def drop_clean(self, key: PageKey) -> None:
        """Give a page's memory back unless it is dirty."""
        if key not in self._dirty:
            self._pages.pop(key, None)

    def forget(self) -> None:
        """Give all pages' memory back."""
        self._pages.clear()
        self._budget.forget(self)

    def _leaf(self, block: int, *, create: bool) -> tuple[bytearray | None, int]:
        if not self.height:
            return self._direct, block
        page, start = divmod(block, self._geometry.fanout)
        return self._page(1, page, create=create), start

    def _page(self, level: int, index: int, *, create: bool) -> bytearray | None:
        key = (level, index)
        page = self._pages.get(key)
        if page is None:
            parent, start = self._parent(level, index, create=create)
            if parent is None:
                return None
            begin = start * POINTER_BYTES
            pointer = bytes(parent[begin : begin + POINTER_BYTES])
            if pointer == NULL_POINTER and not create:
                return None
            page = bytearray(self._geometry.block)
            if pointer != NULL_POINTER:
                place = BlockPlace(self._ino, level, index)
                self._blocks.read(self._file, place, pointer, memoryview(page))
            self._pages[key] = page
        self._budget.used(self, key)
        return page

    def _parent(self, level: int, index: int, *, create: bool) -> tuple[bytearray | None, int]:
        if level == self.height:
            return (self._direct, index) if index < DIRECT_POINTERS else (None, 0)
        above, start = divmod(index, self._geometry.fanout)
        return self._page(level + 1, above, create=create), start

    def _grow(self) -> None:
        if self.height == MAX_HEIGHT:
            raise malformed("file outgrows its table", clause="VOL-14")
        fanout = self._geometry.fanout
        self.height += 1
        for first in range(0, DIRECT_POINTERS, fanout):
            part = self._direct[first * POINTER_BYTES : (first + fanout) * POINTER_BYTES]
            if part.strip(b"\0"):
                key = (self.height, first // fanout)
                self._pages[key] = bytearray(bytes(part).ljust(self._geometry.block, b"\0"))
                self._dirty.add(key)
                self._budget.used(self, key)
        self._direct = bytearray(len(self._direct))

    def _flush_page(self, key: PageKey, space: SpaceMap) -> None:
        level, index = key
        page = self._pages[key]
        parent, start = self._parent(level, index, create=True)
        if parent is None:
            raise malformed("table page has no parent", clause="VOL-14")
        used = len(page.rstrip(b"\0"))
        pointer = NULL_POINTER
        if used:
            slot, _ = space.take(1, whole=True)
            view = memoryview(page)[: self._geometry.stored_length(used)]
            try:
                place = BlockPlace(self._ino, level, index)
                pointer = self._blocks.write(self._file, place, slot, [view])
            except BaseException:
                space.release(slot, 1)
                raise
        begin = start * POINTER_BYTES
        old = bytes(parent[begin : begin + POINTER_BYTES])
        parent[begin : begin + POINTER_BYTES] = pointer
        release_all(old, space)
        self._dirty.discard(key)
        self._budget.used(self, key)
        if level < self.height:
            self._dirty.add((level + 1, index // self._geometry.fanout))


def release_all(packed: bytes, space: SpaceMap) -> None:
    """Release the slots, one unit each, of packed pointers."""
    for slot, _ in pointers_in(packed):
        space.release(slot, 1)


def _claim_all(packed: bytes, space: SpaceMap) -> None:
    for slot, _ in pointers_in(packed):
        space.claim(slot, 1)
