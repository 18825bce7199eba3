"""Regions in an open volume: classes at creation, moves that would change one, mismatches."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from cloister.errors import AppraisalError
from cloister.testing.volume import VolumeBench, get, put, truncate
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.regions import RegionClass, Regions
from cloister.volume.tree import VolumeFilesystem

ENCRYPTED, AUTHENTICATED = RegionClass.ENCRYPTED, RegionClass.AUTHENTICATED
PLAIN, EPHEMERAL = RegionClass.PLAIN, RegionClass.EPHEMERAL
REGIONS = Regions(
    {
        "/pub": AUTHENTICATED,
        "/pub/priv": ENCRYPTED,
        "/twin": AUTHENTICATED,
        "/deep/er/pub": AUTHENTICATED,
        "/one.json": AUTHENTICATED,
        "/mem/scratch": EPHEMERAL,
        "/mem/scratch/keep": ENCRYPTED,
        "/out": PLAIN,
    }
)


@pytest.fixture
def bench() -> VolumeBench:
    bench = VolumeBench(regions=REGIONS)
    bench.create()
    return bench


@pytest.fixture
def fs(bench: VolumeBench) -> VolumeFilesystem:
    return bench.writer()


def folder(fs: VolumeFilesystem, path: str) -> int:
    """Return the inode of a folder, made where missing."""
    ino = ROOT_INO
    for name in filter(None, os.fsencode(path).split(b"/")):
        names = {entry.name: entry.ino for entry in fs.list_directory(ino)}
        ino = names.get(name) or fs.mkdir(ino, name, 0o755, 0, 0).ino
    return ino


def refused(number: int, change: Callable[[], object]) -> None:
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        change()
    assert caught.value.errno == number


def code_of(bench: VolumeBench, *, writable: bool) -> AppraisalError:
    bench.crash()
    before = {path: bytes(data) for path, data in bench.store.files.items()}
    with pytest.raises(AppraisalError) as caught:
        bench.writer() if writable else bench.reader()
    assert caught.value.code == "volume.region"
    assert {path: bytes(data) for path, data in bench.store.files.items()} == before
    return caught.value


@pytest.mark.spec("VOL-84")
def test_a_class_is_decided_by_the_path(fs: VolumeFilesystem) -> None:
    """A new file has the class of its path, wherever the nearest region begins."""
    for path, name, expected in (
        ("/", b"x", ENCRYPTED),
        ("/", b"one.json", AUTHENTICATED),
        ("/", b"one.jso", ENCRYPTED),
        ("/pub", b"x", AUTHENTICATED),
        ("/pub/a/b/c", b"x", AUTHENTICATED),
        ("/pub/priv", b"x", ENCRYPTED),
        ("/pub/priv/a", b"x", ENCRYPTED),
        ("/deep", b"x", ENCRYPTED),
        ("/deep/er/pub", b"x", AUTHENTICATED),
        ("/deep/er/public", b"x", ENCRYPTED),
    ):
        ino = put(fs, name, b"content", parent=folder(fs, path))
        assert fs.protection(ino) is expected, path
    assert fs.protection(ROOT_INO) is None


@pytest.mark.spec("VOL-84")
def test_a_class_follows_a_folder_that_is_made_again(fs: VolumeFilesystem) -> None:
    """A region's folder that was removed has the same class when it is made again."""
    ino = folder(fs, "/pub")
    fs.rmdir(ROOT_INO, b"pub")
    assert fs.protection(put(fs, b"x", b"", parent=folder(fs, "/deep"))) is ENCRYPTED
    again = folder(fs, "/pub")
    assert again != ino
    assert fs.protection(put(fs, b"x", b"", parent=again)) is AUTHENTICATED


