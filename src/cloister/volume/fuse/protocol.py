"""The FUSE kernel protocol's bytes (`linux/fuse.h`, versions 7.31 to 7.45), in both directions.

Pure: parses requests and encodes replies, and decides nothing. Names are the header's. Requests
come from the kernel that serves the mount; it is trusted to route, not to be free of faults, so
every length is checked and garbage raises `MalformedError`, never anything else.

Layouts are in native byte order without padding: both ends run on one machine.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final, NamedTuple, TypeVar

from cloister.errors import MalformedError

__all__ = [
    "FUSE_MAJOR",
    "HEADER_BYTES",
    "MAXIMUM_MINOR",
    "MINIMUM_MINOR",
    "NAME_MAX",
    "Header",
    "InitFlag",
    "InitRequest",
    "Opcode",
    "SetattrRequest",
    "Valid",
    "fixed",
    "fixed_and_name",
    "fixed_and_two_names",
    "nothing",
    "parse_batch_forget",
    "parse_header",
    "parse_init",
    "parse_name",
    "parse_setattr",
    "parse_symlink",
    "parse_write",
]

FUSE_MAJOR: Final = 7
MINIMUM_MINOR: Final = 31
MAXIMUM_MINOR: Final = 45
NAME_MAX: Final = 255
_TARGET_MAX: Final = 4095
_WIRE_NAME_MAX: Final = 4096
_NANOSECONDS: Final = 1_000_000_000
_INSTANT_LIMIT: Final = 2**63 - 1

T = TypeVar("T")


class Opcode(IntEnum):
    """`enum fuse_opcode`."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    IOCTL = 39
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46


class InitFlag(IntFlag):
    """The INIT flags that this server asks for, `FUSE_*` in the header."""

    ASYNC_READ = 1 << 0
    ATOMIC_O_TRUNC = 1 << 3
    BIG_WRITES = 1 << 5
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    WRITEBACK_CACHE = 1 << 16
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    INIT_EXT = 1 << 30


class Valid(IntEnum):
    """Bits that say which fields of SETATTR count, `FATTR_*` in the header."""

    MODE = 1 << 0
    UID = 1 << 1
    GID = 1 << 2
    SIZE = 1 << 3
    ATIME = 1 << 4
    MTIME = 1 << 5


class Header(NamedTuple):
    """`struct fuse_in_header` without its lengths."""

    opcode: int
    unique: int
    nodeid: int
    uid: int
    gid: int


class InitRequest(NamedTuple):
    """`struct fuse_init_in`."""

    major: int
    minor: int
    max_readahead: int
    flags: int


class SetattrRequest(NamedTuple):
    """`struct fuse_setattr_in`; times in nanoseconds, only what `valid` names is meant."""

    valid: int
    size: int
    atime_ns: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int


_HEADER: Final = Struct("=IIQQIIIHH")
_INIT: Final = Struct("=IIII")
_INIT_EXTENDED_BYTES: Final = 64
_SETATTR: Final = Struct("=IIQQQqqqIIIIIIII")
_WRITE: Final = Struct("=QQIIQII")
_FORGET_COUNT: Final = Struct("=II")
_FORGET_ONE: Final = Struct("=QQ")
HEADER_BYTES: Final = _HEADER.size

Parser = Callable[[memoryview], T]


def parse_header(request: memoryview) -> Header:
    """Read the header of one request that fills `request` exactly."""
    if len(request) < HEADER_BYTES:
        raise _malformed("request is shorter than its header")
    length, opcode, unique, nodeid, uid, gid, _pid, extensions, _ = _HEADER.unpack_from(request)
    if length != len(request):
        raise _malformed("request does not have the length that its header says")
    if extensions:
        raise _malformed("request has extensions that were never agreed on")
    return Header(opcode, unique, nodeid, uid, gid)


def nothing(body: memoryview) -> tuple[()]:
    """Read a body that must be empty."""
    if len(body):
        raise _malformed("request has a body that its operation does not have")
    return ()


def fixed(layout: str) -> Parser[tuple[int, ...]]:
    """Make a parser of bodies that are one structure."""
    structure = Struct("=" + layout)

    def parse(body: memoryview) -> tuple[int, ...]:
        if len(body) != structure.size:
            raise _malformed("request body has another length than its structure")
        return structure.unpack(body)

    return parse


