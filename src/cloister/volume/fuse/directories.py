"""Open directories: each handle lists the directory as it was when reading began.

A listing that continues over several requests must neither skip nor repeat a name because
others were removed meanwhile, so a handle keeps the entries it started with. Going back to
offset 0 (rewinddir) lists afresh, as POSIX wants.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from errno import EBADF, EINVAL, ENFILE, ENOENT
from typing import Final

from cloister.volume.filesystem import DirectoryEntry, Filesystem
from cloister.volume.fuse.inodes import KnownInodes
from cloister.volume.fuse.replies import DirectoryPage, Presentation

__all__ = ["OpenDirectories"]

_MAX_HANDLES: Final = 65536


class OpenDirectories:
    """Handles of OPENDIR, and the pages that READDIR and READDIRPLUS answer with."""

    def __init__(self, filesystem: Filesystem, known: KnownInodes, shown: Presentation) -> None:
        """Have nothing open."""
        self._filesystem = filesystem
        self._known = known
        self._shown = shown
        self._listings: dict[int, tuple[int, Sequence[DirectoryEntry] | None]] = {}
        self._next = 1

    def __len__(self) -> int:
        """How many handles are open."""
        return len(self._listings)

    def open(self, ino: int) -> int:
        """Open a directory; it is listed when first read."""
        if len(self._listings) >= _MAX_HANDLES:
            raise OSError(ENFILE, "too many open directories")
        handle, self._next = self._next, self._next + 1
        self._listings[handle] = (ino, None)
        return handle

    def close(self, handle: int) -> None:
        """Give a handle back; an unknown one is ignored."""
        self._listings.pop(handle, None)

    def close_all(self) -> None:
        """Give all handles back."""
        self._listings.clear()

    def read(self, handle: int, offset: int, page: DirectoryPage) -> int:
        """Fill a READDIR page from entry `offset`; return its size, 0 at the end."""
        entries = self._entries(handle, offset)
        for position in range(offset, len(entries)):
            entry = entries[position]
            if not page.fits(entry.name, plus=False):
                break
            page.add(entry.name, ino=entry.ino, mode=entry.mode, cookie=position + 1)
        return page.size

    def read_plus(self, handle: int, offset: int, page: DirectoryPage) -> int:
        """Fill a READDIRPLUS page; names removed since the listing began are left out."""
        entries = self._entries(handle, offset)
        for position in range(offset, len(entries)):
            entry = entries[position]
            if not page.fits(entry.name, plus=True):
                break
            self._add_plus(self._listings[handle][0], entry, position + 1, page)
        return page.size

    def _add_plus(
        self, parent: int, entry: DirectoryEntry, cookie: int, page: DirectoryPage
    ) -> None:
        if entry.name in (b".", b".."):
            page.add_unknown(entry.name, ino=entry.ino, mode=entry.mode, cookie=cookie)
            return
        try:
            attributes = self._filesystem.lookup(parent, entry.name)
        except OSError as e:
            if e.errno != ENOENT:
                raise
            return
        self._known.remember(attributes)
        page.add_plus(entry.name, attributes=attributes, cookie=cookie, shown=self._shown)

    def _entries(self, handle: int, offset: int) -> Sequence[DirectoryEntry]:
        found = self._listings.get(handle)
        if found is None:
            raise OSError(EBADF, "no such directory handle")
        ino, entries = found
        if entries is None or offset == 0:
            entries = self._list(ino)
            self._listings[handle] = (ino, entries)
        if offset > len(entries):
            raise OSError(EINVAL, "directory offset is beyond the end")
        return entries

    def _list(self, ino: int) -> Sequence[DirectoryEntry]:
        return [
            DirectoryEntry(b".", ino, stat.S_IFDIR),
            DirectoryEntry(b"..", self._filesystem.parent_of(ino), stat.S_IFDIR),
            *self._filesystem.list_directory(ino),
        ]