@pytest.mark.spec("VOL-84")
def test_nothing_moves_to_another_class(fs: VolumeFilesystem) -> None:
    """A rename, a hard link or an exchange across a boundary is EXDEV, and changes nothing."""
    pub, priv, other = folder(fs, "/pub"), folder(fs, "/pub/priv"), folder(fs, "/other")
    secret = put(fs, b"secret", b"s", parent=other)
    shown = put(fs, b"shown", b"p", parent=pub)
    before = fs.identity, fs._index.full()
    for change in (
        lambda: fs.rename(other, b"secret", pub, b"secret", no_replace=False),
        lambda: fs.rename(other, b"secret", pub, b"shown", no_replace=False),
        lambda: fs.rename(other, b"secret", ROOT_INO, b"one.json", no_replace=False),
        lambda: fs.rename(pub, b"shown", other, b"shown", no_replace=False),
        lambda: fs.rename(pub, b"shown", priv, b"shown", no_replace=False),
        lambda: fs.link(secret, pub, b"secret"),
        lambda: fs.link(shown, other, b"shown"),
        lambda: fs.exchange(other, b"secret", pub, b"shown"),
        lambda: fs.rename(ROOT_INO, b"other", pub, b"other", no_replace=False),
    ):
        refused(errno.EXDEV, change)
    assert (fs.identity, fs._index.full()) == before
    fs.rename(other, b"secret", priv, b"secret", no_replace=False)
    fs.link(shown, pub, b"again")
    fs.rename(pub, b"again", folder(fs, "/twin"), b"again", no_replace=False)


@pytest.mark.spec("VOL-84")
def test_no_folder_moves_that_holds_a_boundary(fs: VolumeFilesystem) -> None:
    """A region's folder and those above it stay where they are, and none comes in their place."""
    for path in ("/pub", "/twin", "/deep/er/pub", "/free/inner", "/pub/x"):
        folder(fs, path)
    free = folder(fs, "/free")
    for name in (b"pub", b"twin", b"deep", b"mem"):
        refused(
            errno.EXDEV,
            lambda name=name: fs.rename(ROOT_INO, name, free, b"moved", no_replace=False),
        )
    fs.rmdir(folder(fs, "/deep/er"), b"pub")
    refused(
        errno.EXDEV,
        lambda: fs.rename(free, b"inner", folder(fs, "/deep/er"), b"pub", no_replace=False),
    )
    refused(errno.EXDEV, lambda: fs.exchange(ROOT_INO, b"pub", ROOT_INO, b"twin"))
    fs.rename(folder(fs, "/pub"), b"x", folder(fs, "/twin"), b"x", no_replace=False)
    fs.rename(free, b"inner", ROOT_INO, b"moved", no_replace=False)


@pytest.mark.spec("VOL-85")
def test_nothing_is_made_where_something_is_mounted(fs: VolumeFilesystem) -> None:
    """Folders for the mounts are there; in them and over them the volume changes nothing."""
    scratch = folder(fs, "/mem/scratch")
    keep, out = folder(fs, "/mem/scratch/keep"), fs.lookup(ROOT_INO, b"out").ino
    x = put(fs, b"x", b"x")
    for change in (
        lambda: fs.create(scratch, b"f", 0o600, 0, 0),
        lambda: fs.create(out, b"f", 0o600, 0, 0),
        lambda: fs.mkdir(out, b"f", 0o700, 0, 0),
        lambda: fs.symlink(scratch, b"f", b"/etc", 0, 0),
    ):
        refused(errno.EACCES, change)
    refused(errno.EXDEV, lambda: fs.link(x, out, b"x"))
    refused(errno.EXDEV, lambda: fs.rename(ROOT_INO, b"x", scratch, b"x", no_replace=False))
    fs.symlink(ROOT_INO, b"to", b"x", 0, 0)
    refused(errno.EXDEV, lambda: fs.rename(ROOT_INO, b"to", out, b"to", no_replace=False))
    refused(errno.EBUSY, lambda: fs.rmdir(ROOT_INO, b"out"))
    refused(errno.EBUSY, lambda: fs.rmdir(scratch, b"keep"))
    assert fs.protection(put(fs, b"f", b"kept", parent=keep)) is ENCRYPTED


