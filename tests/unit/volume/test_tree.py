"""What the file system over a volume answers, without a mount."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from cloister.testing.volume import VolumeBench, get, put, truncate
from cloister.volume.filesystem import ROOT_INO, SetAttributes
from cloister.volume.tree import VolumeFilesystem


@pytest.fixture
def bench() -> VolumeBench:
    bench = VolumeBench()
    bench.create()
    return bench


@pytest.fixture
def fs(bench: VolumeBench) -> VolumeFilesystem:
    return bench.writer()


def reopened(bench: VolumeBench, fs: VolumeFilesystem) -> VolumeFilesystem:
    fs.close()
    return bench.writer()


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024, 1025, 8192, 8193, 100_000])
def test_content_survives_reopening(bench: VolumeBench, fs: VolumeFilesystem, size: int) -> None:
    """A file of any size is the same after the volume was closed and opened."""
    data = os.urandom(size)
    put(fs, b"f", data)
    assert get(fs, b"f") == data
    assert get(reopened(bench, fs), b"f") == data


def test_holes_are_zeros(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """What was never written reads as zeros, also far behind the end."""
    ino = put(fs, b"f", b"start")
    fs.write(ino, 1_000_000, memoryview(b"end"))
    expected = b"start" + bytes(999_995) + b"end"
    assert get(fs, b"f") == expected
    assert get(reopened(bench, fs), b"f") == expected


@pytest.mark.parametrize("sizes", [(3000, 100, 3000), (700, 10, 700), (40_000, 513, 9000)])
def test_cut_bytes_do_not_come_back(
    bench: VolumeBench, fs: VolumeFilesystem, sizes: tuple[int, int, int]
) -> None:
    """After a cut and an extension the cut bytes are zeros."""
    first, kept, last = sizes
    ino = put(fs, b"f", b"x" * first)
    fs.fsync(ino)
    truncate(fs, ino, kept)
    truncate(fs, ino, last)
    expected = b"x" * kept + bytes(last - kept)
    assert get(fs, b"f") == expected
    assert get(reopened(bench, fs), b"f") == expected


def test_emptied_file_starts_again(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """A large file that is emptied and written small is small, and its old backing file goes."""
    ino = put(fs, b"f", b"x" * 50_000)
    fs.fsync(ino)
    truncate(fs, ino, 0)
    put(fs, b"f", b"small")
    fs.fsync(ino)
    assert get(reopened(bench, fs), b"f") == b"small"
    assert [p for p in bench.store.files if p.startswith("objects/")] == ["objects/pack"]


def test_rename_replaces(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """Renaming over a file leaves the new content under the old name."""
    put(fs, b"old", b"1" * 5000)
    put(fs, b"new", b"2" * 5000)
    fs.rename(ROOT_INO, b"new", ROOT_INO, b"old", no_replace=False)
    fs = reopened(bench, fs)
    assert [entry.name for entry in fs.list_directory(ROOT_INO)] == [b"old"]
    assert get(fs, b"old") == b"2" * 5000


def test_exchange_swaps(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """Two names are swapped, also a file's with a directory's."""
    put(fs, b"file", b"content")
    directory = fs.mkdir(ROOT_INO, b"dir", 0o755, 0, 0)
    put(fs, b"inner", b"x", parent=directory.ino)
    fs.exchange(ROOT_INO, b"file", ROOT_INO, b"dir")
    fs = reopened(bench, fs)
    assert get(fs, b"dir") == b"content"
    assert stat.S_ISDIR(fs.lookup(ROOT_INO, b"file").mode)


def test_hard_links_share(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """A file with two names is one file, and stays while one name is left."""
    ino = put(fs, b"a", b"shared")
    fs.link(ino, ROOT_INO, b"b")
    fs.write(ino, 0, memoryview(b"SHARED"))
    assert fs.attributes(ino).nlink == 2
    fs.unlink(ROOT_INO, b"a")
    fs = reopened(bench, fs)
    assert get(fs, b"b") == b"SHARED"
    assert fs.lookup(ROOT_INO, b"b").nlink == 1


def test_open_file_outlives_its_name(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """An unlinked file can be read and written while it is open, and is gone afterwards."""
    ino = put(fs, b"f", b"y" * 3000)
    fs.open(ino)
    fs.fsync(ino)
    fs.unlink(ROOT_INO, b"f")
    fs.fsync(ino)
    fs.write(ino, 3000, memoryview(b"z" * 3000))
    out = bytearray(6000)
    assert fs.read_into(ino, 0, memoryview(out)) == 6000
    assert bytes(out) == b"y" * 3000 + b"z" * 3000
    assert fs.attributes(ino).nlink == 0
    fs.release(ino)
    with pytest.raises(FileNotFoundError):
        fs.attributes(ino)
    fs = reopened(bench, fs)
    assert fs.list_directory(ROOT_INO) == []
    assert [p for p in bench.store.files if p.startswith("objects/")] == ["objects/pack"]


def test_metadata_survives(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """Mode, owner, times and link targets are kept."""
    ino = put(fs, b"f", b"x")
    change = SetAttributes(mode=0o640, uid=7, gid=8, mtime_ns=123, atime_ns=-456)
    fs.set_attributes(ino, change)
    fs.symlink(ROOT_INO, b"l", b"../target", 1, 2)
    fs = reopened(bench, fs)
    found = fs.lookup(ROOT_INO, b"f")
    assert (found.mode, found.uid, found.gid) == (stat.S_IFREG | 0o640, 7, 8)
    assert (found.mtime_ns, found.atime_ns) == (123, -456)
    link = fs.lookup(ROOT_INO, b"l")
    assert fs.readlink(link.ino) == b"../target"
    assert link.size == 9


def test_directories_count_links(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """A directory's link count is two and one for each directory in it; `..` is known."""
    outer = fs.mkdir(ROOT_INO, b"outer", 0o755, 0, 0)
    inner = fs.mkdir(outer.ino, b"inner", 0o755, 0, 0)
    assert fs.attributes(outer.ino).nlink == 3
    assert fs.attributes(ROOT_INO).nlink == 3
    assert fs.parent_of(inner.ino) == outer.ino
    assert fs.parent_of(ROOT_INO) == ROOT_INO
    fs.rename(outer.ino, b"inner", ROOT_INO, b"moved", no_replace=False)
    assert fs.attributes(ROOT_INO).nlink == 4
    assert fs.parent_of(inner.ino) == ROOT_INO
    fs = reopened(bench, fs)
    assert fs.lookup(ROOT_INO, b"outer").nlink == 2
    assert fs.attributes(ROOT_INO).nlink == 4


