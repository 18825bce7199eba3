"""How often the kernel has looked up each inode, and so how long the file must live.

A file that the kernel knows may be opened, mapped or read at any moment without asking again,
even after its last name is gone. So each known regular file is held open in the file system
from its first look-up until the kernel forgets it, and OPEN and RELEASE need not be counted.
"""

from __future__ import annotations

import stat

from cloister.volume.filesystem import ROOT_INO, Attributes, Filesystem

__all__ = ["KnownInodes"]


class KnownInodes:
    """Look-up counts by inode, and the holds that go with them."""

    def __init__(self, filesystem: Filesystem) -> None:
        """Know nothing yet."""
        self._filesystem = filesystem
        self._counts: dict[int, int] = {}
        self._held: set[int] = set()

    def __len__(self) -> int:
        """How many inodes the kernel knows, without the root."""
        return len(self._counts)

    def count(self, ino: int) -> int:
        """Return how many look-ups of an inode are not forgotten."""
        return self._counts.get(ino, 0)

    def remember(self, attributes: Attributes) -> None:
        """Count one look-up: a reply is about to name this inode."""
        ino = attributes.ino
        count = self._counts.get(ino)
        if count is None and ino != ROOT_INO and stat.S_ISREG(attributes.mode):
            self._filesystem.open(ino)
            self._held.add(ino)
        self._counts[ino] = (count or 0) + 1

    def forget(self, ino: int, lookups: int) -> None:
        """Take back `lookups`; more than were counted, or of an unknown inode, counts as all."""
        left = self._counts.get(ino, 0) - lookups
        if left > 0:
            self._counts[ino] = left
        elif self._counts.pop(ino, None) is not None:
            self._let_go(ino)

    def forget_all(self) -> None:
        """Forget everything: the mount is gone."""
        self._counts.clear()
        while self._held:
            self._let_go(next(iter(self._held)))

    def _let_go(self, ino: int) -> None:
        if ino in self._held:
            self._held.discard(ino)
            self._filesystem.release(ino)
