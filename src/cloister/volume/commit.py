"""How the tree in memory becomes the committed state, and what is done when that fails half way.

A commit is: data durable, journal entry durable, anchor moved; in that order, each only after the
one before. Invariants:

    1. At most one entry waits for the anchor. It is asked about again, with the same arguments,
       before another entry is written.
    2. Nothing that the anchored state uses is overwritten or deleted.
    3. A failure of which the outcome on disk is unknown (a failed sync) or final (fenced) ends
       this writer: every later commit raises it again, and reopening recovers.
    4. Every entry is under the newest volume key, and a segment under one key: the first entry
       under a newer key is a full one.
"""

from __future__ import annotations

import logging
from typing import Final

from cloister.errors import (
    CloisterError,
    ReleaseDeniedError,
    StorageFullError,
    UnavailableError,
)
from cloister.volume.anchor import Anchor
from cloister.volume.content.contents import Contents
from cloister.volume.format import EntryKind, VolumeIdentity
from cloister.volume.journal import JOURNAL, seal_entry, segment_path
from cloister.volume.recovery import Recovered
from cloister.volume.store import Store

__all__ = ["RESERVE", "Committer"]

RESERVE: Final = "reserve"
_RESERVE_BYTES: Final = 2**20
_ROTATE_BYTES: Final = 4 * 2**20
_ROTATE_ENTRIES: Final = 1024  # each costs a reader about 0.2 ms when the volume is opened
_ENTRY_FOR_EACH: Final = 2**16  # bytes of a full entry; large ones are written less often
_KEEP_FREE_BYTES: Final = 2 * 2**20
_CREDIT_BYTES: Final = 8 * 2**20
_log: Final = logging.getLogger(__name__)