def test_set_group_directories_hand_it_down(fs: VolumeFilesystem) -> None:
    """What is made in a set-group-id directory has its group."""
    fs.set_attributes(ROOT_INO, SetAttributes(mode=0o2755, gid=55))
    assert fs.create(ROOT_INO, b"f", 0o644, 1, 1).gid == 55
    made = fs.mkdir(ROOT_INO, b"d", 0o755, 1, 1)
    assert (made.gid, stat.S_IMODE(made.mode)) == (55, 0o2755)


def _refusals() -> dict[str, tuple[int, object]]:
    root = ROOT_INO
    return {
        "missing name": (errno.ENOENT, lambda fs: fs.lookup(root, b"none")),
        "name in a file": (errno.ENOTDIR, lambda fs: fs.lookup(2, b"x")),
        "taken name": (errno.EEXIST, lambda fs: fs.create(root, b"f", 0o644, 0, 0)),
        "taken name for a link": (errno.EEXIST, lambda fs: fs.link(2, root, b"d")),
        "link to a directory": (errno.EPERM, lambda fs: fs.link(3, root, b"x")),
        "long name": (errno.ENAMETOOLONG, lambda fs: fs.mkdir(root, b"n" * 256, 0o755, 0, 0)),
        "slash": (errno.EINVAL, lambda fs: fs.mkdir(root, b"a/b", 0o755, 0, 0)),
        "dot": (errno.EEXIST, lambda fs: fs.mkdir(root, b"..", 0o755, 0, 0)),
        "long target": (
            errno.ENAMETOOLONG,
            lambda fs: fs.symlink(root, b"l", b"t" * 4096, 0, 0),
        ),
        "empty target": (errno.ENOENT, lambda fs: fs.symlink(root, b"l", b"", 0, 0)),
        "unlink a directory": (errno.EISDIR, lambda fs: fs.unlink(root, b"d")),
        "rmdir a file": (errno.ENOTDIR, lambda fs: fs.rmdir(root, b"f")),
        "rmdir a full one": (errno.ENOTEMPTY, lambda fs: fs.rmdir(root, b"d")),
        "rename into itself": (
            errno.EINVAL,
            lambda fs: fs.rename(root, b"d", 4, b"x", no_replace=False),
        ),
        "rename file over directory": (
            errno.EISDIR,
            lambda fs: fs.rename(root, b"f", root, b"d", no_replace=False),
        ),
        "rename directory over file": (
            errno.ENOTDIR,
            lambda fs: fs.rename(root, b"d", root, b"f", no_replace=False),
        ),
        "rename without replacing": (
            errno.EEXIST,
            lambda fs: fs.rename(root, b"f", root, b"d", no_replace=True),
        ),
        "exchange into itself": (errno.EINVAL, lambda fs: fs.exchange(root, b"d", 3, b"e")),
        "read a directory": (errno.EISDIR, lambda fs: fs.read_into(3, 0, memoryview(bytearray(1)))),
        "cut a directory": (errno.EISDIR, lambda fs: truncate(fs, 3, 0)),
        "huge file": (errno.EFBIG, lambda fs: truncate(fs, 2, 2**60)),
        "huge write": (errno.EFBIG, lambda fs: fs.write(2, 2**60, memoryview(b"x"))),
        "readlink of a file": (errno.EINVAL, lambda fs: fs.readlink(2)),
        "unknown inode": (errno.ENOENT, lambda fs: fs.attributes(99)),
    }


