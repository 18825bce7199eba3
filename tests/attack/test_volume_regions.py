"""Threat: the host, or an older writer, uses the regions of a volume to read or to change more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cloister.errors import AppraisalError, ConfigError, TamperedError
from cloister.testing.store import MemoryStore
from cloister.testing.volume import VolumeBench, get, put
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.reader import verify_tree
from cloister.volume.regions import RegionClass, Regions

SHOWN = b"everybody may read this sentence. " * 60
TWIN = SHOWN[::-1]
SECRET = b"nobody else may read that sentence." * 60
REGIONS = Regions({"/pub": RegionClass.AUTHENTICATED})
FILES = ((b"shown", SHOWN), (b"small", SHOWN[:300]), (b"twin", TWIN))


def make(regions: Regions = REGIONS) -> VolumeBench:
    """Return a volume with readable files in /pub and the same names, in secret, above it."""
    bench = VolumeBench(regions=regions)
    bench.create()
    fs = bench.writer()
    pub = fs.mkdir(ROOT_INO, b"pub", 0o755, 0, 0).ino
    for name, data in FILES:
        put(fs, name, data, parent=pub)
        put(fs, b"secret-" + name, SECRET[: len(data)])
    fs.close()
    return bench


def read_all(bench: VolumeBench) -> None:
    fs = bench.reader()
    try:
        verify_tree(fs, progress=lambda _: None)
        pub = fs.lookup(ROOT_INO, b"pub").ino
        assert [get(fs, name, parent=pub) for name, _ in FILES] == [data for _, data in FILES]
    finally:
        fs.close()


def refused(bench: VolumeBench) -> None:
    with pytest.raises(TamperedError) as caught:
        read_all(bench)
    assert caught.value.code in {"volume.tampered", "volume.truncated"}


def holder(store: MemoryStore, part: bytes) -> list[str]:
    return [path for path, data in store.files.items() if part in data]


def test_the_host_reads_readable_files_and_no_others() -> None:
    """Content of one region alone is in the store; no name is."""
    bench = make()
    stored = b"".join(bytes(data) for data in bench.store.files.values())
    assert SHOWN[:512] in stored
    assert SHOWN[:300] in stored
    for hidden in (SECRET[:35], b"shown", b"small", b"secret-", b"pub"):
        assert hidden not in stored
    read_all(bench)


def test_every_changed_bit_of_a_readable_block_is_found() -> None:
    """What the host can read it still cannot change, at the front, the end, or behind the end."""
    bench = make()
    found = 0
    for path in holder(bench.store, SHOWN[:200]):
        data = bench.store.files[path]
        for offset in range(0, len(data), 37):
            data[offset] ^= 1 << offset % 8
            try:
                read_all(bench)
            except TamperedError:
                found += 1
            data[offset] ^= 1 << offset % 8
    assert found > 60
    read_all(bench)


def test_readable_blocks_exchanged_repeated_or_zeroed() -> None:
    """Blocks of a file, of two files, and zeros cannot stand for each other."""
    for change in (
        lambda data: data[512:1024] + data[:512] + data[1024:],
        lambda data: data[:512] + data[:512] + data[1024:],
        lambda data: bytes(512) + data[512:],
        lambda data: data[:-1],
        lambda data: data[:0],
    ):
        bench = make()
        path = holder(bench.store, SHOWN[512:1024])[0]
        bench.store.files[path] = bytearray(change(bytes(bench.store.files[path])))
        refused(bench)
    bench = make()
    one, other = (holder(bench.store, text[512:1024])[0] for text in (SHOWN, TWIN))
    files = bench.store.files
    files[one], files[other] = files[other], files[one]
    refused(bench)


def test_an_older_state_of_a_readable_file() -> None:
    """A readable block that was right before an overwrite is refused; so is the whole, put back."""
    bench = make()
    before = bench.store.copy()
    fs = bench.writer()
    ino = fs.lookup(fs.lookup(ROOT_INO, b"pub").ino, b"shown").ino
    for text in (b"N", b"M"):
        fs.write(ino, 0, memoryview(text * len(SHOWN)))
        fs.fsync(ino)
    fs.close()
    after = bench.store.copy()
    path = holder(after, b"M" * 512)[0]
    bench.store.files[path][: len(before.files[path])] = before.files[path]
    refused(bench)
    bench.store = before
    with pytest.raises(TamperedError) as caught:
        bench.reader()
    assert caught.value.code == "volume.rolled-back"


def test_the_content_of_one_class_in_the_place_of_the_other() -> None:
    """Readable bytes where ciphertext belongs, and ciphertext where readable bytes do."""
    bench = make()
    shown = holder(bench.store, SHOWN[512:1024])[0]
    sealed = next(
        path
        for path, data in bench.store.files.items()
        if path.startswith("objects/")
        and "pack" not in path
        and not any(text[512:1024] in data for text in (SHOWN, TWIN))
    )
    files = bench.store.files
    for target, source in ((sealed, shown), (shown, sealed)):
        kept = bytes(files[target])
        files[target][:512] = files[source][:512]
        refused(bench)
        files[target][:] = kept
    files[sealed], files[shown] = files[shown], files[sealed]
    refused(bench)


@pytest.mark.parametrize("readable", [True, False])
def test_a_class_that_was_changed_in_the_index(readable: bool) -> None:  # noqa: FBT001  # parametrized
    """Even who can seal an index cannot have blocks of one class opened as the other."""
    bench = make()
    fs = bench.writer()
    pub = fs.lookup(ROOT_INO, b"pub").ino
    names = [(ROOT_INO, b"secret-shown")] if readable else [(pub, name) for name, _ in FILES]
    for parent, name in names:
        inode = fs._index.inodes[fs.lookup(parent, name).ino]
        inode.authenticated = readable
        fs._index.touch(inode)
    assert fs._committer is not None
    fs._committer._key_epoch = 0  # a full entry: a delta with another class does not parse
    fs.close()
    bench.regions = Regions.as_recorded()
    refused(bench)


@pytest.mark.parametrize(
    "regions",
    [
        {},
        {"/pub": RegionClass.ENCRYPTED},
        {"/pub": RegionClass.PLAIN},
        {"/pub": RegionClass.EPHEMERAL},
        {"/pub": RegionClass.AUTHENTICATED, "/secret-shown": RegionClass.AUTHENTICATED},
        {"/pub": RegionClass.AUTHENTICATED, "/pub/twin": RegionClass.ENCRYPTED},
        {"/": RegionClass.AUTHENTICATED},
    ],
)
def test_a_volume_that_was_made_under_other_regions(regions: dict[str, RegionClass]) -> None:
    """Readable data never passes for encrypted, nor does a folder of the host's cover a secret."""
    bench = make()
    bench.regions = Regions(regions)
    for opening in (bench.reader, bench.writer):
        bench.crash()
        with pytest.raises(AppraisalError) as caught:
            opening()
        assert caught.value.code == "volume.region"


