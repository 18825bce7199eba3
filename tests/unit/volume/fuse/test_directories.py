"""Listings that last over several requests."""

from __future__ import annotations

from errno import EBADF, EINVAL
from itertools import count

import pytest

from cloister.testing.fuse_kernel import Reply
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.fuse.directories import OpenDirectories
from cloister.volume.fuse.inodes import KnownInodes
from cloister.volume.fuse.replies import DirectoryPage, Presentation


class Bench:
    def __init__(self) -> None:
        self.filesystem = MemoryFilesystem(clock=count(1).__next__)
        self.known = KnownInodes(self.filesystem)
        shown = Presentation(valid_s=1, owner=None)
        self.directories = OpenDirectories(self.filesystem, self.known, shown)
        self.out = memoryview(bytearray(4096))
        for number in range(40):
            self.filesystem.create(ROOT_INO, b"file%02d" % number, 0o100644, 0, 0)
        self.handle = self.directories.open(ROOT_INO)

    def page(self, offset: int, *, plus: bool = False) -> list[tuple[bytes, int, int]]:
        page = DirectoryPage(self.out, limit=1000)
        read = self.directories.read_plus if plus else self.directories.read
        size = read(self.handle, offset, page)
        return Reply(0, 0, bytes(self.out[:size])).entries(plus=plus)

    def names(self, *, plus: bool = False) -> list[bytes]:
        names, offset = [], 0
        while page := self.page(offset, plus=plus):
            names += [name for name, _, _ in page]
            offset = page[-1][2]
            for name in names[2:]:
                if name in {e.name for e in self.filesystem.list_directory(ROOT_INO)}:
                    self.filesystem.unlink(ROOT_INO, name)
        return names


EXPECTED = [b".", b"..", *(b"file%02d" % n for n in range(40))]


@pytest.mark.parametrize("plus", [False, True])
def test_listing_is_stable_while_names_are_removed(*, plus: bool) -> None:
    """Names already listed may go; the rest is neither skipped nor repeated."""
    assert Bench().names(plus=plus) == EXPECTED


def test_rewinding_lists_afresh() -> None:
    """Offset 0 shows what is there now."""
    bench = Bench()
    bench.page(0)
    bench.filesystem.unlink(ROOT_INO, b"file00")
    assert b"file00" not in [name for name, _, _ in bench.page(0)]


def test_plus_counts_look_ups_and_leaves_out_the_removed() -> None:
    """Each name of READDIRPLUS is a look-up, except dots and what was removed meanwhile."""
    bench = Bench()
    bench.directories.read(bench.handle, 0, DirectoryPage(bench.out, limit=24))
    bench.filesystem.unlink(ROOT_INO, b"file00")
    names = [name for name, _, _ in bench.page(1, plus=True)]
    assert names[:3] == [b"..", b"file01", b"file02"]
    assert len(bench.known) == len(names) - 1
    assert bench.known.count(ROOT_INO) == 0


def test_unknown_handles_and_offsets_fail() -> None:
    """A closed handle is EBADF, an offset beyond the end EINVAL."""
    bench = Bench()
    with pytest.raises(OSError, match="beyond") as caught:
        bench.page(43)
    assert caught.value.errno == EINVAL
    assert bench.page(42) == []
    bench.directories.close(bench.handle)
    bench.directories.close(bench.handle)
    assert len(bench.directories) == 0
    with pytest.raises(OSError, match="handle") as caught:
        bench.page(0)
    assert caught.value.errno == EBADF
