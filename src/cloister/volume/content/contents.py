"""The contents of all files of one open volume, within bounded memory, and their part in a commit.

A commit calls, in this order: `flush` and `sync` (data durable), then, when the journal entry is
durable, `journaled`, then, when the anchor has moved, `anchored`. Only `anchored` gives slots and
backing files of the superseded state free.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final

from cloister.errors import UnavailableError
from cloister.volume.content.blocks import BlockFile
from cloister.volume.content.file import FileContent
from cloister.volume.content.shared import Shared
from cloister.volume.content.space import SpaceMap
from cloister.volume.index import NO_OBJECT, Index, Inode

__all__ = ["DIRTY_LIMIT_BYTES", "Contents"]

DIRTY_LIMIT_BYTES: Final = 32 * 2**20
_KEPT_FILES: Final = 512
_log: Final = logging.getLogger(__name__)


class Contents:
    """File contents by inode. Not for two threads at once."""

    def __init__(self, shared: Shared, index: Index) -> None:
        """Open no file yet."""
        self._shared = shared
        self._index = index
        self._files: OrderedDict[int, FileContent] = OrderedDict()
        self._dirty: dict[int, FileContent] = {}
        self._settling: list[tuple[BlockFile, SpaceMap]] = []
        self._doomed: list[BlockFile] = []

    def read_into(self, inode: Inode, offset: int, out: memoryview) -> int:
        """Fill `out` from `offset`; return how many bytes there were."""
        return self._file(inode).read_into(offset, out)

    def write(self, inode: Inode, offset: int, data: memoryview) -> None:
        """Write all of `data`; may seal other files' data to stay within bounds."""
        self._edited(inode).write(offset, data)
        self._keep_within_bounds()

    def resize(self, inode: Inode, size: int) -> None:
        """Cut a file, or extend it with zeros."""
        self._edited(inode).resize(size)

    def discard(self, inode: Inode) -> None:
        """Drop the content of a file whose last name and last user are gone."""
        if inode.is_file:
            self._file(inode).clear()
        self._files.pop(inode.ino, None)
        self._dirty.pop(inode.ino, None)

    @property
    def block_bytes(self) -> int:
        """The volume's block size."""
        return self._shared.geometry.block

    @property
    def dirty_bytes(self) -> int:
        """Bytes in memory that are newer than their sealed form."""
        return self._shared.dirty_blocks * self._shared.geometry.block

    def flush(self, *, everything: bool) -> None:
        """Seal what is newer in memory.

        Args:
            everything: Also of files without a name, which no commit needs.

        Raises:
            StorageFullError: What did not fit is still in memory.
        """
        for ino, content in list(self._dirty.items()):
            if everything or ino in self._index.inodes:
                content.flush()
                self._index.touch(content.inode)
                del self._dirty[ino]
        self._trim()

    def sync(self) -> None:
        """Return when everything sealed is durable."""
        self._shared.blocks.sync()

    def journaled(self) -> None:
        """Note that the tree as it is now is in the journal."""
        self._settling = self._shared.settle()
        for _, space in self._settling:
            space.journaled()
        self._doomed += self._shared.doomed
        self._shared.doomed.clear()

    def anchored(self) -> None:
        """Give free what only superseded states used."""
        doomed, self._doomed = self._doomed, []
        settling, self._settling = self._settling, []
        gone = {file.path for file in doomed}
        shorter = []
        for file, space in settling:
            if space.anchored() and file.path not in gone:
                shorter.append((file, len(space)))
            self._shared.settled(file)
        try:
            for file, units in shorter:
                self._shared.blocks.cut(file, units)
            for file in doomed:
                self._shared.blocks.remove(file)
        except UnavailableError as e:
            _log.warning("space of superseded data was not given back: %s", e)

    def stale_blocks(self, inode: Inode, first: int, end_session: int) -> tuple[int, int] | None:
        """Find consecutive blocks, from `first`, of sessions below `end_session`."""
        return self._file(inode).stale_blocks(first, end_session)

    def reseal(self, inode: Inode, first: int, count: int) -> None:
        """Have blocks sealed again under the newest key; the next commit holds that."""
        self._edited(inode).reseal(first, count)
        self._index.touch(inode)
        self._keep_within_bounds()

    def reseal_pages(self, inode: Inode, end_session: int) -> bool:
        """Seal a file's table pages of older sessions again; tell whether there were any."""
        found = self._file(inode).reseal_pages(end_session)
        if found:
            self._edited(inode)
            self._index.touch(inode)
        return found

    def claim_packed(self) -> None:
        """Learn, when a volume is opened for writing, which parts of the pack are in use."""
        self._shared.load_pack()
        for inode in self._index.inodes.values():
            if inode.pointers and inode.object_id == NO_OBJECT:
                self._shared.claim_packed(inode.pointers)

    def close(self) -> None:
        """Close all backing files."""
        self._files.clear()
        self._dirty.clear()
        self._shared.blocks.close()

    def _keep_within_bounds(self) -> None:
        if self.dirty_bytes > DIRTY_LIMIT_BYTES:
            self.flush(everything=True)

    def _edited(self, inode: Inode) -> FileContent:
        content = self._file(inode)
        self._dirty[inode.ino] = content
        return content

    def _file(self, inode: Inode) -> FileContent:
        content = self._files.get(inode.ino)
        if content is None:
            content = self._files[inode.ino] = FileContent(inode, self._shared)
            if len(self._files) > _KEPT_FILES + len(self._dirty):
                self._trim()
        else:
            self._files.move_to_end(inode.ino)
        return content

    def _trim(self) -> None:
        for ino in list(self._files):
            if len(self._files) <= _KEPT_FILES:
                return
            if ino not in self._dirty:
                self._files.pop(ino).forget()
