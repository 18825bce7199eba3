"""Each operation, as the kernel asks for it and sees it answered."""

from __future__ import annotations

import os
import stat
import struct
from errno import (
    EBADF,
    EEXIST,
    EINVAL,
    ENAMETOOLONG,
    ENOENT,
    ENOSYS,
    ENOTEMPTY,
    EOPNOTSUPP,
    EPERM,
    EROFS,
)
from itertools import count

import pytest

from cloister.errors import CloisterError
from cloister.testing import fuse_kernel
from cloister.testing.fuse_kernel import Entry, Reply
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.fuse.session import Session, SessionOptions

LONG = b"x" * 256 + b"\0"


class Kernel:
    """Asks a session what a kernel would."""

    def __init__(self, *, read_only: bool = False, owner: tuple[int, int] | None = None) -> None:
        self.filesystem = MemoryFilesystem(clock=count(1).__next__, read_only=read_only)
        self.failures: list[CloisterError] = []
        options = SessionOptions(owner=owner, valid_s=60)
        self.session = Session(self.filesystem, options=options, on_failure=self.failures.append)
        self.raw(fuse_kernel.init())

    def raw(self, request: memoryview) -> Reply:
        reply = self.session.handle(request)
        assert reply is not None
        return Reply.parse(reply)

    def ask(self, opcode: int, body: bytes = b"", *, node: int = 1, errno: int = 0) -> Reply:
        reply = self.raw(fuse_kernel.request(opcode, body, node=node, uid=5, gid=6))
        assert reply.errno == errno, os.strerror(reply.errno)
        return reply

    def create(self, name: bytes = b"f", mode: int = 0o100640) -> Entry:
        return self.ask(35, struct.pack("=IIII", 0, mode, 0, 0) + name + b"\0").entry()

    def mkdir(self, name: bytes, *, node: int = 1) -> Entry:
        return self.ask(9, struct.pack("=II", 0o755, 0) + name + b"\0", node=node).entry()

    def content(self, node: int) -> bytes:
        reply = self.raw(fuse_kernel.read(node, 0, 1 << 20))
        assert reply.errno == 0
        return reply.body


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def test_lookup_finds_counts_and_remembers_absence(kernel: Kernel) -> None:
    """A found name counts as a look-up; an absent one may be remembered as such."""
    made = kernel.create()
    found = kernel.ask(1, b"f\0").entry()
    assert (found.nodeid, found.mode, found.uid, found.gid) == (made.nodeid, 0o100640, 5, 6)
    assert kernel.session.known.count(made.nodeid) == 2
    absent = kernel.ask(1, b"g\0").entry()
    assert (absent.nodeid, absent.entry_valid) == (0, 60)
    kernel.ask(1, LONG, errno=ENAMETOOLONG)


def test_forget_lets_an_unlinked_file_go(kernel: Kernel) -> None:
    """An unlinked file can be used until the kernel forgets it."""
    node = kernel.create().nodeid
    kernel.raw(fuse_kernel.write(node, 0, b"data"))
    kernel.ask(10, b"f\0")
    assert kernel.content(node) == b"data"
    kernel.session.handle(fuse_kernel.request(2, struct.pack("=Q", 1), node=node))
    kernel.ask(3, bytes(16), node=node, errno=ENOENT)


def test_batch_forget(kernel: Kernel) -> None:
    """Several inodes are forgotten at once."""
    one, two = kernel.create(b"1").nodeid, kernel.create(b"2").nodeid
    kernel.session.handle(fuse_kernel.batch_forget([(one, 1), (two, 1)]))
    assert len(kernel.session.known) == 0


def test_create_opens_with_the_cache_kept(kernel: Kernel) -> None:
    """CREATE answers an entry and an open file whose cached pages stay."""
    reply = kernel.ask(35, struct.pack("=IIII", 0, 0o100600, 0, 0) + b"f\0")
    assert len(reply.body) == 128 + 16
    assert struct.unpack_from("=I", reply.body, 136)[0] == 2
    kernel.ask(35, struct.pack("=IIII", 0, 0o100600, 0, 0) + b"f\0", errno=EEXIST)
    kernel.ask(35, struct.pack("=IIII", 0, 0o100600, 0, 0) + LONG, errno=ENAMETOOLONG)


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])
def test_mknod_makes_regular_files_only(kernel: Kernel, kind: int) -> None:
    """Pipes, sockets and devices cannot be made."""
    body = struct.pack("=IIII", kind | 0o600, 0, 0, 0) + b"n\0"
    kernel.ask(8, body, errno=EPERM)
    kernel.ask(8, struct.pack("=IIII", 0o100600, 0, 0, 0) + b"n\0")


