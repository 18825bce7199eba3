"""What every `Filesystem` must do, so that whatever serves one can rely on it."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from cloister.testing.anchor import AnchorHolder
from cloister.testing.file_volume import open_file_volume, open_readable_file_volume
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.testing.store import MemoryStore
from cloister.volume.filesystem import ROOT_INO, Filesystem, SetAttributes
from cloister.volume.opening import Clocks, create_store, open_store

MIB = 1 << 20


def memory(directory: Path) -> Filesystem:
    """Make an empty file system in memory."""
    return MemoryFilesystem(clock=count(1_000).__next__)


def volume(directory: Path) -> Filesystem:
    """Make an empty encrypted volume in a directory."""
    return open_file_volume(bytes(directory / "volume"))


def volume_in_memory(directory: Path) -> Filesystem:
    """Make an empty encrypted volume with the smallest blocks, in memory."""
    store, key = MemoryStore(), bytes(range(32))
    made = create_store(store, key, block_bytes=4096, at_ns=0)
    holder = AnchorHolder()
    holder.register(version=made.version, root=made.root)
    return open_store(store, key, anchor=holder.acquire(), writable=True, clocks=Clocks())


def readable_volume(directory: Path) -> Filesystem:
    """Make an empty volume whose files are authenticated and not encrypted, in a directory."""
    return open_readable_file_volume(bytes(directory / "volume"))


FACTORIES: dict[str, Callable[[Path], Filesystem]] = {
    "memory": memory,
    "volume": volume,
    "volume-in-memory": volume_in_memory,
    "readable-volume": readable_volume,
}


@pytest.fixture(params=FACTORIES)
def fs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filesystem]:
    """Yield an empty file system of each kind."""
    made = FACTORIES[request.param](tmp_path)
    yield made
    made.close()


def fails(number: int, call: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno == number, errno.errorcode.get(caught.value.errno or 0)


def file(fs: Filesystem, name: bytes = b"f", data: bytes = b"", parent: int = ROOT_INO) -> int:
    ino = fs.create(parent, name, stat.S_IFREG | 0o640, 5, 6).ino
    fs.write(ino, 0, memoryview(data))
    return ino


def directory(fs: Filesystem, name: bytes = b"d", parent: int = ROOT_INO) -> int:
    return fs.mkdir(parent, name, stat.S_IFDIR | 0o750, 5, 6).ino


def content(fs: Filesystem, ino: int, offset: int = 0, size: int = MIB) -> bytes:
    out = bytearray(b"\xee" * size)
    done = fs.read_into(ino, offset, memoryview(out))
    assert out[done:] == b"\xee" * (size - done), "nothing is written behind what was read"
    return bytes(out[:done])


def names(fs: Filesystem, ino: int = ROOT_INO) -> list[bytes]:
    return [entry.name for entry in fs.list_directory(ino)]


def test_root_is_an_empty_directory(fs: Filesystem) -> None:
    """A new file system is one directory, its own parent."""
    root = fs.attributes(ROOT_INO)
    assert stat.S_ISDIR(root.mode)
    assert root.nlink == 2
    assert names(fs) == []
    assert fs.parent_of(ROOT_INO) == ROOT_INO
    assert not fs.read_only


def test_created_file_is_found_as_it_was_made(fs: Filesystem) -> None:
    """A file has the mode and owner it was made with, and no bytes."""
    made = fs.create(ROOT_INO, b"f", stat.S_IFREG | 0o640, 5, 6)
    assert fs.lookup(ROOT_INO, b"f") == made == fs.attributes(made.ino)
    assert (made.mode, made.uid, made.gid) == (stat.S_IFREG | 0o640, 5, 6)
    assert (made.size, made.nlink) == (0, 1)
    fails(errno.EEXIST, lambda: fs.create(ROOT_INO, b"f", stat.S_IFREG | 0o640, 5, 6))
    fails(errno.EEXIST, lambda: fs.mkdir(ROOT_INO, b"f", 0o755, 5, 6))


def test_what_is_not_there_is_enoent(fs: Filesystem) -> None:
    """Absent names and inodes are ENOENT everywhere."""
    fails(errno.ENOENT, lambda: fs.lookup(ROOT_INO, b"f"))
    fails(errno.ENOENT, lambda: fs.attributes(999))
    fails(errno.ENOENT, lambda: fs.unlink(ROOT_INO, b"f"))
    fails(errno.ENOENT, lambda: fs.rmdir(ROOT_INO, b"f"))
    fails(errno.ENOENT, lambda: fs.open(999))
    fails(errno.ENOENT, lambda: fs.rename(ROOT_INO, b"f", ROOT_INO, b"g", no_replace=False))
    fails(errno.ENOENT, lambda: fs.exchange(ROOT_INO, b"f", ROOT_INO, b"g"))


def test_kinds_are_not_confused(fs: Filesystem) -> None:
    """Operations on the wrong kind of inode say which kind was wanted."""
    ino, inside = file(fs), directory(fs)
    link = fs.symlink(ROOT_INO, b"s", b"f", 0, 0).ino
    fails(errno.ENOTDIR, lambda: fs.lookup(ino, b"x"))
    fails(errno.ENOTDIR, lambda: fs.list_directory(ino))
    fails(errno.ENOTDIR, lambda: fs.create(ino, b"x", stat.S_IFREG, 0, 0))
    fails(errno.ENOTDIR, lambda: fs.rmdir(ROOT_INO, b"f"))
    fails(errno.EISDIR, lambda: fs.unlink(ROOT_INO, b"d"))
    fails(errno.EISDIR, lambda: fs.set_attributes(inside, SetAttributes(size=0)))
    fails(errno.EISDIR, lambda: fs.write(inside, 0, memoryview(b"x")))
    fails(errno.EISDIR, lambda: fs.read_into(inside, 0, memoryview(bytearray(1))))
    fails(errno.EINVAL, lambda: fs.set_attributes(link, SetAttributes(size=0)))
    fails(errno.EINVAL, lambda: fs.readlink(ino))


@pytest.mark.parametrize("size", [0, 1, 4095, 65535, 65536, 65537, 300_000])
def test_bytes_come_back(fs: Filesystem, size: int) -> None:
    """What was written is read, at any offset, and nothing after the end."""
    data = bytes(n * 31 % 251 for n in range(size))
    ino = file(fs, data=data)
    assert fs.attributes(ino).size == size
    assert content(fs, ino) == data
    for offset in (0, 1, size // 2, size - 1, size, size + 70_000):
        if offset >= 0:
            assert content(fs, ino, offset, 1000) == data[offset : offset + 1000]


def test_overwriting_changes_only_what_is_written(fs: Filesystem) -> None:
    """Writes across block boundaries leave their surroundings alone."""
    expected = bytearray(b"a" * 300_000)
    ino = file(fs, data=bytes(expected))
    for offset, length in [(65_530, 20), (0, 1), (131_071, 65_540), (299_990, 50)]:
        piece = bytes([offset % 200]) * length
        assert fs.write(ino, offset, memoryview(piece)) == length
        expected[offset : offset + length] = piece
    assert content(fs, ino) == bytes(expected)


def test_holes_read_as_zeros(fs: Filesystem) -> None:
    """Bytes never written are zero, after writing beyond the end and after extending."""
    ino = file(fs, data=b"start")
    fs.write(ino, 200_000, memoryview(b"end"))
    fs.set_attributes(ino, SetAttributes(size=400_000))
    assert content(fs, ino) == b"start" + bytes(199_995) + b"end" + bytes(199_997)


def test_truncated_bytes_do_not_come_back(fs: Filesystem) -> None:
    """What was cut off is zero when the file grows again."""
    ino = file(fs, data=b"x" * 200_000)
    assert fs.set_attributes(ino, SetAttributes(size=70_001)).size == 70_001
    fs.set_attributes(ino, SetAttributes(size=140_000))
    assert content(fs, ino) == b"x" * 70_001 + bytes(69_999)
    fs.set_attributes(ino, SetAttributes(size=0))
    fs.write(ino, 10, memoryview(b"y"))
    assert content(fs, ino) == bytes(10) + b"y"


def test_huge_sparse_file(fs: Filesystem) -> None:
    """A file of a terabyte of nothing costs nothing, and shrinks again."""
    ino = file(fs)
    fs.set_attributes(ino, SetAttributes(size=1 << 40))
    fs.write(ino, 1 << 39, memoryview(b"middle"))
    assert content(fs, ino, (1 << 39) - 4, 14) == bytes(4) + b"middle" + bytes(4)
    fs.set_attributes(ino, SetAttributes(size=3))
    assert content(fs, ino) == bytes(3)


def test_too_large_is_efbig(fs: Filesystem) -> None:
    """Offsets that no store can hold are EFBIG."""
    ino = file(fs)
    fails(errno.EFBIG, lambda: fs.write(ino, 2**62, memoryview(b"x")))
    fails(errno.EFBIG, lambda: fs.set_attributes(ino, SetAttributes(size=2**62)))
    assert fs.attributes(ino).size == 0


def test_attributes_change_as_asked(fs: Filesystem) -> None:
    """Mode, owner and times are set; the file type and what was not asked for stay."""
    ino = file(fs, data=b"abc")
    change = SetAttributes(mode=stat.S_IFDIR | 0o4711, uid=70, gid=80, mtime_ns=-5, atime_ns=7)
    found = fs.set_attributes(ino, change)
    assert found.mode == stat.S_IFREG | 0o4711
    assert (found.uid, found.gid, found.mtime_ns, found.atime_ns) == (70, 80, -5, 7)
    assert found.size == 3
    assert fs.attributes(ino) == found


def test_writing_moves_the_times(fs: Filesystem) -> None:
    """Content changes move mtime and ctime; name changes move the directory's."""
    ino = file(fs)
    fs.set_attributes(ino, SetAttributes(mtime_ns=1))
    root = fs.attributes(ROOT_INO)
    fs.write(ino, 0, memoryview(b"x"))
    assert fs.attributes(ino).mtime_ns > 1
    file(fs, b"g")
    assert fs.attributes(ROOT_INO).mtime_ns > root.mtime_ns


