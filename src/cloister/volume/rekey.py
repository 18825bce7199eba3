"""Move a volume to its newest key: seal again, in fresh places, what older keys sealed.

Between commits this is ordinary writing, so it may be killed at any moment and be begun again: what
was committed under the newest key is found so, and passed over. Memory does not grow with the data;
the space of one stretch between commits is needed twice.

Only a pass over all pointers that finds nothing old ends it. Then the index forgets the old
sessions: from there on a pointer under an old key would not even parse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloister.volume.content.contents import Contents
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.index import Index

__all__ = ["COMMIT_BYTES", "RekeyProgress", "RekeyReport", "Rekeying"]

COMMIT_BYTES: Final = 64 * 2**20


@dataclass(slots=True)
class RekeyProgress:
    """How far it is: bytes of the tree looked at, of how many, and bytes sealed again."""

    octets: int = 0
    total: int = 0
    resealed: int = 0


@dataclass(frozen=True, slots=True)
class RekeyReport:
    """What was done: bytes sealed again, and the key epoch that all is sealed under now."""

    key_epoch: int
    resealed: int


class Rekeying:
    """One volume, open for writing, on its way to its newest key."""

    def __init__(
        self,
        index: Index,
        contents: Contents,
        *,
        key_epoch: int,
        journal_is_old: bool,
        commit: Callable[[], None],
    ) -> None:
        """Take an open volume's parts. Nobody else may change it until `run` has returned."""
        self._index = index
        self._contents = contents
        self._block = contents.block_bytes
        self._key_epoch = key_epoch
        self._journal_is_old = journal_is_old
        self._commit = commit
        self._end_session = index.sessions.first_under(key_epoch)
        self._uncommitted = 0
        self._progress = RekeyProgress()

    def run(self, *, progress: Callable[[RekeyProgress], None]) -> RekeyReport:
        """Return when nothing of the committed volume is under an older key.

        Args:
            progress: Called after each piece, at least once for each 1 MiB that is sealed again.
        """
        if self._journal_is_old:
            self._index.touch(self._index.inodes[ROOT_INO])
        if self._index.sessions.first < self._end_session:
            while self._pass(progress):
                self._commit()
            self._index.drop_sessions(self._end_session)
        self._commit()
        return RekeyReport(self._key_epoch, self._progress.resealed)

    def _pass(self, progress: Callable[[RekeyProgress], None]) -> bool:
        """Look at every pointer; seal again what is old, and tell whether there was any."""
        found = False
        files = [inode for inode in self._index.inodes.values() if inode.is_file]
        self._progress.octets, self._progress.total = 0, sum(inode.size for inode in files)
        for inode in files:
            before = self._progress.octets
            end = 0
            while run := self._contents.stale_blocks(inode, end, self._end_session):
                found = True
                first, count = run
                self._contents.reseal(inode, first, count)
                end = first + count
                reached = min(end * self._block, inode.size)
                self._progress.resealed += reached - first * self._block
                self._progress.octets = before + reached
                self._note(count * self._block)
                progress(self._progress)
            found |= self._contents.reseal_pages(inode, self._end_session)
            self._progress.octets = before + inode.size
            progress(self._progress)
        return found

    def _note(self, octets: int) -> None:
        self._uncommitted += octets
        if self._uncommitted >= COMMIT_BYTES:
            self._commit()
            self._uncommitted = 0