@pytest.mark.parametrize("case", sorted(_refusals()))
def test_refusals_have_their_errno(fs: VolumeFilesystem, case: str) -> None:
    """What POSIX refuses is refused with its errno, and changes nothing."""
    put(fs, b"f", b"x")
    fs.mkdir(ROOT_INO, b"d", 0o755, 0, 0)
    fs.mkdir(3, b"e", 0o755, 0, 0)
    number, call = _refusals()[case]
    with pytest.raises(OSError) as caught:
        call(fs)
    assert caught.value.errno == number
    assert sorted(e.name for e in fs.list_directory(ROOT_INO)) == [b"d", b"f"]
    assert get(fs, b"f") == b"x"


def test_read_only_refuses_changes(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """Every changing call on a volume opened for reading answers EROFS."""
    put(fs, b"f", b"x")
    fs.close()
    reader = bench.reader()
    assert reader.read_only
    for call in (
        lambda: reader.create(ROOT_INO, b"g", 0o644, 0, 0),
        lambda: reader.unlink(ROOT_INO, b"f"),
        lambda: reader.write(2, 0, memoryview(b"y")),
        lambda: reader.set_attributes(2, SetAttributes(mode=0)),
        lambda: reader.rename(ROOT_INO, b"f", ROOT_INO, b"g", no_replace=False),
        lambda: reader.exchange(ROOT_INO, b"f", ROOT_INO, b"g"),
        lambda: reader.rmdir(ROOT_INO, b"f"),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EROFS
    reader.fsync(ROOT_INO)
    reader.close()


def test_timed_commit(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """A change is committed by `tick` once it has waited for the interval, not before."""
    before = bench.holder.current.version
    put(fs, b"f", b"x")
    assert 0 < fs.tick() <= 0.5
    assert bench.holder.current.version == before
    bench.clock.pass_s(1)
    fs.tick()
    assert bench.holder.current.version == before + 1
    fs.tick()
    assert bench.holder.current.version == before + 1


def test_small_writes_stay_within_bounds(bench: VolumeBench, fs: VolumeFilesystem) -> None:
    """Many small writes to many files are sealed early instead of filling memory."""
    for number in range(200):
        ino = put(fs, b"%d" % number, b"")
        fs.write(ino, 5000, memoryview(b"x"))
    assert fs._contents.dirty_bytes <= 33 * 2**20