def fixed_and_name(layout: str) -> Parser[tuple[tuple[int, ...], bytes]]:
    """Make a parser of bodies that are one structure and a name."""
    structure = Struct("=" + layout)

    def parse(body: memoryview) -> tuple[tuple[int, ...], bytes]:
        numbers = _prefix(structure, body)
        return numbers, parse_name(body[structure.size :])

    return parse


def fixed_and_two_names(layout: str) -> Parser[tuple[tuple[int, ...], bytes, bytes]]:
    """Make a parser of bodies that are one structure and two names."""
    structure = Struct("=" + layout)

    def parse(body: memoryview) -> tuple[tuple[int, ...], bytes, bytes]:
        numbers = _prefix(structure, body)
        first, second = _strings(body[structure.size :], count=2)
        return numbers, _name(first), _name(second)

    return parse


def parse_name(body: memoryview) -> bytes:
    """Read a body that is one name ending in NUL."""
    (name,) = _strings(body, count=1)
    return _name(name)


def parse_symlink(body: memoryview) -> tuple[bytes, bytes]:
    """Read a link's name and its target, which may have slashes."""
    name, target = _strings(body, count=2)
    if not 0 < len(target) <= _TARGET_MAX:
        raise _malformed("symbolic link target is empty or too long")
    return _name(name), target


def parse_init(body: memoryview) -> InitRequest:
    """Read INIT in its short form (before 7.36) or its long one; the rest of that is ignored."""
    if len(body) not in (_INIT.size, _INIT_EXTENDED_BYTES):
        raise _malformed("INIT has an unknown length")
    return InitRequest(*_INIT.unpack_from(body))


def parse_setattr(body: memoryview) -> SetattrRequest:
    """Read SETATTR; nanoseconds must be less than a second where the time counts."""
    if len(body) != _SETATTR.size:
        raise _malformed("request body has another length than its structure")
    (
        valid, _, _, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _,
    ) = _SETATTR.unpack(body)  # fmt: skip
    if (valid & Valid.ATIME and atime_ns >= _NANOSECONDS) or (
        valid & Valid.MTIME and mtime_ns >= _NANOSECONDS
    ):
        raise _malformed("time has more than a second of nanoseconds")
    return SetattrRequest(
        valid, size, _instant(atime, atime_ns), _instant(mtime, mtime_ns), mode, uid, gid
    )


def parse_write(body: memoryview) -> tuple[int, memoryview]:
    """Read WRITE: the offset, and the data in place, not copied."""
    if len(body) < _WRITE.size:
        raise _malformed("request body is shorter than its structure")
    _, offset, size, _, _, _, _ = _WRITE.unpack_from(body)
    data = body[_WRITE.size :]
    if len(data) != size:
        raise _malformed("WRITE does not carry as many bytes as it says")
    return offset, data


def parse_batch_forget(body: memoryview) -> list[tuple[int, int]]:
    """Read BATCH_FORGET: pairs of inode and how many look-ups are forgotten."""
    count, _ = _prefix(_FORGET_COUNT, body)
    items = body[_FORGET_COUNT.size :]
    if len(items) != count * _FORGET_ONE.size:
        raise _malformed("BATCH_FORGET does not carry as many items as it says")
    return [(ino, lookups) for ino, lookups in _FORGET_ONE.iter_unpack(items)]


def _instant(seconds: int, nanoseconds: int) -> int:
    """Join a time; what 64 bits of nanoseconds cannot hold (year 2262) becomes the nearest."""
    return max(-_INSTANT_LIMIT, min(_INSTANT_LIMIT, seconds * _NANOSECONDS + nanoseconds))


def _prefix(structure: Struct, body: memoryview) -> tuple[int, ...]:
    if len(body) < structure.size:
        raise _malformed("request body is shorter than its structure")
    return structure.unpack_from(body)


def _strings(body: memoryview, *, count: int) -> list[bytes]:
    if not 0 < len(body) <= count * _WIRE_NAME_MAX or body[-1] != 0:
        raise _malformed("names are missing, too long or do not end in NUL")
    parts = bytes(body[:-1]).split(b"\0")
    if len(parts) != count:
        raise _malformed("request has another number of names than its operation")
    return parts


def _name(name: bytes) -> bytes:
    if name in (b"", b".", b"..") or b"/" in name:
        raise _malformed("name is not one that a directory entry can have")
    return name


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"FUSE request: {problem}", code="message.malformed")