@pytest.mark.spec("VOL-84")
def test_no_link_stands_in_a_regions_place(fs: VolumeFilesystem) -> None:
    """It would lead what is written there to where another class holds."""
    pub = folder(fs, "/pub")
    other = folder(fs, "/other")
    fs.symlink(other, b"link", b"/pub", 0, 0)
    fs.symlink(pub, b"link", b"other", 0, 0)
    for parent, name in ((ROOT_INO, b"twin"), (ROOT_INO, b"deep"), (pub, b"priv")):
        refused(errno.EACCES, lambda p=parent, n=name: fs.symlink(p, n, b"other", 0, 0))
        refused(
            errno.EXDEV,
            lambda p=parent, n=name: fs.rename(other, b"link", p, n, no_replace=False),
        )
        refused(errno.EXDEV, lambda p=parent, n=name: fs.link(fs.lookup(pub, b"link").ino, p, n))
    fs.rename(pub, b"link", other, b"moved", no_replace=False)


@pytest.mark.spec("VOL-85")
def test_folders_for_mounts_in_a_volume_that_is_read_only(bench: VolumeBench) -> None:
    """They are seen, and stored nowhere."""
    before = {path: bytes(data) for path, data in bench.store.files.items()}
    fs = bench.reader()
    assert [entry.name for entry in fs.list_directory(ROOT_INO)] == [b"mem", b"out"]
    fs.close()
    assert {path: bytes(data) for path, data in bench.store.files.items()} == before


@pytest.mark.spec("VOL-83")
@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize(
    ("classes", "expected", "found", "path"),
    [
        ({"/pub": ENCRYPTED}, "encrypted", "authenticated", "/pub/shown"),
        ({"/pub/priv": AUTHENTICATED}, "authenticated", "encrypted", "/pub/priv/secret"),
        ({"/pub/shown": ENCRYPTED}, "encrypted", "authenticated", "/pub/shown"),
        ({"/pub/priv": EPHEMERAL}, "ephemeral", "encrypted", "/pub/priv/secret"),
        ({"/other": PLAIN}, "a place is plain", "that is a link", "/other/link"),
        ({"/other/link": ENCRYPTED}, "a place is encrypted", "that is a link", "/other/link"),
        ({"/other/link/x": ENCRYPTED}, "a place is encrypted", "that is a link", "/other/link"),
        ({"/pub/again/x": PLAIN}, "a folder is plain", "that is no folder", "/pub/again/x"),
    ],
)
def test_the_policys_word_wins(
    bench: VolumeBench,
    classes: dict[str, RegionClass],
    expected: str,
    found: str,
    path: str,
    *,
    writable: bool,
) -> None:
    """A file of another class than its path's is refused before anything is read or written."""
    fs = bench.writer()
    shown = put(fs, b"shown", b"p" * 700, parent=folder(fs, "/pub"))
    fs.link(shown, folder(fs, "/pub"), b"again")
    put(fs, b"secret", b"s" * 700, parent=folder(fs, "/pub/priv"))
    fs.symlink(folder(fs, "/other"), b"link", b"x", 0, 0)
    fs.close()
    bench.regions = Regions({**REGIONS.classes, **classes})
    error = code_of(bench, writable=writable)
    assert (error.expected, error.found, error.detail) == (expected, found, path)
    assert path not in error.public


@pytest.mark.spec("VOL-83")
def test_every_name_of_a_file_counts(bench: VolumeBench) -> None:
    """A file with names in two regions is refused, though one of them has its class."""
    bench.regions = Regions({"/pub": AUTHENTICATED, "/more": AUTHENTICATED})
    fs = bench.writer()
    fs.link(put(fs, b"a", b"x", parent=folder(fs, "/pub")), folder(fs, "/more"), b"b")
    fs.close()
    bench.regions = Regions({"/pub": AUTHENTICATED})
    assert code_of(bench, writable=False).detail == "/more/b"