def test_symbolic_links(fs: Filesystem) -> None:
    """A link's target is bytes, its size their number."""
    made = fs.symlink(ROOT_INO, b"s", b"/a/\xff b", 5, 6)
    assert stat.S_ISLNK(made.mode)
    assert made.size == 6
    assert fs.readlink(made.ino) == b"/a/\xff b"
    fs.unlink(ROOT_INO, b"s")


def test_hard_links(fs: Filesystem) -> None:
    """Names of one file share everything, and the file goes with the last."""
    ino = file(fs, data=b"data")
    inside = directory(fs)
    assert fs.link(ino, inside, b"g").nlink == 2
    fs.unlink(ROOT_INO, b"f")
    assert fs.lookup(inside, b"g").nlink == 1
    assert content(fs, ino) == b"data"
    fails(errno.EPERM, lambda: fs.link(inside, ROOT_INO, b"x"))
    fails(errno.EEXIST, lambda: fs.link(ino, inside, b"g"))
    fs.unlink(inside, b"g")
    fails(errno.ENOENT, lambda: fs.attributes(ino))


def test_unlinked_file_lives_while_it_is_used(fs: Filesystem) -> None:
    """An open file without a name can be read, written, changed and committed, then goes."""
    ino = file(fs, data=b"data")
    fs.open(ino)
    fs.open(ino)
    fs.unlink(ROOT_INO, b"f")
    fs.release(ino)
    assert fs.attributes(ino).nlink == 0
    fs.write(ino, 4, memoryview(b" more"))
    fs.set_attributes(ino, SetAttributes(mode=0o600))
    fs.fsync(ino)
    assert content(fs, ino) == b"data more"
    fails(errno.ENOENT, lambda: fs.link(ino, ROOT_INO, b"g"))
    fs.release(ino)
    fails(errno.ENOENT, lambda: fs.attributes(ino))


