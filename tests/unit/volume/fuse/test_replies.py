"""Replies as the kernel reads them."""

from __future__ import annotations

import struct

from cloister.testing.fuse_kernel import Reply
from cloister.volume.filesystem import Attributes, SpaceReport
from cloister.volume.fuse import replies
from cloister.volume.fuse.replies import DirectoryPage, InitReply, Presentation

FILE = Attributes(5, 0o100644, 1000, 1, 11, 12, 3_000_000_004, -1, 7)


def parse(out: memoryview, size: int) -> Reply:
    return Reply(0, 0, bytes(out[:size]))


def test_entry_carries_attributes_and_validity() -> None:
    """An entry names the inode, its attributes and how long both may be believed."""
    out = memoryview(bytearray(256))
    entry = parse(out, Presentation(valid_s=60, owner=None).put_entry(out, FILE)).entry()
    assert (entry.nodeid, entry.entry_valid, entry.attr_valid) == (5, 60, 60)
    assert (entry.size, entry.mode, entry.uid, entry.gid) == (1000, 0o100644, 11, 12)
    assert entry.mtime_ns == 3_000_000_004


def test_owner_can_be_overridden() -> None:
    """One owner is shown for everything where that is asked for."""
    out = memoryview(bytearray(256))
    shown = Presentation(valid_s=60, owner=(1, 2))
    found = parse(out, shown.put_attributes(out, FILE)).attributes()
    assert (found.uid, found.gid) == (1, 2)


def test_structures_have_the_sizes_of_the_header() -> None:
    """Every fixed reply is as long as its structure in linux/fuse.h."""
    out = memoryview(bytearray(256))
    shown = Presentation(valid_s=1, owner=None)
    assert shown.put_entry(out, FILE) == 128
    assert shown.put_attributes(out, FILE) == 104
    assert replies.put_negative(out, valid_s=1) == 128
    assert replies.put_open(out, handle=1, flags=2) == 16
    assert replies.put_written(out, 1) == 8
    assert replies.put_space(out, SpaceReport(1 << 30, 1 << 20, 3)) == 80
    assert replies.put_init(out, InitReply(7, 45, 0, 0, 0, 0, 0)) == 64


def test_negative_entry_is_all_zero_but_its_validity() -> None:
    """A name that does not exist is inode 0, whatever the buffer held before."""
    out = memoryview(bytearray(b"\xff" * 256))
    entry = parse(out, replies.put_negative(out, valid_s=9)).entry()
    assert (entry.nodeid, entry.entry_valid, entry.size, entry.mode) == (0, 9, 0, 0)


def test_space_is_in_blocks() -> None:
    """STATFS counts blocks of 4 KiB, and never less than none."""
    out = memoryview(bytearray(256))
    replies.put_space(out, SpaceReport(1 << 30, -5, 3))
    blocks, free, available = struct.unpack_from("=QQQ", out)
    assert (blocks, free, available) == ((1 << 30) // 4096, 0, 0)


def test_directory_page_is_padded_and_limited() -> None:
    """Entries start at multiples of eight, padding is zero, and a full page says so."""
    out = memoryview(bytearray(b"\xff" * 256))
    page = DirectoryPage(out, limit=72)
    assert page.fits(b"abc", plus=False)
    page.add(b"abc", ino=3, mode=0o040000, cookie=1)
    page.add(b"12345678", ino=4, mode=0o100000, cookie=2)
    assert not page.fits(b"x", plus=False)
    reply = parse(out, page.size)
    assert reply.entries(plus=False) == [(b"abc", 3, 1), (b"12345678", 4, 2)]
    assert out[27:32] == bytes(5)
    assert struct.unpack_from("=I", out, 20)[0] == 4


def test_directory_page_with_attributes() -> None:
    """READDIRPLUS entries carry inodes, except those that do not count as look-ups."""
    out = memoryview(bytearray(b"\xff" * 512))
    page = DirectoryPage(out, limit=512)
    shown = Presentation(valid_s=1, owner=None)
    page.add_unknown(b".", ino=1, mode=0o040000, cookie=1)
    page.add_plus(b"f", attributes=FILE, cookie=2, shown=shown)
    assert not page.fits(b"x" * 60, plus=True)
    reply = parse(out, page.size)
    assert reply.entries(plus=True) == [(b".", 1, 1), (b"f", 5, 2)]
    assert reply.entry().nodeid == 0
    assert Reply(0, 0, reply.body[160:]).entry().nodeid == 5