class Committer:
    """The one writer of an open volume's journal."""

    def __init__(
        self, store: Store, recovered: Recovered, anchor: Anchor, contents: Contents
    ) -> None:
        """Take over a recovered state; `begin` comes before anything is written."""
        self._store = store
        self._superblock = recovered.superblock
        self._keys = recovered.keys
        self._index = recovered.index
        self._anchor = anchor
        self._contents = contents
        self._anchored = (recovered.anchored.version, recovered.anchored.root)
        self._head = (recovered.head.header.version, recovered.head.root)
        self._path = recovered.segment.path
        self._end = recovered.head.end
        self._full_bytes = recovered.segment.frames[0].end
        self._entries = len(recovered.segment.frames)
        self._key_epoch = recovered.head.header.key_epoch
        self._oldest_key = self._index.oldest_key(self._key_epoch)
        self._failure: CloisterError | None = None
        self._has_reserve = False
        self._full = False
        self._credit = 0
        self._handle = store.open(self._path)

    @property
    def identity(self) -> VolumeIdentity:
        """The newest anchored state."""
        return VolumeIdentity(self._superblock.volume_id, *self._anchored)

    @property
    def key_epoch(self) -> int:
        """The epoch of the volume key that everything is sealed under from now on."""
        return self._keys.epoch

    @property
    def journal_is_old(self) -> bool:
        """Whether the committed index is still sealed under an older volume key."""
        return self._key_epoch != self._keys.epoch

    @property
    def pending(self) -> bool:
        """Whether a commit would do anything."""
        return self._index.dirty or self._head != self._anchored

    def begin(self) -> None:
        """Anchor what was rolled forward, then cut and remove what belongs to no state.

        An entry found on disk may so far be in the host's memory only: it is made durable before
        the anchor hears of it.
        """
        if self._handle.size() > self._end:
            self._handle.truncate(self._end)
        self._sync_journal(new_file=True)
        self._settle()
        self._remove_other_segments()
        self._restore_reserve()

    def commit(self) -> None:
        """Return when the tree as it is now is durable and anchored.

        Raises:
            StorageFullError: Nothing changed; may be called again when there is space.
            UnavailableError: Storage or anchor failed; may be called again.
            ReleaseDeniedError: Code `release.fenced`: this writer is over.
        """
        if self._failure is not None:
            raise self._failure
        try:
            self._commit()
            self._full = False
        except StorageFullError:
            self._full = True
            if not self._has_reserve or self._failure is not None:
                raise
            self._drop_reserve()
            self._commit()
        if not self._has_reserve:
            self._restore_reserve()

    def require_space(self, count: int) -> None:
        """Refuse a change that adds `count` bytes where the disk cannot hold what is waiting.

        Raises:
            StorageFullError: The disk is full; what was accepted before can still be committed.
        """
        if self._failure is not None:
            raise self._failure
        if self._full:
            self.commit()
        if self._credit < count:
            need = count + self._contents.dirty_bytes + _KEEP_FREE_BYTES
            spare = self._store.space()[1] - need
            if spare < 0:
                raise StorageFullError(
                    "the disk that holds the volume is full", code="storage.full"
                )
            self._credit = count + min(spare // 2, _CREDIT_BYTES)
        self._credit -= count

    def close(self) -> None:
        """Close the journal without committing."""
        self._handle.close()

    def _commit(self) -> None:
        self._settle()
        if not self._index.dirty:
            return
        self._contents.flush(everything=False)
        try:
            self._contents.sync()
        except CloisterError as e:
            self._failure = e
            raise
        self._write_entry()
        self._settle()

    def _write_entry(self) -> None:
        rotate = self._is_long() or self._key_epoch != self._keys.epoch
        version = self._head[0] + 1
        pieces, root = seal_entry(
            self._keys,
            self._superblock,
            self._index.full() if rotate else self._index.delta(),
            kind=EntryKind.FULL if rotate else EntryKind.DELTA,
            version=version,
            epoch=self._anchor.epoch,
            previous=self._head[1],
        )
        if rotate:
            self._start_segment(segment_path(version), pieces)
        else:
            self._append(pieces)
        self._key_epoch = self._keys.epoch
        self._oldest_key = self._index.oldest_key(self._key_epoch)
        self._index.committed()
        self._contents.journaled()
        self._head = (version, root)

    def _is_long(self) -> bool:
        """Tell whether reading a full entry and starting anew beats one more entry."""
        added = self._end - self._full_bytes
        entries = max(_ROTATE_ENTRIES, self._full_bytes // _ENTRY_FOR_EACH)
        return self._entries >= entries or added > max(_ROTATE_BYTES, 2 * self._full_bytes)

    def _append(self, pieces: list[bytes]) -> None:
        try:
            self._handle.write(pieces, self._end)
        except StorageFullError:
            self._handle.truncate(self._end)
            raise
        self._sync_journal(new_file=False)
        self._end += sum(map(len, pieces))
        self._entries += 1

    def _start_segment(self, path: str, pieces: list[bytes]) -> None:
        handle = self._store.create(path)
        try:
            handle.write(pieces, 0)
        except StorageFullError:
            handle.close()
            self._store.remove(path)
            raise
        self._handle.close()
        self._handle, self._path = handle, path
        self._sync_journal(new_file=True)
        self._end = self._full_bytes = sum(map(len, pieces))
        self._entries = 1

    def _sync_journal(self, *, new_file: bool) -> None:
        try:
            self._handle.sync()
            if new_file:
                self._store.sync_directory(JOURNAL)
        except CloisterError as e:
            self._failure = e
            raise

    def _settle(self) -> None:
        """Move the anchor to the journal's head, where it is not there yet."""
        if self._head == self._anchored:
            return
        try:
            self._anchor.advance(
                version=self._anchored[0],
                root=self._anchored[1],
                new_version=self._head[0],
                new_root=self._head[1],
                oldest_key=self._oldest_key,
            )
        except ReleaseDeniedError as e:
            self._failure = e
            raise
        self._anchored = self._head
        self._contents.anchored()
        if self._end == self._full_bytes:
            self._remove_other_segments()

    def _remove_other_segments(self) -> None:
        for name in self._store.names(JOURNAL):
            path = f"{JOURNAL}/{name}"
            if path != self._path:
                self._store.remove(path)

    def _drop_reserve(self) -> None:
        self._store.remove(RESERVE)
        self._has_reserve = False

    def _restore_reserve(self) -> None:
        """Keep a little of the disk for commits that free space on a full one."""
        if self._store.space()[1] < 8 * _RESERVE_BYTES:
            return
        try:
            handle = self._store.create(RESERVE)
            try:
                handle.write([bytes(_RESERVE_BYTES)], 0)
            finally:
                handle.close()
            self._has_reserve = True
        except UnavailableError as e:
            _log.info("no reserve could be kept: %s", e)
