"""Look-up counts, and the holds on files that go with them."""

from __future__ import annotations

from itertools import count

import pytest

from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.volume.filesystem import ROOT_INO, Attributes
from cloister.volume.fuse.inodes import KnownInodes


@pytest.fixture
def filesystem() -> MemoryFilesystem:
    return MemoryFilesystem(clock=count(1).__next__)


def made(filesystem: MemoryFilesystem, name: bytes = b"f") -> Attributes:
    return filesystem.create(ROOT_INO, name, 0o100644, 0, 0)


def test_unlinked_file_lives_while_it_is_known(filesystem: MemoryFilesystem) -> None:
    """A file without a name stays until every look-up is forgotten, then goes."""
    known = KnownInodes(filesystem)
    file = made(filesystem)
    known.remember(file)
    known.remember(file)
    filesystem.unlink(ROOT_INO, b"f")
    known.forget(file.ino, 1)
    assert filesystem.attributes(file.ino).nlink == 0
    known.forget(file.ino, 1)
    assert filesystem.live_inodes == 1


def test_forgetting_too_much_or_the_unknown_is_harmless(filesystem: MemoryFilesystem) -> None:
    """Surplus forgets count as all, and are not carried over."""
    known = KnownInodes(filesystem)
    file = made(filesystem)
    known.forget(file.ino, 3)
    known.remember(file)
    known.forget(file.ino, 2**63)
    known.forget(file.ino, 1)
    known.remember(file)
    assert known.count(file.ino) == 1
    known.forget_all()
    assert len(known) == 0
    with pytest.raises(OSError, match="not open"):
        filesystem.release(file.ino)


def test_directories_are_counted_but_not_held(filesystem: MemoryFilesystem) -> None:
    """Only files are held open."""
    known = KnownInodes(filesystem)
    known.remember(filesystem.mkdir(ROOT_INO, b"d", 0o755, 0, 0))
    known.remember(filesystem.attributes(ROOT_INO))
    filesystem.rmdir(ROOT_INO, b"d")
    assert filesystem.live_inodes == 1
    known.forget_all()