@pytest.mark.spec("VOL-83")
def test_without_regions_only_encrypted_files_are_taken(bench: VolumeBench) -> None:
    """Forgetting the regions is the strictest choice, not the weakest."""
    fs = bench.writer()
    put(fs, b"shown", b"p", parent=folder(fs, "/pub"))
    fs.close()
    bench.regions = Regions({})
    assert code_of(bench, writable=False).found == "authenticated"
    bench.regions = Regions.as_recorded()
    fs = bench.writer()
    assert get(fs, b"shown", parent=folder(fs, "/pub")) == b"p"
    assert fs.protection(put(fs, b"new", b"p", parent=folder(fs, "/pub"))) is ENCRYPTED
    assert fs.protection(fs.lookup(folder(fs, "/pub"), b"shown").ino) is AUTHENTICATED


@pytest.mark.spec("VOL-80", "VOL-81", "VOL-82")
@pytest.mark.parametrize("size", [0, 1, 8, 511, 512, 513, 1024, 8192, 8193, 40_000, 400_000])
def test_an_authenticated_file_is_stored_readable_and_nothing_else_is(size: int) -> None:
    """Every block of its content is in the store as it is; names, sizes and neighbours are not."""
    bench = VolumeBench(regions=REGIONS)
    bench.create()
    fs = bench.writer()
    shown = bytes(range(1, 256)) * (size // 255 + 1)
    shown = shown[:size]
    secret = bytes(byte ^ 0xA5 for byte in shown)
    pub, priv = folder(fs, "/pub"), folder(fs, "/pub/priv")
    put(fs, b"a-readable-name", shown, parent=pub)
    put(fs, b"a-secret-name", secret, parent=priv)
    fs.close()
    stored = b"".join(bytes(data) for data in bench.store.files.values())
    for start in range(0, size, 512):
        assert shown[start : start + 512] in stored
        assert size < 8 or secret[start : start + 512][:64] not in stored or size - start < 8
    assert b"-name" not in stored
    fs = bench.reader()
    assert get(fs, b"a-readable-name", parent=pub) == shown
    assert get(fs, b"a-secret-name", parent=priv) == secret


@pytest.mark.spec("VOL-81")
def test_what_was_cut_from_an_encrypted_file_is_in_no_readable_block() -> None:
    """Memory that held an encrypted file's bytes is never stored behind a readable file's end."""
    bench = VolumeBench(regions=REGIONS, block_bytes=4096)
    bench.create()
    fs = bench.writer()
    pub = folder(fs, "/pub")
    secret = put(fs, b"secret", b"S" * 40_000)
    for size in (39_000, 5000, 1, 0):
        truncate(fs, secret, size)
        shown = put(fs, b"shown%d" % size, b"p" * (size + 1), parent=pub)
        truncate(fs, shown, size // 2 + 1)
        fs.fsync(shown)
    fs.close()
    assert b"S" * 8 not in b"".join(bytes(data) for data in bench.store.files.values())


@pytest.mark.spec("VOL-78", "VOL-81")
def test_rekeying_moves_readable_blocks_too(bench: VolumeBench) -> None:
    """After a rekey nothing depends on the first key, and every file has the class it had."""
    fs = bench.writer()
    pub = folder(fs, "/pub")
    shown, secret = bytes(range(256)) * 100, bytes(range(255, -1, -1)) * 100
    put(fs, b"shown", shown, parent=pub)
    put(fs, b"small", shown[:100], parent=pub)
    put(fs, b"secret", secret)
    fs.close()
    bench.rotate()
    bench.rekey()
    bench.retire()
    assert bench.keys.oldest == 2
    fs = bench.reader()
    assert get(fs, b"shown", parent=pub) == shown
    assert get(fs, b"small", parent=pub) == shown[:100]
    assert get(fs, b"secret") == secret
    assert fs.protection(fs.lookup(pub, b"shown").ino) is AUTHENTICATED
