"""What a mounted file system must answer, by inode number; the seam between volume and FUSE.

`volume/tree.py` implements it over an encrypted volume, `cloister.testing` in memory; `volume/fuse`
serves either. Ordinary failures are `OSError` with an errno (ENOENT, ENOTEMPTY, ...). A
`CloisterError` means that the store itself failed: the server answers EIO (ENOSPC for
`StorageFullError`), logs the code, and keeps failing closed where the error says tampering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["ROOT_INO", "Attributes", "DirectoryEntry", "Filesystem", "SetAttributes", "SpaceReport"]

ROOT_INO: Final = 1


@dataclass(frozen=True, slots=True)
class Attributes:
    """An inode's metadata. `mode` has the file type bits; times are nanoseconds since the epoch."""

    ino: int
    mode: int
    size: int
    nlink: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    atime_ns: int


@dataclass(frozen=True, slots=True)
class SetAttributes:
    """What to change; None leaves a field alone."""

    mode: int | None = None
    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime_ns: int | None = None
    atime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One name in a directory, with its inode and the file type bits of its mode."""

    name: bytes
    ino: int
    mode: int


@dataclass(frozen=True, slots=True)
class SpaceReport:
    """Bytes in all and free, and how many files there are."""

    total_bytes: int
    free_bytes: int
    files: int


class Filesystem(Protocol):
    """Operations by inode. Implementations are used from one thread."""

    @property
    def read_only(self) -> bool:
        """True where every changing call raises EROFS."""
        ...

    def lookup(self, parent: int, name: bytes) -> Attributes:
        """Find a name in a directory."""
        ...

    def attributes(self, ino: int) -> Attributes:
        """Return an inode's metadata."""
        ...

    def set_attributes(self, ino: int, change: SetAttributes) -> Attributes:
        """Change mode, owner, size (truncate or extend with zeros) or times."""
        ...

    def readlink(self, ino: int) -> bytes:
        """Return a symbolic link's target."""
        ...

    def create(self, parent: int, name: bytes, mode: int, uid: int, gid: int) -> Attributes:
        """Make a regular file (`mode` says S_IFREG); EEXIST where the name is taken."""
        ...

    def mkdir(self, parent: int, name: bytes, mode: int, uid: int, gid: int) -> Attributes:
        """Make a directory."""
        ...

    def symlink(self, parent: int, name: bytes, target: bytes, uid: int, gid: int) -> Attributes:
        """Make a symbolic link."""
        ...

    def link(self, ino: int, parent: int, name: bytes) -> Attributes:
        """Give a file another name."""
        ...

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove a name; the file goes when its last name and last open are gone."""
        ...

    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory."""
        ...

    def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, *, no_replace: bool
    ) -> None:
        """Move a name, atomically replacing what is there unless `no_replace`."""
        ...

    def exchange(self, parent: int, name: bytes, other_parent: int, other_name: bytes) -> None:
        """Swap two names atomically (RENAME_EXCHANGE)."""
        ...

    def open(self, ino: int) -> None:
        """Count one more user of a file."""
        ...

    def release(self, ino: int) -> None:
        """Count one user less."""
        ...

    def read_into(self, ino: int, offset: int, out: memoryview) -> int:
        """Fill `out` from `offset`; return how many bytes there were, fewer only at the end."""
        ...

    def write(self, ino: int, offset: int, data: memoryview) -> int:
        """Write all of `data` at `offset`, extending with zeros where needed; return its length."""
        ...

    def fsync(self, ino: int) -> None:
        """Return when this file's state, and the whole tree's, is committed and anchored."""
        ...

    def list_directory(self, ino: int) -> Sequence[DirectoryEntry]:
        """Return all entries without `.` and `..`, in a stable order."""
        ...

    def parent_of(self, ino: int) -> int:
        """Return a directory's parent, for `..`."""
        ...

    def space(self) -> SpaceReport:
        """Report space for statfs."""
        ...

    def tick(self) -> float:
        """Do what is due (timed commits); return seconds until it should be called again."""
        ...

    def close(self) -> None:
        """Commit, anchor, and give everything back."""
        ...