def test_replaced_file_lives_while_it_is_used(fs: Filesystem) -> None:
    """Renaming over an open file leaves it to those who have it open."""
    old, new = file(fs, b"old", b"old"), file(fs, b"new", b"new")
    fs.open(old)
    fs.rename(ROOT_INO, b"new", ROOT_INO, b"old", no_replace=False)
    assert content(fs, old) == b"old"
    assert fs.lookup(ROOT_INO, b"old").ino == new
    fs.release(old)


def test_inode_numbers_are_not_given_out_twice(fs: Filesystem) -> None:
    """A new file never gets the number of one that is gone."""
    seen = set()
    for number in range(50):
        ino = file(fs, b"%d" % number)
        assert ino not in seen
        seen.add(ino)
        fs.unlink(ROOT_INO, b"%d" % number)


def test_directories_count_their_links(fs: Filesystem) -> None:
    """Each directory in a directory is a link to it."""
    inside = directory(fs)
    directory(fs, b"e", inside)
    assert fs.attributes(inside).nlink == 3
    assert fs.attributes(ROOT_INO).nlink == 3
    assert fs.parent_of(fs.lookup(inside, b"e").ino) == inside
    fails(errno.ENOTEMPTY, lambda: fs.rmdir(ROOT_INO, b"d"))
    fs.rmdir(inside, b"e")
    fs.rmdir(ROOT_INO, b"d")
    assert fs.attributes(ROOT_INO).nlink == 2
    fails(errno.ENOENT, lambda: fs.create(inside, b"x", stat.S_IFREG | 0o600, 0, 0))


def test_set_group_id_directories_hand_their_group_down(fs: Filesystem) -> None:
    """What is made in a set-group-id directory belongs to its group."""
    inside = directory(fs)
    fs.set_attributes(inside, SetAttributes(mode=0o2775, gid=99))
    assert fs.create(inside, b"f", stat.S_IFREG | 0o600, 1, 1).gid == 99
    made = fs.mkdir(inside, b"d", 0o755, 1, 1)
    assert (made.gid, stat.S_IMODE(made.mode)) == (99, 0o2755)


