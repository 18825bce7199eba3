"""A `Filesystem` in memory: the reference that mounted behaviour and other stores are held to.

It keeps files as sparse blocks, counts users, and can be told to fail, so that tests and fuzzing
need neither a store nor keys. Nothing is durable: `fsync` and `close` only count.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from errno import EEXIST, EFBIG, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EROFS
from typing import Final

from cloister.errors import CloisterError, StorageFullError
from cloister.volume.filesystem import (
    ROOT_INO,
    Attributes,
    DirectoryEntry,
    SetAttributes,
    SpaceReport,
)

__all__ = ["MemoryFilesystem"]

_BLOCK: Final = 65536
_MAX_FILE: Final = 1 << 50
_IDLE_S: Final = 5.0


@dataclass(slots=True)
class _Node:
    ino: int
    mode: int
    uid: int
    gid: int
    times: dict[str, int]
    nlink: int = 1
    size: int = 0
    users: int = 0
    parent: int = 0
    target: bytes = b""
    names: dict[bytes, int] = field(default_factory=dict)
    blocks: dict[int, bytearray] = field(default_factory=dict)


class MemoryFilesystem:
    """Directories, files and links in dictionaries.

    Args:
        clock: Returns the time in nanoseconds since the epoch.
        capacity: Bytes of file data that fit; beyond it `StorageFullError`, as a volume has it.
        read_only: Refuse every change with EROFS.

    Attributes:
        fail_with: When set, every operation on files and names raises it.
        commits: How often `fsync` or `close` was called.
        closed: Whether `close` was called.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], int],
        capacity: int = 1 << 40,
        read_only: bool = False,
    ) -> None:
        """Start with an empty root directory."""
        self._clock = clock
        self._capacity = capacity
        self._read_only = read_only
        self._used_blocks = 0
        self._next = ROOT_INO + 1
        self._nodes = {ROOT_INO: self._node(ROOT_INO, stat.S_IFDIR | 0o755, 0, 0)}
        self._nodes[ROOT_INO].nlink = 2
        self._nodes[ROOT_INO].parent = ROOT_INO
        self.fail_with: CloisterError | None = None
        self.commits = 0
        self.closed = False

    @property
    def read_only(self) -> bool:
        """True where every changing call raises EROFS."""
        return self._read_only

    @property
    def live_inodes(self) -> int:
        """How many inodes exist, unlinked ones still in use included."""
        return len(self._nodes)

    def lookup(self, parent: int, name: bytes) -> Attributes:
        """Find a name in a directory."""
        return _attributes(self._child(self._directory(parent), name))

    def attributes(self, ino: int) -> Attributes:
        """Return an inode's metadata."""
        return _attributes(self._get(ino))

    def set_attributes(self, ino: int, change: SetAttributes) -> Attributes:
        """Change mode, owner, size (truncate or extend with zeros) or times."""
        node = self._changing(ino)
        if change.size is not None:
            self._resize(node, change.size)
        if change.mode is not None:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(change.mode)
        node.uid = node.uid if change.uid is None else change.uid
        node.gid = node.gid if change.gid is None else change.gid
        self._touch(node, "c")
        if change.mtime_ns is not None:
            node.times["m"] = change.mtime_ns
        if change.atime_ns is not None:
            node.times["a"] = change.atime_ns
        return _attributes(node)

    def readlink(self, ino: int) -> bytes:
        """Return a symbolic link's target."""
        node = self._get(ino)
        if not stat.S_ISLNK(node.mode):
            raise OSError(EINVAL, "not a symbolic link")
        return node.target

    def create(self, parent: int, name: bytes, mode: int, uid: int, gid: int) -> Attributes:
        """Make a regular file; EEXIST where the name is taken."""
        kind = stat.S_IFREG | stat.S_IMODE(mode)
        return _attributes(self._add(parent, name, kind, uid, gid))

    def mkdir(self, parent: int, name: bytes, mode: int, uid: int, gid: int) -> Attributes:
        """Make a directory."""
        node = self._add(parent, name, stat.S_IFDIR | stat.S_IMODE(mode), uid, gid)
        node.nlink = 2
        node.parent = parent
        self._nodes[parent].nlink += 1
        return _attributes(node)

    def symlink(self, parent: int, name: bytes, target: bytes, uid: int, gid: int) -> Attributes:
        """Make a symbolic link."""
        node = self._add(parent, name, stat.S_IFLNK | 0o777, uid, gid)
        node.target, node.size = target, len(target)
        return _attributes(node)

    def link(self, ino: int, parent: int, name: bytes) -> Attributes:
        """Give a file another name."""
        node = self._changing(ino)
        directory = self._directory(parent)
        if stat.S_ISDIR(node.mode):
            raise OSError(EPERM, "a directory has one name")
        if node.nlink == 0:
            raise OSError(ENOENT, "the file has no name left")
        if name in directory.names:
            raise OSError(EEXIST, "name is taken")
        directory.names[name] = ino
        node.nlink += 1
        self._touch(node, "c")
        self._touch(directory, "mc")
        return _attributes(node)

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove a name; the file goes when its last name and last open are gone."""
        directory = self._directory(parent, changing=True)
        node = self._child(directory, name)
        if stat.S_ISDIR(node.mode):
            raise OSError(EISDIR, "is a directory")
        self._drop(directory, name, node)

    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory."""
        directory = self._directory(parent, changing=True)
        node = self._child(directory, name)
        self._check_empty(node)
        self._drop(directory, name, node)

    def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, *, no_replace: bool
    ) -> None:
        """Move a name, atomically replacing what is there unless `no_replace`."""
        source = self._directory(parent, changing=True)
        target = self._directory(new_parent)
        node = self._child(source, name)
        if stat.S_ISDIR(node.mode) and self._is_below(new_parent, node.ino):
            raise OSError(EINVAL, "a directory cannot move into itself")
        if new_name in target.names:
            old = self._nodes[target.names[new_name]]
            if no_replace:
                raise OSError(EEXIST, "name is taken")
            if old is node:
                return
            self._check_replaceable(node, old)
            self._drop(target, new_name, old)
        del source.names[name]
        self._place(node, target, new_name, source)

    def exchange(self, parent: int, name: bytes, other_parent: int, other_name: bytes) -> None:
        """Swap two names atomically (RENAME_EXCHANGE)."""
        one, two = self._directory(parent, changing=True), self._directory(other_parent)
        first, second = self._child(one, name), self._child(two, other_name)
        if (stat.S_ISDIR(first.mode) and self._is_below(other_parent, first.ino)) or (
            stat.S_ISDIR(second.mode) and self._is_below(parent, second.ino)
        ):
            raise OSError(EINVAL, "a directory cannot move into itself")
        self._place(first, two, other_name, one)
        self._place(second, one, name, two)

    def open(self, ino: int) -> None:
        """Count one more user of a file."""
        self._get(ino).users += 1

    def release(self, ino: int) -> None:
        """Count one user less."""
        node = self._nodes.get(ino)
        if node is None or node.users == 0:
            raise OSError(EINVAL, "file is not open")
        node.users -= 1
        self._collect(node)

    def read_into(self, ino: int, offset: int, out: memoryview) -> int:
        """Fill `out` from `offset`; return how many bytes there were, fewer only at the end."""
        node = self._file(ino)
        count = max(0, min(len(out), node.size - offset))
        done = 0
        while done < count:
            index, start = divmod(offset + done, _BLOCK)
            length = min(_BLOCK - start, count - done)
            block = node.blocks.get(index)
            piece = bytes(length) if block is None else memoryview(block)[start : start + length]
            out[done : done + length] = piece
            done += length
        return count

    def write(self, ino: int, offset: int, data: memoryview) -> int:
        """Write all of `data` at `offset`, extending with zeros where needed."""
        node = self._file(ino)
        self._changing(ino)
        if offset + len(data) > _MAX_FILE:
            raise OSError(EFBIG, "file would be too large")
        done = 0
        while done < len(data):
            index, start = divmod(offset + done, _BLOCK)
            length = min(_BLOCK - start, len(data) - done)
            self._block(node, index)[start : start + length] = data[done : done + length]
            done += length
        node.size = max(node.size, offset + len(data))
        self._touch(node, "mc")
        return len(data)

    def fsync(self, ino: int) -> None:
        """Count a commit."""
        self._get(ino)
        self.commits += 1

    def list_directory(self, ino: int) -> Sequence[DirectoryEntry]:
        """Return all entries without `.` and `..`, in the order they were made."""
        names = self._directory(ino).names
        return [
            DirectoryEntry(name, child, self._nodes[child].mode) for name, child in names.items()
        ]

    def parent_of(self, ino: int) -> int:
        """Return a directory's parent, for `..`."""
        return self._directory(ino).parent

    def space(self) -> SpaceReport:
        """Report space for statfs."""
        free = self._capacity - self._used_blocks * _BLOCK
        return SpaceReport(self._capacity, max(0, free), len(self._nodes))

    def tick(self) -> float:
        """Have nothing due."""
        return _IDLE_S

    def close(self) -> None:
        """Count a last commit."""
        self.commits += 1
        self.closed = True

    def _node(self, ino: int, mode: int, uid: int, gid: int) -> _Node:
        now = self._clock()
        return _Node(ino, mode, uid, gid, {"m": now, "c": now, "a": now})

    def _get(self, ino: int) -> _Node:
        if self.fail_with is not None:
            raise self.fail_with
        node = self._nodes.get(ino)
        if node is None:
            raise OSError(ENOENT, "no such inode")
        return node

    def _changing(self, ino: int) -> _Node:
        if self._read_only:
            raise OSError(EROFS, "file system is read-only")
        return self._get(ino)

    def _directory(self, ino: int, *, changing: bool = False) -> _Node:
        node = self._changing(ino) if changing else self._get(ino)
        if not stat.S_ISDIR(node.mode):
            raise OSError(ENOTDIR, "not a directory")
        return node

    def _file(self, ino: int) -> _Node:
        node = self._get(ino)
        if not stat.S_ISREG(node.mode):
            raise OSError(EISDIR if stat.S_ISDIR(node.mode) else EINVAL, "not a regular file")
        return node

    def _child(self, directory: _Node, name: bytes) -> _Node:
        ino = directory.names.get(name)
        if ino is None:
            raise OSError(ENOENT, "no such name")
        return self._nodes[ino]

    def _add(self, parent: int, name: bytes, mode: int, uid: int, gid: int) -> _Node:
        directory = self._directory(parent, changing=True)
        if name in directory.names:
            raise OSError(EEXIST, "name is taken")
        if directory.nlink == 0:
            raise OSError(ENOENT, "directory was removed")
        if directory.mode & stat.S_ISGID:
            gid = directory.gid
            mode |= stat.S_ISGID if stat.S_ISDIR(mode) else 0
        node = self._node(self._next, mode, uid, gid)
        self._next += 1
        self._nodes[node.ino] = node
        directory.names[name] = node.ino
        self._touch(directory, "mc")
        return node

    def _place(self, node: _Node, target: _Node, name: bytes, source: _Node) -> None:
        target.names[name] = node.ino
        if stat.S_ISDIR(node.mode):
            node.parent = target.ino
            source.nlink -= 1
            target.nlink += 1
        for touched in (source, target):
            self._touch(touched, "mc")
        self._touch(node, "c")

    def _drop(self, directory: _Node, name: bytes, node: _Node) -> None:
        del directory.names[name]
        self._touch(directory, "mc")
        self._touch(node, "c")
        if stat.S_ISDIR(node.mode):
            node.nlink = 0
            directory.nlink -= 1
        else:
            node.nlink -= 1
        self._collect(node)

    def _collect(self, node: _Node) -> None:
        if node.nlink == 0 and node.users == 0 and self._nodes.pop(node.ino, None) is not None:
            self._used_blocks -= len(node.blocks)

    def _check_empty(self, node: _Node) -> None:
        if not stat.S_ISDIR(node.mode):
            raise OSError(ENOTDIR, "not a directory")
        if node.names:
            raise OSError(ENOTEMPTY, "directory is not empty")

    def _check_replaceable(self, node: _Node, old: _Node) -> None:
        if stat.S_ISDIR(node.mode):
            self._check_empty(old)
        elif stat.S_ISDIR(old.mode):
            raise OSError(EISDIR, "a file cannot replace a directory")

    def _is_below(self, ino: int, ancestor: int) -> bool:
        while ino not in (ancestor, ROOT_INO):
            ino = self._nodes[ino].parent
        return ino == ancestor

    def _block(self, node: _Node, index: int) -> bytearray:
        block = node.blocks.get(index)
        if block is None:
            if (self._used_blocks + 1) * _BLOCK > self._capacity:
                raise StorageFullError("the memory file system is full", code="storage.full")
            self._used_blocks += 1
            block = node.blocks[index] = bytearray(_BLOCK)
        return block

    def _resize(self, node: _Node, size: int) -> None:
        if not stat.S_ISREG(node.mode):
            raise OSError(EISDIR if stat.S_ISDIR(node.mode) else EINVAL, "not a regular file")
        if size > _MAX_FILE:
            raise OSError(EFBIG, "file would be too large")
        if size < node.size:
            last, keep = divmod(size, _BLOCK)
            for index in [i for i in node.blocks if i > last or (i == last and keep == 0)]:
                del node.blocks[index]
                self._used_blocks -= 1
            if last in node.blocks:
                node.blocks[last][keep:] = bytes(_BLOCK - keep)
        node.size = size
        self._touch(node, "mc")

    def _touch(self, node: _Node, which: str) -> None:
        now = self._clock()
        for key in which:
            node.times[key] = now


def _attributes(node: _Node) -> Attributes:
    times = node.times
    return Attributes(
        node.ino, node.mode, node.size, node.nlink, node.uid, node.gid,
        times["m"], times["c"], times["a"],
    )  # fmt: skip