def test_open_and_flush_are_needless(kernel: Kernel) -> None:
    """The kernel is told that OPEN and FLUSH need not be sent; RELEASE is accepted."""
    node = kernel.create().nodeid
    kernel.ask(14, bytes(8), node=node, errno=ENOSYS)
    kernel.ask(25, bytes(24), node=node, errno=ENOSYS)
    kernel.ask(18, bytes(24), node=node)


def test_write_and_read(kernel: Kernel) -> None:
    """What was written is read back, holes as zeros, and nothing behind the end."""
    node = kernel.create().nodeid
    reply = kernel.raw(fuse_kernel.write(node, 100_000, b"data"))
    assert struct.unpack("=II", reply.body) == (4, 0)
    assert kernel.content(node) == bytes(100_000) + b"data"
    assert kernel.raw(fuse_kernel.read(node, 100_002, 100)).body == b"ta"
    assert kernel.raw(fuse_kernel.read(node, 200_000, 100)).body == b""


def test_reads_and_writes_beyond_what_was_agreed_fail(kernel: Kernel) -> None:
    """Sizes and offsets that the kernel never sends are EINVAL."""
    node = kernel.create().nodeid
    assert kernel.raw(fuse_kernel.read(node, 0, 1 << 24)).errno == EINVAL
    assert kernel.raw(fuse_kernel.read(node, 1 << 63, 1)).errno == EINVAL
    assert kernel.raw(fuse_kernel.write(node, 2**63 - 2, b"data")).errno == EINVAL


def test_setattr_changes_what_is_marked(kernel: Kernel) -> None:
    """Only marked fields change; the file type never does."""
    node = kernel.create().nodeid
    body = fuse_kernel.setattr_body(1, mode=0o777, uid=77, size=9)
    found = kernel.ask(4, body, node=node).attributes()
    assert (found.mode, found.uid, found.size) == (0o100777, 5, 0)
    body = fuse_kernel.setattr_body(2 | 4 | 8 | 32, uid=77, gid=78, size=9, mtime=(3, 4))
    found = kernel.ask(4, body, node=node).attributes()
    assert (found.uid, found.gid, found.size, found.mtime_ns) == (77, 78, 9, 3_000_000_004)
    kernel.ask(4, fuse_kernel.setattr_body(8, size=1 << 63), node=node, errno=EINVAL)


def test_setattr_of_nothing_changes_nothing(kernel: Kernel) -> None:
    """A request without any field we keep is answered without a change."""
    node = kernel.create().nodeid
    before = kernel.filesystem.attributes(node)
    kernel.ask(4, fuse_kernel.setattr_body(1 << 10), node=node)
    assert kernel.filesystem.attributes(node) == before


def test_one_owner_for_everything() -> None:
    """Where one owner is shown, changing to another is refused and to the same does nothing."""
    kernel = Kernel(owner=(1, 2))
    made = kernel.create()
    assert (made.uid, made.gid) == (1, 2)
    kernel.ask(4, fuse_kernel.setattr_body(2, uid=3), node=made.nodeid, errno=EPERM)
    kernel.ask(4, fuse_kernel.setattr_body(4, gid=3), node=made.nodeid, errno=EPERM)
    kernel.ask(4, fuse_kernel.setattr_body(6, uid=1, gid=2), node=made.nodeid)
    assert kernel.filesystem.attributes(made.nodeid).uid == 5


def test_symbolic_links(kernel: Kernel) -> None:
    """A link is made, shown as such, and read."""
    made = kernel.ask(6, b"s\0/some/where\0").entry()
    assert stat.S_ISLNK(made.mode)
    assert kernel.ask(5, node=made.nodeid).body == b"/some/where"
    kernel.ask(5, node=1, errno=EINVAL)
    kernel.ask(6, LONG + b"t\0", errno=ENAMETOOLONG)


def test_hard_links(kernel: Kernel) -> None:
    """A second name is the same inode."""
    made = kernel.create()
    other = kernel.ask(13, struct.pack("=Q", made.nodeid) + b"g\0").entry()
    assert (other.nodeid, other.nlink) == (made.nodeid, 2)
    kernel.ask(13, struct.pack("=Q", made.nodeid) + LONG, errno=ENAMETOOLONG)