def test_listing_has_every_name_with_its_kind(fs: Filesystem) -> None:
    """All entries are listed, with inode and type, in an order that does not change."""
    ino, inside = file(fs), directory(fs)
    link = fs.symlink(ROOT_INO, b"s", b"f", 0, 0).ino
    found = {e.name: (e.ino, stat.S_IFMT(e.mode)) for e in fs.list_directory(ROOT_INO)}
    assert found == {
        b"f": (ino, stat.S_IFREG),
        b"d": (inside, stat.S_IFDIR),
        b"s": (link, stat.S_IFLNK),
    }
    assert names(fs) == names(fs)


def test_rename_moves_and_replaces(fs: Filesystem) -> None:
    """A name moves between directories, replacing what may be replaced."""
    ino, inside = file(fs, data=b"data"), directory(fs)
    fs.rename(ROOT_INO, b"f", inside, b"g", no_replace=True)
    assert names(fs) == [b"d"]
    assert fs.lookup(inside, b"g").ino == ino
    other = file(fs, b"other")
    fails(errno.EEXIST, lambda: fs.rename(ROOT_INO, b"other", inside, b"g", no_replace=True))
    fs.rename(ROOT_INO, b"other", inside, b"g", no_replace=False)
    fails(errno.ENOENT, lambda: fs.attributes(ino))
    assert fs.lookup(inside, b"g").ino == other


def test_rename_to_another_name_of_the_same_file_does_nothing(fs: Filesystem) -> None:
    """POSIX: both names stay."""
    ino = file(fs)
    fs.link(ino, ROOT_INO, b"g")
    fs.rename(ROOT_INO, b"f", ROOT_INO, b"g", no_replace=False)
    assert sorted(names(fs)) == [b"f", b"g"]
    assert fs.attributes(ino).nlink == 2


def test_rename_of_directories(fs: Filesystem) -> None:
    """A directory replaces an empty one only, moves with its content, never into itself."""
    one, two = directory(fs, b"1"), directory(fs, b"2")
    file(fs, b"x", parent=one)
    fails(errno.EINVAL, lambda: fs.rename(ROOT_INO, b"1", one, b"1", no_replace=False))
    fails(errno.ENOTEMPTY, lambda: fs.rename(ROOT_INO, b"2", ROOT_INO, b"1", no_replace=False))
    file(fs)
    fails(errno.ENOTDIR, lambda: fs.rename(ROOT_INO, b"1", ROOT_INO, b"f", no_replace=False))
    fails(errno.EISDIR, lambda: fs.rename(ROOT_INO, b"f", ROOT_INO, b"2", no_replace=False))
    fs.rename(ROOT_INO, b"1", ROOT_INO, b"2", no_replace=False)
    assert fs.lookup(ROOT_INO, b"2").ino == one
    fails(errno.ENOENT, lambda: fs.attributes(two))
    assert fs.attributes(ROOT_INO).nlink == 3
    three = directory(fs, b"3")
    fs.rename(ROOT_INO, b"2", three, b"in", no_replace=False)
    assert fs.parent_of(one) == three
    assert (fs.attributes(ROOT_INO).nlink, fs.attributes(three).nlink) == (3, 3)
    fails(errno.EINVAL, lambda: fs.rename(ROOT_INO, b"3", one, b"x2", no_replace=False))


def test_exchange_swaps_names(fs: Filesystem) -> None:
    """Two names swap what they name, whatever their kinds."""
    ino, inside = file(fs), directory(fs)
    deep = directory(fs, b"deep", inside)
    fs.exchange(ROOT_INO, b"f", inside, b"deep")
    assert fs.lookup(inside, b"deep").ino == ino
    assert fs.lookup(ROOT_INO, b"f").ino == deep
    assert fs.parent_of(deep) == ROOT_INO
    assert (fs.attributes(ROOT_INO).nlink, fs.attributes(inside).nlink) == (4, 2)
    fails(errno.EINVAL, lambda: fs.exchange(ROOT_INO, b"d", inside, b"deep"))


def test_space_counts(fs: Filesystem) -> None:
    """Free space is not more than all of it."""
    space = fs.space()
    assert 0 < space.free_bytes <= space.total_bytes


def test_tick_says_when_to_come_back(fs: Filesystem) -> None:
    """`tick` may be called at any time and answers in seconds."""
    assert fs.tick() >= 0
    file(fs, data=b"x")
    assert fs.tick() >= 0
