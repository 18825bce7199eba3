"""The kernel's side of the FUSE protocol, as bytes: builds requests and reads replies.

Written from `linux/fuse.h` apart from `volume/fuse/protocol.py`, so that a mistake in one is
not repeated in the other. Small and literal on purpose.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

__all__ = ["Entry", "Reply", "batch_forget", "init", "read", "request", "setattr_body", "write"]

INIT, READ, WRITE = 26, 15, 16
ALL_FLAGS: Final = 0x7FFFFFFF
_ERRNO_LIMIT: Final = 512


@dataclass(frozen=True, slots=True)
class Entry:
    """`struct fuse_entry_out`, the parts that tests look at."""

    nodeid: int
    entry_valid: int
    attr_valid: int
    size: int
    mode: int
    nlink: int
    uid: int
    gid: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: the errno that it carries (0 for none), which request, and its body."""

    errno: int
    unique: int
    body: bytes

    @classmethod
    def parse(cls, data: bytes | memoryview) -> Reply:
        """Read a reply that must have exactly the length that it says."""
        length, error, unique = struct.unpack_from("=IiQ", data)
        if length != len(data) or not -_ERRNO_LIMIT < error <= 0:
            msg = "the kernel would refuse this reply"
            raise ValueError(msg)
        return cls(-error, unique, bytes(data[16:]))

    def entry(self) -> Entry:
        """Read the body's `fuse_entry_out`."""
        nodeid, _, entry_valid, attr_valid, _, _ = struct.unpack_from("=QQQQII", self.body)
        return _attr(self.body, 40, nodeid, entry_valid, attr_valid)

    def attributes(self) -> Entry:
        """Read a `fuse_attr_out`."""
        attr_valid, _, _ = struct.unpack_from("=QII", self.body)
        (ino,) = struct.unpack_from("=Q", self.body, 16)
        return _attr(self.body, 16, ino, 0, attr_valid)

    def handle(self) -> int:
        """Read the handle of a `fuse_open_out`."""
        return int(struct.unpack_from("=Q", self.body)[0])

    def entries(self, *, plus: bool) -> list[tuple[bytes, int, int]]:
        """Read a directory page: (name, inode, offset of the next) for each."""
        found, at = [], 0
        while at < len(self.body):
            start = at + (128 if plus else 0)
            ino, offset, length, _ = struct.unpack_from("=QQII", self.body, start)
            found.append((self.body[start + 24 : start + 24 + length], ino, offset))
            at = start + (24 + length + 7) // 8 * 8
        return found


def _attr(body: bytes, at: int, nodeid: int, entry_valid: int, attr_valid: int) -> Entry:
    fields = struct.unpack_from("=QQQQQQIIIIIIIIII", body, at)
    _, size, _, _, mtime, _, _, mtime_ns, _, mode, nlink, uid, gid, _, _, _ = fields
    instant = mtime * 10**9 + mtime_ns
    return Entry(nodeid, entry_valid, attr_valid, size, mode, nlink, uid, gid, instant)


def request(
    opcode: int, body: bytes = b"", *, node: int = 1, unique: int = 7, uid: int = 0, gid: int = 0
) -> memoryview:
    """Build one request."""
    header = struct.pack("=IIQQIIIHH", 40 + len(body), opcode, unique, node, uid, gid, 1234, 0, 0)
    return memoryview(bytearray(header + body))


def init(*, major: int = 7, minor: int = 45, flags: int = ALL_FLAGS) -> memoryview:
    """Build INIT as kernels since 7.36 send it."""
    body = struct.pack("=IIIII44x", major, minor, 131072, flags, 0)
    return request(INIT, body)


def read(node: int, offset: int, size: int, *, handle: int = 0, opcode: int = READ) -> memoryview:
    """Build READ, READDIR or READDIRPLUS."""
    return request(opcode, struct.pack("=QQIIQII", handle, offset, size, 0, 0, 0, 0), node=node)


def write(node: int, offset: int, data: bytes) -> memoryview:
    """Build WRITE."""
    body = struct.pack("=QQIIQII", 0, offset, len(data), 0, 0, 0, 0)
    return request(WRITE, body + data, node=node)


def setattr_body(
    valid: int,
    *,
    size: int = 0,
    mode: int = 0,
    uid: int = 0,
    gid: int = 0,
    atime: tuple[int, int] = (0, 0),
    mtime: tuple[int, int] = (0, 0),
) -> bytes:
    """Build the body of SETATTR; times are (seconds, nanoseconds)."""
    head = struct.pack("=IIQQQ", valid, 0, 0, size, 0)
    times = struct.pack("=qqqIII", atime[0], mtime[0], 0, atime[1], mtime[1], 0)
    return head + times + struct.pack("=IIIII", mode, 0, uid, gid, 0)


def batch_forget(items: list[tuple[int, int]]) -> memoryview:
    """Build BATCH_FORGET from (inode, look-ups)."""
    body = struct.pack("=II", len(items), 0) + b"".join(struct.pack("=QQ", *i) for i in items)
    return request(42, body)
