"""Where a volume's bytes live: the seam between the volume and the host's file system.

Nothing behind a `Store` is trusted. `PosixStore` is a directory; `cloister.testing` has one in
memory and one that records, for crash tests. Paths are relative, made here, never from data.

Errors: a missing or odd file is `TamperedError` `volume.truncated`; a full disk is
`StorageFullError`; anything else the host answers is `UnavailableError` `volume.io`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from cloister.errors import CloisterError, StorageFullError, TamperedError, UnavailableError

__all__ = ["Buffer", "Handle", "PosixStore", "Space", "Store", "read_all", "store_error"]

Buffer = bytes | bytearray | memoryview
Space = tuple[int, int]
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_IOV_MAX: Final = 1024


class Handle(Protocol):
    """An open file of the store."""

    def read_into(self, buffers: Sequence[bytearray | memoryview], offset: int) -> None:
        """Fill all buffers from `offset`; `TamperedError` where the file ends before."""
        ...

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all buffers at `offset`, or raise with an unknown part of them written."""
        ...

    def size(self) -> int:
        """Return the file's length in bytes."""
        ...

    def truncate(self, size: int) -> None:
        """Set the file's length."""
        ...

    def sync(self) -> None:
        """Return when all that was written is durable."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


class Store(Protocol):
    """A directory of opaque files."""

    def open(self, path: str) -> Handle:
        """Open a file that must exist."""
        ...

    def create(self, path: str) -> Handle:
        """Make an empty file, or empty the one there, and its directory where missing."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; no error where there is none."""
        ...

    def names(self, directory: str) -> list[str]:
        """List a directory, sorted; empty where there is none."""
        ...

    def sync_directory(self, directory: str) -> None:
        """Return when creations and removals in this directory, and it itself, are durable."""
        ...

    def space(self) -> Space:
        """Return bytes in all and bytes free."""
        ...

    def lock(self, *, exclusive: bool) -> None:
        """Keep out a second local writer; `UnavailableError` `volume.busy` where there is one."""
        ...

    def close(self) -> None:
        """Give the lock back."""
        ...


def store_error(e: OSError, what: str) -> CloisterError:
    """Say what the caller should conclude from an error of the host."""
    if e.errno in _FULL:
        return StorageFullError("the disk that holds the volume is full", code="storage.full")
    if e.errno in _GONE:
        return TamperedError(f"a file of the volume is missing: {what}", code="volume.truncated")
    return UnavailableError(
        f"the volume's storage failed: {os.strerror(e.errno or errno.EIO)}",
        code="volume.io",
        detail=what,
    )


def read_all(store: Store, path: str, *, max_bytes: int) -> bytes:
    """Read a whole small file, at most `max_bytes` of it."""
    handle = store.open(path)
    try:
        data = bytearray(min(handle.size(), max_bytes))
        handle.read_into([data], 0)
        return bytes(data)
    finally:
        handle.close()


class PosixStore:
    """A directory on a local file system."""

    def __init__(self, directory: Path, *, writable: bool) -> None:
        """Touch nothing yet."""
        self._root = os.fspath(directory)
        self._writable = writable
        self._lock_fd = -1

    def open(self, path: str) -> Handle:
        """Open an existing regular file, never following a link in its last part."""
        return self._open(path, os.O_RDWR if self._writable else os.O_RDONLY)

    def create(self, path: str) -> Handle:
        """Make or empty a file, readable by its owner only."""
        try:
            Path(self._root, path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as e:
            raise store_error(e, path) from e
        return self._open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""
        try:
            Path(self._root, path).unlink(missing_ok=True)
        except OSError as e:
            raise store_error(e, path) from e

    def names(self, directory: str) -> list[str]:
        """List the names in a directory."""
        try:
            return sorted(os.listdir(Path(self._root, directory)))  # noqa: PTH208  # names, not paths
        except FileNotFoundError:
            return []
        except OSError as e:
            raise store_error(e, directory) from e

    def sync_directory(self, directory: str) -> None:
        """Make a directory's entries durable, and its own entry in its parent."""
        for path in {Path(self._root, directory), Path(self._root, directory).parent}:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as e:
                raise store_error(e, directory) from e
            try:
                os.fsync(fd)
            except OSError as e:
                raise store_error(e, directory) from e
            finally:
                os.close(fd)

    def space(self) -> Space:
        """Ask the file system."""
        try:
            found = os.statvfs(self._root)
        except OSError as e:
            raise store_error(e, "space") from e
        return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize

    def lock(self, *, exclusive: bool) -> None:
        """Take the advisory lock; a convenience for honest hosts, not a defence."""
        flags = os.O_RDWR | os.O_CREAT if self._writable else os.O_RDONLY
        try:
            fd = os.open(
                Path(self._root, "lock"),
                flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK,
                0o600,
            )
        except FileNotFoundError:
            return
        except OSError as e:
            raise store_error(e, "lock") from e
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError as e:
            os.close(fd)
            if e.errno not in {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}:
                raise store_error(e, "lock") from e
            raise UnavailableError(
                "another process on this machine has the volume open",
                code="volume.busy",
                hint="wait for it to finish, or stop it",
            ) from e
        self._lock_fd = fd

    def close(self) -> None:
        """Release the lock."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _open(self, path: str, flags: int) -> Handle:
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        try:
            fd = os.open(Path(self._root, path), flags, 0o600)
        except OSError as e:
            raise store_error(e, path) from e
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise TamperedError(f"not a regular file: {path}", code="volume.truncated")
        return _PosixHandle(fd, path)


class _PosixHandle:
    __slots__ = ("_fd", "_path")

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path

    def read_into(self, buffers: Sequence[bytearray | memoryview], offset: int) -> None:
        want = sum(map(len, buffers))
        try:
            if os.preadv(self._fd, buffers, offset) == want:
                return
            for buffer in buffers:
                self._fill(memoryview(buffer), offset)
                offset += len(buffer)
        except OSError as e:
            raise store_error(e, self._path) from e

    def _fill(self, view: memoryview, offset: int) -> None:
        done = 0
        while done < len(view):
            got = os.preadv(self._fd, [view[done:]], offset + done)
            if not got:
                raise TamperedError(
                    f"a file of the volume ends early: {self._path}", code="volume.truncated"
                )
            done += got

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        try:
            for first in range(0, len(buffers), _IOV_MAX):
                part = buffers[first : first + _IOV_MAX]
                want = sum(map(len, part))
                got = os.pwritev(self._fd, part, offset)
                if got != want:
                    self._rest(memoryview(b"".join(part))[got:], offset + got)
                offset += want
        except OSError as e:
            raise store_error(e, self._path) from e

    def _rest(self, view: memoryview, offset: int) -> None:
        while view:
            got = os.pwrite(self._fd, view, offset)
            view = view[got:]
            offset += got

    def size(self) -> int:
        try:
            return os.fstat(self._fd).st_size
        except OSError as e:
            raise store_error(e, self._path) from e

    def truncate(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError as e:
            raise store_error(e, self._path) from e

    def sync(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as e:
            raise store_error(e, self._path) from e

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
