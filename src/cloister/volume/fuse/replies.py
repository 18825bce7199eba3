"""FUSE replies, encoded in place: every function writes into a buffer and returns how many bytes.

The other half of `protocol.py`; layouts are `linux/fuse.h`'s. Nothing here allocates per reply,
because page faults are dear inside a guest.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from cloister.volume.filesystem import Attributes, SpaceReport
from cloister.volume.fuse.protocol import NAME_MAX

__all__ = [
    "OUT_HEADER",
    "DirectoryPage",
    "InitReply",
    "Presentation",
    "put_init",
    "put_negative",
    "put_open",
    "put_space",
    "put_written",
]

OUT_HEADER: Final = Struct("=IiQ")
_ATTR: Final = Struct("=QQQqqqIIIIIIIIII")
_ENTRY: Final = Struct("=QQQQII")
_ATTR_OUT: Final = Struct("=QII")
_OPEN: Final = Struct("=QIi")
_WRITE: Final = Struct("=II")
_STATFS: Final = Struct("=QQQQQIIII24x")
_INIT: Final = Struct("=IIIIHHIIHHIIHH20x")
_DIRENT: Final = Struct("=QQII")
_BLOCK: Final = 4096
_SECTOR: Final = 512
_SECOND: Final = 1_000_000_000
_TYPE_SHIFT: Final = 12
_TYPE_MASK: Final = 0o17
ENTRY_BYTES: Final = _ENTRY.size + _ATTR.size


@dataclass(frozen=True, slots=True)
class InitReply:
    """`struct fuse_init_out`: what this server agrees to. Sizes in bytes."""

    major: int
    minor: int
    max_readahead: int
    flags: int
    max_background: int
    max_write: int
    max_pages: int


def put_init(out: memoryview, reply: InitReply) -> int:
    """Encode the answer to INIT; times have a granularity of one nanosecond."""
    _INIT.pack_into(
        out,
        0,
        reply.major,
        reply.minor,
        reply.max_readahead,
        reply.flags,
        reply.max_background,
        reply.max_background * 3 // 4,
        reply.max_write,
        1,
        reply.max_pages,
        0,
        0,
        0,
        0,
        0,
    )
    return _INIT.size


def put_open(out: memoryview, *, handle: int, flags: int) -> int:
    """Encode an open file or directory."""
    _OPEN.pack_into(out, 0, handle, flags, 0)
    return _OPEN.size


def put_written(out: memoryview, count: int) -> int:
    """Encode how much was written."""
    _WRITE.pack_into(out, 0, count, 0)
    return _WRITE.size


def put_negative(out: memoryview, *, valid_s: int) -> int:
    """Encode that there is no such name, which the kernel may remember for `valid_s`."""
    out[:ENTRY_BYTES] = bytes(ENTRY_BYTES)
    _ENTRY.pack_into(out, 0, 0, 0, valid_s, 0, 0, 0)
    return ENTRY_BYTES


def put_space(out: memoryview, space: SpaceReport) -> int:
    """Encode STATFS."""
    free = max(space.free_bytes, 0) // _BLOCK
    spare_files = 1 << 32
    _STATFS.pack_into(
        out,
        0,
        max(space.total_bytes, 0) // _BLOCK,
        free,
        free,
        space.files + spare_files,
        spare_files,
        _BLOCK,
        NAME_MAX,
        _BLOCK,
        0,
    )
    return _STATFS.size


@dataclass(frozen=True, slots=True)
class Presentation:
    """How attributes are shown to the kernel.

    Args:
        valid_s: How long the kernel may believe names and attributes, in seconds. Long, because
            a volume has one writer and every change passes through the same kernel.
        owner: (uid, gid) shown for everything, or None to show what is stored. A volume sealed
            elsewhere has owners that may not exist in the workload's user namespace.
    """

    valid_s: int
    owner: tuple[int, int] | None

    def put_attributes(self, out: memoryview, attributes: Attributes) -> int:
        """Encode the answer to GETATTR and SETATTR."""
        _ATTR_OUT.pack_into(out, 0, self.valid_s, 0, 0)
        self._put_attr(out, _ATTR_OUT.size, attributes)
        return _ATTR_OUT.size + _ATTR.size

    def put_entry(self, out: memoryview, attributes: Attributes, *, at: int = 0) -> int:
        """Encode a name's inode. The generation is 0: inode numbers are never given out twice."""
        _ENTRY.pack_into(out, at, attributes.ino, 0, self.valid_s, self.valid_s, 0, 0)
        self._put_attr(out, at + _ENTRY.size, attributes)
        return ENTRY_BYTES

    def _put_attr(self, out: memoryview, at: int, attributes: Attributes) -> None:
        a = attributes
        uid, gid = (a.uid, a.gid) if self.owner is None else self.owner
        atime, atime_ns = divmod(a.atime_ns, _SECOND)
        mtime, mtime_ns = divmod(a.mtime_ns, _SECOND)
        ctime, ctime_ns = divmod(a.ctime_ns, _SECOND)
        _ATTR.pack_into(
            out, at,
            a.ino, a.size, (a.size + _SECTOR - 1) // _SECTOR,
            atime, mtime, ctime, atime_ns, mtime_ns, ctime_ns,
            a.mode, a.nlink, uid, gid, 0, _BLOCK, 0,
        )  # fmt: skip


class DirectoryPage:
    """The answer to READDIR and READDIRPLUS, filled entry by entry until `limit` bytes."""

    def __init__(self, out: memoryview, *, limit: int) -> None:
        """Start an empty page in `out`."""
        self._out = out
        self._limit = min(limit, len(out))
        self.size = 0

    def fits(self, name: bytes, *, plus: bool) -> bool:
        """Tell whether one more entry has room."""
        return self.size + _entry_bytes(name, plus=plus) <= self._limit

    def add(self, name: bytes, *, ino: int, mode: int, cookie: int) -> None:
        """Add an entry that fits; `cookie` is where the next call continues."""
        self._put(self.size, name, ino, mode, cookie)
        self.size += _entry_bytes(name, plus=False)

    def add_plus(
        self, name: bytes, *, attributes: Attributes, cookie: int, shown: Presentation
    ) -> None:
        """Add an entry that fits, with its attributes; it counts as a look-up."""
        shown.put_entry(self._out, attributes, at=self.size)
        self._put(self.size + ENTRY_BYTES, name, attributes.ino, attributes.mode, cookie)
        self.size += _entry_bytes(name, plus=True)

    def add_unknown(self, name: bytes, *, ino: int, mode: int, cookie: int) -> None:
        """Add an entry to a READDIRPLUS page that does not count as a look-up (`.` and `..`)."""
        self._out[self.size : self.size + ENTRY_BYTES] = bytes(ENTRY_BYTES)
        self._put(self.size + ENTRY_BYTES, name, ino, mode, cookie)
        self.size += _entry_bytes(name, plus=True)

    def _put(self, at: int, name: bytes, ino: int, mode: int, cookie: int) -> None:
        _DIRENT.pack_into(self._out, at, ino, cookie, len(name), (mode >> _TYPE_SHIFT) & _TYPE_MASK)
        start = at + _DIRENT.size
        padding = bytes(-(_DIRENT.size + len(name)) % 8)
        self._out[start : start + len(name) + len(padding)] = name + padding


def _entry_bytes(name: bytes, *, plus: bool) -> int:
    plain = (_DIRENT.size + len(name) + 7) & ~7
    return plain + (ENTRY_BYTES if plus else 0)