@pytest.mark.parametrize(
    "move",
    [
        lambda fs, pub: fs.rename(ROOT_INO, b"secret-shown", pub, b"shown", no_replace=False),
        lambda fs, pub: fs.link(fs.lookup(ROOT_INO, b"secret-shown").ino, pub, b"new"),
        lambda fs, pub: fs.exchange(ROOT_INO, b"secret-shown", pub, b"shown"),
        lambda fs, _: fs.rename(ROOT_INO, b"pub", ROOT_INO, b"private", no_replace=False),
        lambda fs, pub: fs.rename(pub, b"inner", ROOT_INO, b"inner", no_replace=False),
    ],
)
def test_a_program_moves_a_file_to_another_class(move: Callable[..., None]) -> None:
    """Moving never changes what is readable: the program is told to copy."""
    bench = make()
    fs = bench.writer()
    pub = fs.lookup(ROOT_INO, b"pub").ino
    fs.mkdir(pub, b"inner", 0o755, 0, 0)
    with pytest.raises(OSError, match="cross-device"):
        move(fs, pub)
    fs.close()
    read_all(bench)


def test_a_protected_folder_inside_a_folder_of_the_host_s() -> None:
    """The host could remove the folder under the mount, and put its own there: it is refused."""
    for inner in (RegionClass.ENCRYPTED, RegionClass.EPHEMERAL):
        with pytest.raises(ConfigError):
            Regions({"/out": RegionClass.PLAIN, "/out/keep": inner})
