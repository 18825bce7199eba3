"""An encrypted volume as a `Filesystem`: POSIX semantics over the index and the file contents.

Every commit holds the whole tree as it is at that moment, so what a program did in some order is
never found in another one: a rename is never committed without the data it names.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Sequence
from typing import Final

from cloister.errors import CallerError, UnavailableError
from cloister.volume.commit import Committer
from cloister.volume.content.contents import Contents
from cloister.volume.filesystem import (
    Attributes,
    DirectoryEntry,
    SetAttributes,
    SpaceReport,
)
from cloister.volume.format import (
    MAX_FILE_BYTES,
    MAX_NAME_BYTES,
    MAX_TARGET_BYTES,
    VolumeIdentity,
)
from cloister.volume.index import Index, Inode
from cloister.volume.placement import Placement
from cloister.volume.regions import RegionClass
from cloister.volume.rekey import Rekeying
from cloister.volume.store import Store

__all__ = ["COMMIT_INTERVAL_S", "VolumeFilesystem"]

COMMIT_INTERVAL_S: Final = 0.5
_MAX_RETRY_S: Final = 5.0
_METADATA_BYTES: Final = 1024
_MAX_TIME: Final = 2**63 - 1
_log: Final = logging.getLogger(__name__)


class VolumeFilesystem:
    """One opened volume. Used from one thread; made by `opening.open_volume`."""

    def __init__(
        self,
        store: Store,
        *,
        identity: VolumeIdentity,
        index: Index,
        contents: Contents,
        committer: Committer | None,
        placement: Placement,
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
        commit_interval_s: float,
    ) -> None:
        """Take opened parts; without a committer the volume is read-only."""
        self._store = store
        self._identity = identity
        self._index = index
        self._contents = contents
        self._committer = committer
        self._placement = placement
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._interval_s = commit_interval_s
        self._retry_s = commit_interval_s
        self._due: float | None = None
        self._users: dict[int, int] = {}
        self._orphans: dict[int, Inode] = {}
        self._closed = False

    # What it is

    @property
    def identity(self) -> VolumeIdentity:
        """Volume, version and root of the newest anchored state."""
        return self._identity if self._committer is None else self._committer.identity

    @property
    def read_only(self) -> bool:
        """True where every changing call raises EROFS."""
        return self._committer is None

    def space(self) -> SpaceReport:
        """Report the space of the file system that holds the volume."""
        total, free = self._store.space()
        return SpaceReport(total, free, len(self._index.inodes))

    # Looking

    def lookup(self, parent: int, name: bytes) -> Attributes:
        """Find a name in a directory."""
        return _attributes(self._child(self._directory(parent), name))

    def attributes(self, ino: int) -> Attributes:
        """Return an inode's metadata."""
        return _attributes(self._inode(ino))

    def digest(self, ino: int) -> bytes:
        """Return the SHA-256 of a sealed file's content; empty for anything else."""
        return self._inode(ino).digest

    def protection(self, ino: int) -> RegionClass | None:
        """Return the class that a file is recorded with; None for anything but a file."""
        inode = self._inode(ino)
        if not inode.is_file:
            return None
        return RegionClass.AUTHENTICATED if inode.authenticated else RegionClass.ENCRYPTED

    def readlink(self, ino: int) -> bytes:
        """Return a symbolic link's target."""
        inode = self._inode(ino)
        if not stat.S_ISLNK(inode.mode):
            raise _os_error(errno.EINVAL)
        return inode.inline

    def list_directory(self, ino: int) -> Sequence[DirectoryEntry]:
        """Return all entries without `.` and `..`, oldest first."""
        inodes = self._index.inodes
        return [
            DirectoryEntry(name, child, stat.S_IFMT(inodes[child].mode))
            for name, child in self._directory(ino).entries.items()
        ]

    def parent_of(self, ino: int) -> int:
        """Return a directory's parent, for `..`."""
        return self._directory(ino).parent

    # Names

    def create(self, parent: int, name: bytes, mode: int, uid: int, gid: int) -> Attributes:
        """Make a regular file."""
        return self._make(parent, name, stat.S_IFREG | stat.S_IMODE(mode), uid, gid)

    def mkdir(self, parent: int, name: bytes, mode: int, uid: int, gid: int) -> Attributes:
        """Make a directory."""
        return self._make(parent, name, stat.S_IFDIR | stat.S_IMODE(mode), uid, gid)

    def symlink(self, parent: int, name: bytes, target: bytes, uid: int, gid: int) -> Attributes:
        """Make a symbolic link."""
        if not target:
            raise _os_error(errno.ENOENT)
        if len(target) > MAX_TARGET_BYTES:
            raise _os_error(errno.ENAMETOOLONG)
        return self._make(parent, name, stat.S_IFLNK | 0o777, uid, gid, target=target)

    def link(self, ino: int, parent: int, name: bytes) -> Attributes:
        """Give a file another name."""
        inode = self._inode(ino)
        directory = self._free_name(parent, name)
        if inode.is_directory:
            raise _os_error(errno.EPERM)
        if ino in self._orphans:
            raise _os_error(errno.ENOENT)
        self._placement.require_place(inode, directory, name)
        self._index.put_name(directory, name, inode)
        self._changed(inode, directory)
        return _attributes(inode)

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove a name; the file goes when its last name and last user are gone."""
        self._writable()
        directory = self._directory(parent)
        inode = self._child(directory, name)
        if inode.is_directory:
            raise _os_error(errno.EISDIR)
        self._drop(directory, name)

    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory."""
        self._writable()
        directory = self._directory(parent)
        inode = self._child(directory, name)
        if not inode.is_directory:
            raise _os_error(errno.ENOTDIR)
        if inode.entries:
            raise _os_error(errno.ENOTEMPTY)
        self._placement.require_removable(inode)
        self._drop(directory, name)

    def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, *, no_replace: bool
    ) -> None:
        """Move a name, atomically replacing what is there unless `no_replace`."""
        self._writable()
        source, target = self._directory(parent), self._directory(new_parent)
        inode = self._child(source, name)
        _require_name(new_name)
        there = target.entries.get(new_name)
        if there is not None and no_replace:
            raise _os_error(errno.EEXIST)
        if there == inode.ino:
            return
        self._require_outside(inode, target)
        if there is None:
            self._require_live(target)
        self._placement.require_move(inode, source, name, target, new_name)
        if there is not None:
            _require_replaceable(inode, self._index.inodes[there])
            self._drop(target, new_name)
        self._index.drop_name(source, name)
        self._index.put_name(target, new_name, inode)
        self._changed(inode, source, target)

    def exchange(self, parent: int, name: bytes, other_parent: int, other_name: bytes) -> None:
        """Swap two names atomically."""
        self._writable()
        one, other = self._directory(parent), self._directory(other_parent)
        inode, other_inode = self._child(one, name), self._child(other, other_name)
        if inode is other_inode:
            return
        self._require_outside(inode, other)
        self._require_outside(other_inode, one)
        self._placement.require_move(inode, one, name, other, other_name)
        self._placement.require_move(other_inode, other, other_name, one, name)
        self._index.drop_name(one, name)
        self._index.drop_name(other, other_name)
        self._index.put_name(one, name, other_inode)
        self._index.put_name(other, other_name, inode)
        self._changed(inode, other_inode, one, other)

    # Content and metadata

    def open(self, ino: int) -> None:
        """Count one more user of a file."""
        self._inode(ino)
        self._users[ino] = self._users.get(ino, 0) + 1

    def release(self, ino: int) -> None:
        """Count one user less; a file without a name goes with its last user."""
        left = self._users.get(ino, 0) - 1
        if left > 0:
            self._users[ino] = left
            return
        self._users.pop(ino, None)
        orphan = self._orphans.pop(ino, None)
        if orphan is not None:
            self._contents.discard(orphan)

    def read_into(self, ino: int, offset: int, out: memoryview) -> int:
        """Fill `out` from `offset`; return how many bytes there were, fewer only at the end."""
        inode = self._file(ino)
        if offset >= inode.size or not out:
            return 0
        return self._contents.read_into(inode, offset, out)

    def write(self, ino: int, offset: int, data: memoryview) -> int:
        """Write all of `data` at `offset`, extending with zeros where needed."""
        committer = self._writable()
        inode = self._file(ino)
        if not data:
            return 0
        if offset + len(data) > MAX_FILE_BYTES:
            raise _os_error(errno.EFBIG)
        committer.require_space(len(data))
        now = self._clock_ns()
        inode.mtime_ns = inode.ctime_ns = now
        self._index.touch(inode)
        self._note_change()
        self._contents.write(inode, offset, data)
        return len(data)

    def set_attributes(self, ino: int, change: SetAttributes) -> Attributes:
        """Change mode, owner, size (truncate or extend with zeros) or times."""
        self._writable()
        inode = self._inode(ino)
        if change.size is not None:
            self._resize(inode, change.size)
        inode.ctime_ns = self._clock_ns()
        if change.mode is not None:
            inode.mode = stat.S_IFMT(inode.mode) | stat.S_IMODE(change.mode)
        if change.uid is not None:
            inode.uid = change.uid
        if change.gid is not None:
            inode.gid = change.gid
        if change.mtime_ns is not None:
            inode.mtime_ns = _bounded(change.mtime_ns)
        if change.atime_ns is not None:
            inode.atime_ns = _bounded(change.atime_ns)
        self._index.touch(inode)
        self._note_change()
        return _attributes(inode)

    def _resize(self, inode: Inode, size: int) -> None:
        if inode.is_directory:
            raise _os_error(errno.EISDIR)
        if not inode.is_file:
            raise _os_error(errno.EINVAL)
        if size > MAX_FILE_BYTES:
            raise _os_error(errno.EFBIG)
        self._index.touch(inode)
        self._note_change()
        self._contents.resize(inode, size)
        inode.mtime_ns = self._clock_ns()

    # Commits

    def fsync(self, ino: int) -> None:
        """Return when this file's state, and the whole tree's, is committed and anchored."""
        self._inode(ino)
        self.commit()

    def commit(self) -> None:
        """Return when the tree as it is now is committed and anchored; nothing where read-only.

        Raises:
            UnavailableError: Not committed, or not known; call again.
            ReleaseDeniedError: Code `release.fenced`: another writer has taken over.
        """
        if self._committer is None or not self._committer.pending:
            return
        self._committer.commit()
        self._due = None
        self._retry_s = self._interval_s

    def tick(self) -> float:
        """Commit what has waited long enough; return seconds until the next call is useful.

        A failure that may pass is logged and tried again later, less and less often; `fsync`
        reports it. Any other failure is raised.
        """
        if self._due is None or self._committer is None:
            return self._interval_s
        left = self._due - self._monotonic()
        if left > 0:
            return left
        try:
            self.commit()
        except UnavailableError as e:
            _log.warning("timed commit failed, will try again: %s", e)
            self._due = self._monotonic() + self._retry_s
            wait, self._retry_s = self._retry_s, min(2 * self._retry_s, _MAX_RETRY_S)
            return wait
        return self._interval_s

    def rekeying(self) -> Rekeying:
        """Return what moves this volume to its newest key; nothing else may use it meanwhile.

        Raises:
            CallerError: A file is open, perhaps without a name (`caller.misuse`).
        """
        committer = self._writable()
        if self._users:
            raise CallerError("rekeying needs a volume without open files", code="caller.misuse")
        return Rekeying(
            self._index,
            self._contents,
            key_epoch=committer.key_epoch,
            journal_is_old=committer.journal_is_old,
            commit=self.commit,
        )

    def close(self) -> None:
        """Commit, anchor, and give everything back, also where committing fails."""
        if self._closed:
            return
        self._closed = True
        try:
            self.commit()
        finally:
            if self._committer is not None:
                self._committer.close()
            self._contents.close()
            self._store.close()

    # Inside

    def _make(
        self, parent: int, name: bytes, mode: int, uid: int, gid: int, *, target: bytes = b""
    ) -> Attributes:
        directory = self._free_name(parent, name)
        authenticated = self._placement.is_authenticated(directory, name, mode=mode)
        inode = self._index.add(mode, at_ns=self._clock_ns())
        inode.authenticated = authenticated
        inode.uid, inode.gid = uid, gid
        if directory.mode & stat.S_ISGID:
            inode.gid = directory.gid
            inode.mode |= stat.S_ISGID if inode.is_directory else 0
        inode.inline, inode.size = target, len(target)
        self._index.put_name(directory, name, inode)
        self._placement.added(directory, name, inode)
        self._changed(inode, directory)
        return _attributes(inode)

    def _drop(self, directory: Inode, name: bytes) -> None:
        inode = self._index.drop_name(directory, name)
        self._changed(inode, directory)
        if inode.nlink > int(inode.is_directory):
            return
        self._index.drop_inode(inode)
        self._placement.removed(inode)
        inode.nlink = 0
        if self._users.get(inode.ino):
            self._orphans[inode.ino] = inode
        else:
            self._contents.discard(inode)

    def _free_name(self, parent: int, name: bytes) -> Inode:
        committer = self._writable()
        directory = self._directory(parent)
        _require_name(name)
        if name in directory.entries:
            raise _os_error(errno.EEXIST)
        self._require_live(directory)
        committer.require_space(_METADATA_BYTES)
        return directory

    def _require_live(self, directory: Inode) -> None:
        if directory.ino in self._orphans or directory.ino not in self._index.inodes:
            raise _os_error(errno.ENOENT)

    def _require_outside(self, inode: Inode, directory: Inode) -> None:
        """Refuse to move a directory into itself or below itself."""
        if not inode.is_directory:
            return
        above = directory
        while above.ino != above.parent:
            if above is inode:
                raise _os_error(errno.EINVAL)
            above = self._inode(above.parent)
        if above is inode:
            raise _os_error(errno.EINVAL)

    def _changed(self, inode: Inode, *directories: Inode) -> None:
        now = self._clock_ns()
        inode.ctime_ns = now
        self._index.touch(inode)
        for directory in directories:
            directory.mtime_ns = directory.ctime_ns = now
            self._index.touch(directory)
        self._note_change()

    def _note_change(self) -> None:
        if self._due is None:
            self._due = self._monotonic() + self._interval_s

    def _writable(self) -> Committer:
        if self._committer is None:
            raise _os_error(errno.EROFS)
        return self._committer

    def _inode(self, ino: int) -> Inode:
        inode = self._index.inodes.get(ino) or self._orphans.get(ino)
        if inode is None:
            raise _os_error(errno.ENOENT)
        return inode

    def _file(self, ino: int) -> Inode:
        inode = self._inode(ino)
        if not inode.is_file:
            raise _os_error(errno.EISDIR if inode.is_directory else errno.EINVAL)
        return inode

    def _directory(self, ino: int) -> Inode:
        inode = self._inode(ino)
        if not inode.is_directory:
            raise _os_error(errno.ENOTDIR)
        return inode

    def _child(self, directory: Inode, name: bytes) -> Inode:
        if len(name) > MAX_NAME_BYTES:
            raise _os_error(errno.ENAMETOOLONG)
        ino = directory.entries.get(name)
        if ino is None:
            raise _os_error(errno.ENOENT)
        return self._index.inodes[ino]


def _attributes(inode: Inode) -> Attributes:
    return Attributes(
        ino=inode.ino,
        mode=inode.mode,
        size=inode.size,
        nlink=inode.nlink,
        uid=inode.uid,
        gid=inode.gid,
        mtime_ns=inode.mtime_ns,
        ctime_ns=inode.ctime_ns,
        atime_ns=inode.atime_ns,
    )


def _require_name(name: bytes) -> None:
    if len(name) > MAX_NAME_BYTES:
        raise _os_error(errno.ENAMETOOLONG)
    if not name or b"/" in name or b"\0" in name:
        raise _os_error(errno.EINVAL)
    if name in {b".", b".."}:
        raise _os_error(errno.EEXIST)


def _require_replaceable(inode: Inode, there: Inode) -> None:
    if inode.is_directory and not there.is_directory:
        raise _os_error(errno.ENOTDIR)
    if there.is_directory and not inode.is_directory:
        raise _os_error(errno.EISDIR)
    if there.entries:
        raise _os_error(errno.ENOTEMPTY)


def _bounded(time_ns: int) -> int:
    return max(-_MAX_TIME, min(time_ns, _MAX_TIME))


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