def test_directories(kernel: Kernel) -> None:
    """Directories are made, refuse to go while full, and go."""
    made = kernel.mkdir(b"d")
    assert stat.S_ISDIR(made.mode)
    kernel.mkdir(b"e", node=made.nodeid)
    kernel.ask(11, b"d\0", errno=ENOTEMPTY)
    kernel.ask(11, b"e\0", node=made.nodeid)
    kernel.ask(11, b"d\0")
    kernel.ask(9, bytes(8) + LONG, errno=ENAMETOOLONG)


def test_rename_in_its_three_ways(kernel: Kernel) -> None:
    """Renaming replaces, refuses to, or swaps, as the flags say."""
    one, two = kernel.create(b"1").nodeid, kernel.create(b"2").nodeid
    kernel.ask(45, struct.pack("=QII", 1, 1, 0) + b"1\x002\0", errno=EEXIST)
    kernel.ask(45, struct.pack("=QII", 1, 2, 0) + b"1\x002\0")
    assert kernel.ask(1, b"1\0").entry().nodeid == two
    kernel.ask(12, struct.pack("=Q", 1) + b"1\x002\0")
    assert kernel.ask(1, b"2\0").entry().nodeid == two
    assert kernel.filesystem.attributes(one).nlink == 0
    kernel.ask(45, struct.pack("=QII", 1, 4, 0) + b"2\x003\0", errno=EINVAL)
    kernel.ask(45, struct.pack("=QII", 1, 3, 0) + b"2\x003\0", errno=EINVAL)
    kernel.ask(12, struct.pack("=Q", 1) + b"2\0" + LONG, errno=ENAMETOOLONG)


@pytest.mark.parametrize(("opcode", "plus"), [(28, False), (44, True)])
def test_directories_are_read(kernel: Kernel, opcode: int, *, plus: bool) -> None:
    """A directory is opened, read to its end, and closed."""
    names = [b"%d" % n for n in range(5)]
    for name in names:
        kernel.create(name)
    handle = kernel.ask(27, bytes(8)).handle()
    page = kernel.raw(fuse_kernel.read(1, 0, 4096, handle=handle, opcode=opcode))
    listed = page.entries(plus=plus)
    assert [name for name, _, _ in listed] == [b".", b"..", *names]
    end = fuse_kernel.read(1, listed[-1][2], 4096, handle=handle, opcode=opcode)
    assert kernel.raw(end).body == b""
    kernel.ask(29, struct.pack("=QIIQ", handle, 0, 0, 0))
    assert kernel.raw(end).errno == EBADF


def test_fsync_commits_files_and_directories(kernel: Kernel) -> None:
    """FSYNC and FSYNCDIR return after a commit."""
    node = kernel.create().nodeid
    kernel.ask(20, bytes(16), node=node)
    kernel.ask(30, bytes(16))
    assert kernel.filesystem.commits == 2


def test_space_is_reported(kernel: Kernel) -> None:
    """STATFS shows blocks of 4 KiB."""
    blocks, free = struct.unpack_from("=QQ", kernel.ask(17).body)
    assert (blocks, free) == ((1 << 40) // 4096, (1 << 40) // 4096)


def test_fallocate_extends_and_never_shrinks(kernel: Kernel) -> None:
    """Plain allocation extends; other kinds are not supported."""
    node = kernel.create().nodeid
    kernel.ask(43, struct.pack("=QQQII", 0, 10, 90, 0, 0), node=node)
    kernel.ask(43, struct.pack("=QQQII", 0, 0, 5, 0, 0), node=node)
    assert kernel.filesystem.attributes(node).size == 100
    kernel.ask(43, struct.pack("=QQQII", 0, 0, 5, 1, 0), node=node, errno=EOPNOTSUPP)
    kernel.ask(43, struct.pack("=QQQII", 0, 0, 0, 0, 0), node=node, errno=EINVAL)
    kernel.ask(43, struct.pack("=QQQII", 0, 2**62, 2**63, 0, 0), node=node, errno=EINVAL)


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (35, bytes(16) + b"n\0"),
        (9, bytes(8) + b"n\0"),
        (6, b"n\0t\0"),
        (10, b"n\0"),
        (11, b"n\0"),
        (4, fuse_kernel.setattr_body(1, mode=0o700)),
        (12, struct.pack("=Q", ROOT_INO) + b"n\0m\0"),
    ],
)
def test_read_only_store_refuses_changes(opcode: int, body: bytes) -> None:
    """Every change to a read-only store is EROFS."""
    Kernel(read_only=True).ask(opcode, body, errno=EROFS)
