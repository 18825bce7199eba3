"""A mount's conversation: versions, failures of the store, and the end."""

from __future__ import annotations

import ctypes
import struct
from errno import EINVAL, EIO, ENOSPC, ENOSYS, EPROTO
from itertools import count

import pytest

from cloister.errors import (
    CloisterError,
    MalformedError,
    ReleaseDeniedError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.testing import fuse_kernel
from cloister.testing.fuse_kernel import Reply
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.volume.fuse.protocol import InitFlag
from cloister.volume.fuse.replies import OUT_HEADER
from cloister.volume.fuse.session import Session, SessionOptions
from cloister.volume.memory import PAGE_BYTES


class Bench:
    """A session over the memory file system."""

    def __init__(self, *, options: SessionOptions | None = None, started: bool = True) -> None:
        self.filesystem = MemoryFilesystem(clock=count(1).__next__)
        self.failures: list[CloisterError] = []
        self.session = Session(
            self.filesystem, options=options or SessionOptions(), on_failure=self.failures.append
        )
        if started:
            assert self.ask(fuse_kernel.init()).errno == 0

    def ask(self, request: memoryview) -> Reply:
        reply = self.session.handle(request)
        assert reply is not None
        return Reply.parse(reply)


GETATTR = fuse_kernel.request(3, bytes(16))
FORGET = fuse_kernel.request(2, struct.pack("=Q", 1), node=2)


def test_init_agrees_on_what_both_know() -> None:
    """The older of both versions and the flags known to both are agreed on."""
    bench = Bench(started=False)
    assert not bench.session.ready
    flags = int(InitFlag.BIG_WRITES | InitFlag.MAX_PAGES | InitFlag.NO_OPEN_SUPPORT) | 1 << 10
    body = bench.ask(fuse_kernel.init(minor=36, flags=flags)).body
    major, minor, _, agreed = struct.unpack_from("=IIII", body)
    assert (major, minor) == (7, 36)
    assert agreed == flags & ~(1 << 10)
    assert struct.unpack_from("=I", body, 20)[0] == 1 << 20
    assert struct.unpack_from("=H", body, 28)[0] == 256
    assert bench.session.ready


@pytest.mark.parametrize("writeback", [True, False])
def test_writeback_is_an_option(*, writeback: bool) -> None:
    """The kernel collects writes only where that was chosen."""
    bench = Bench(options=SessionOptions(writeback=writeback), started=False)
    agreed = struct.unpack_from("=I", bench.ask(fuse_kernel.init()).body, 12)[0]
    assert bool(agreed & InitFlag.WRITEBACK_CACHE) == writeback


def test_newer_major_version_is_told_ours() -> None:
    """A kernel with a newer protocol learns ours and asks again."""
    bench = Bench(started=False)
    assert struct.unpack_from("=I", bench.ask(fuse_kernel.init(major=8)).body)[0] == 7
    assert not bench.session.ready
    assert bench.ask(fuse_kernel.init()).errno == 0


@pytest.mark.parametrize(
    ("major", "minor", "flags"), [(6, 45, -1), (7, 30, -1), (7, 45, 0), (7, 45, 1 << 5)]
)
def test_old_kernels_are_refused(major: int, minor: int, flags: int) -> None:
    """A kernel without what the server needs is refused, and nothing is served."""
    bench = Bench(started=False)
    known = flags if flags >= 0 else fuse_kernel.ALL_FLAGS
    assert bench.ask(fuse_kernel.init(major=major, minor=minor, flags=known)).errno == EPROTO
    assert bench.ask(GETATTR).errno == EIO


def test_nothing_is_served_before_init() -> None:
    """Requests before INIT fail; so do a malformed INIT and a second one."""
    bench = Bench(started=False)
    assert bench.ask(GETATTR).errno == EIO
    assert bench.ask(fuse_kernel.request(26, bytes(17))).errno == EINVAL
    assert bench.ask(fuse_kernel.init()).errno == 0
    assert bench.ask(fuse_kernel.init()).errno == ENOSYS


@pytest.mark.parametrize("opcode", [0, 21, 22, 31, 34, 36, 39, 46, 47, 50, 51, 52, 4096])
def test_unknown_operations_are_enosys(opcode: int) -> None:
    """The kernel is told once what is not there, and does without."""
    assert Bench().ask(fuse_kernel.request(opcode, b"anything")).errno == ENOSYS


def test_malformed_body_is_einval() -> None:
    """A known operation with a body that does not parse fails alone."""
    bench = Bench()
    assert bench.ask(fuse_kernel.request(3, bytes(15))).errno == EINVAL
    assert bench.ask(GETATTR).errno == 0
    assert bench.failures == []


def test_forget_is_never_answered() -> None:
    """FORGET has no reply, not even to garbage or when the store is broken."""
    bench = Bench()
    assert bench.session.handle(FORGET) is None
    assert bench.session.handle(fuse_kernel.batch_forget([(5, 5)])) is None
    assert bench.session.handle(fuse_kernel.request(2, b"garbage")) is None
    bench.filesystem.fail_with = TamperedError("x", code="volume.tampered")
    bench.ask(GETATTR)
    assert bench.session.handle(FORGET) is None


def test_without_a_header_nothing_can_be_answered() -> None:
    """Bytes that are no request at all are malformed."""
    with pytest.raises(MalformedError) as caught:
        Bench().session.handle(memoryview(b"short"))
    assert caught.value.code == "message.malformed"


def test_full_store_is_enospc_and_reported() -> None:
    """A full store is ENOSPC, reported, and does not end service."""
    bench = Bench()
    bench.filesystem.fail_with = StorageFullError("full", code="storage.full")
    assert bench.ask(GETATTR).errno == ENOSPC
    bench.filesystem.fail_with = None
    assert bench.ask(GETATTR).errno == 0
    assert [e.code for e in bench.failures] == ["storage.full"]


def test_passing_failure_is_eio_and_reported() -> None:
    """A store that is unavailable for a while is EIO for that while."""
    bench = Bench()
    bench.filesystem.fail_with = UnavailableError("down", code="volume.anchor")
    assert bench.ask(GETATTR).errno == EIO
    bench.filesystem.fail_with = None
    assert bench.ask(GETATTR).errno == 0
    assert [e.code for e in bench.failures] == ["volume.anchor"]
    assert bench.session.broken is None


@pytest.mark.parametrize(
    "error",
    [
        TamperedError("changed", code="volume.tampered"),
        ReleaseDeniedError("another writer", code="release.fenced"),
    ],
)
def test_tampering_and_fencing_end_service(error: CloisterError) -> None:
    """After tampering, or a newer writer, everything is EIO, even what would still work."""
    bench = Bench()
    bench.filesystem.fail_with = error
    assert bench.ask(GETATTR).errno == EIO
    bench.filesystem.fail_with = None
    assert bench.ask(GETATTR).errno == EIO
    assert bench.ask(fuse_kernel.request(46, b"")).errno == EIO
    assert bench.session.broken is error
    assert bench.failures == [error]


def test_odd_errno_of_a_file_system_is_eio() -> None:
    """An errno that the kernel would refuse becomes EIO."""
    bench = Bench()

    def attributes(ino: int) -> None:
        raise OSError(5000, "odd")

    bench.filesystem.attributes = attributes
    assert bench.ask(GETATTR).errno == EIO


class Ticking(MemoryFilesystem):
    """Fails when it should commit."""

    error: Exception | None = None

    def tick(self) -> float:
        if self.error is not None:
            raise self.error
        return 0.25


def test_timed_work_is_done_and_its_failure_reported() -> None:
    """`tick` passes on when to come back; a failure is reported, and tampering stops it."""
    filesystem = Ticking(clock=count(1).__next__)
    failures: list[CloisterError] = []
    session = Session(filesystem, options=SessionOptions(), on_failure=failures.append)
    assert session.tick() == 0.25
    filesystem.error = OSError(EIO, "disk")
    assert session.tick() == 1.0
    filesystem.error = TamperedError("changed", code="volume.rolled-back")
    session.tick()
    session.tick()
    assert [e.code for e in failures] == ["volume.rolled-back"]
    assert session.broken is not None


@pytest.mark.parametrize("how", ["destroy", "end"])
def test_end_gives_everything_back(how: str) -> None:
    """When the mount goes, files without a name go too."""
    bench = Bench()
    bench.ask(fuse_kernel.request(35, bytes(16) + b"f\0"))
    bench.ask(fuse_kernel.request(27, bytes(8)))
    bench.ask(fuse_kernel.request(10, b"f\0"))
    assert bench.filesystem.live_inodes == 2
    if how == "end":
        bench.session.end()
    else:
        assert bench.ask(fuse_kernel.request(38)).errno == 0
    assert bench.filesystem.live_inodes == 1
    assert len(bench.session.known) == 0


def test_what_follows_a_replys_header_begins_a_page() -> None:
    """The kernel copies a reply's data page by page, not every page in two parts."""
    reply = Bench().session.handle(GETATTR)
    assert reply is not None
    start = ctypes.addressof(ctypes.c_char.from_buffer(reply))
    assert (start + OUT_HEADER.size) % PAGE_BYTES == 0
