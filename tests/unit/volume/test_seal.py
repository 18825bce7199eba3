"""Sealing a directory, reading it back, and writing it out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloister.errors import CallerError, CloisterError, ConfigError, TamperedError
from cloister.volume.anchor import AnchorState, PinnedAnchor
from cloister.volume.format import VolumeIdentity
from cloister.volume.opening import observe, open_volume
from cloister.volume.reader import VolumeReader
from cloister.volume.seal import Progress, extract_tree, seal_tree

KEY = bytes(range(32))


def quiet(_: Progress) -> None:
    pass


def make_source(base: Path) -> Path:
    source = base / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "empty-dir").mkdir()
    (source / "empty").write_bytes(b"")
    (source / "tiny").write_bytes(b"t" * 100)
    (source / "small").write_bytes(os.urandom(5000))
    (source / "deep" / "block").write_bytes(os.urandom(65536))
    (source / "deep" / "er" / "large").write_bytes(os.urandom(3_000_001))
    (source / "link").symlink_to("deep/er/large")
    (source / "tiny").chmod(0o750)
    os.utime(source / "tiny", ns=(1, 2_000_000_000))
    return source


def pinned(identity: VolumeIdentity) -> PinnedAnchor:
    return PinnedAnchor(AnchorState(identity.version, identity.root, 0))


def tree_of(base: Path) -> dict[str, bytes | str | None]:
    found: dict[str, bytes | str | None] = {}
    for path in sorted(base.rglob("*")):
        name = str(path.relative_to(base))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


def test_extracted_is_what_was_sealed(tmp_path: Path) -> None:
    """Sealing and extracting give the same names, bytes, links, modes and times."""
    source = make_source(tmp_path)
    identity = seal_tree(source, tmp_path / "vol", KEY, progress=quiet)
    with VolumeReader(tmp_path / "vol", KEY, anchor=pinned(identity)) as reader:
        extract_tree(reader.filesystem, tmp_path / "out", progress=quiet)
        report = reader.verify(progress=quiet)
        listed = [item.path for item in reader.list()]
    assert tree_of(tmp_path / "out") == tree_of(source)
    status = (tmp_path / "out" / "tiny").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o750, 2_000_000_000)
    assert (report.files, report.digests, report.octets) == (5, 5, 3_070_637)
    assert sorted(listed) == sorted(tree_of(source))
    assert report.identity == identity


def test_identity_is_observed_without_a_key(tmp_path: Path) -> None:
    """`observe` says the same identity that sealing returned."""
    identity = seal_tree(make_source(tmp_path), tmp_path / "vol", KEY, progress=quiet)
    assert observe(tmp_path / "vol") == identity
    assert identity.version == 1


def test_sealed_twice_is_two_identities(tmp_path: Path) -> None:
    """The same tree sealed twice under one key gives two volumes that share no byte string."""
    source = make_source(tmp_path)
    one = seal_tree(source, tmp_path / "one", KEY, progress=quiet)
    two = seal_tree(source, tmp_path / "two", KEY, progress=quiet)
    assert one.volume_id != two.volume_id
    assert one.root != two.root
    pack = [(tmp_path / name / "objects" / "pack").read_bytes() for name in ("one", "two")]
    assert pack[0] != pack[1]


def test_no_plaintext_on_disk(tmp_path: Path) -> None:
    """Neither content nor names appear in any file of the volume."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "SECRET-NAME").write_bytes(b"SECRET-CONTENT " * 10_000)
    (source / "tiny").write_bytes(b"SECRET-TINY")
    seal_tree(source, tmp_path / "vol", KEY, progress=quiet)
    for path in (tmp_path / "vol").rglob("*"):
        assert "SECRET" not in path.name
        if path.is_file():
            assert b"SECRET" not in path.read_bytes()
            assert path.stat().st_mode & 0o077 == 0
        else:
            assert path.stat().st_mode & 0o077 == 0


def test_reader_seeks_and_reads_into(tmp_path: Path) -> None:
    """A file in a reader behaves like a file, and fills the caller's memory at any offset."""
    source = make_source(tmp_path)
    expected = (source / "deep" / "er" / "large").read_bytes()
    identity = seal_tree(source, tmp_path / "vol", KEY, progress=quiet)
    with VolumeReader(tmp_path / "vol", KEY, anchor=pinned(identity)) as reader:
        with reader.open("deep/er/large") as file:
            assert file.size == len(expected)
            assert file.read() == expected
            assert file.seek(-10, os.SEEK_END) == len(expected) - 10
            assert file.read(100) == expected[-10:]
            assert file.seek(5) == file.tell() == 5
            assert file.seek(1, os.SEEK_CUR) == 6
            out = bytearray(70_000)
            assert file.pread_into(out, 65_000) == 70_000
            assert out == expected[65_000:135_000]
            assert file.readable()
            assert file.seekable()
            with pytest.raises(OSError, match="negative"):
                file.seek(-1)
        with pytest.raises(FileNotFoundError):
            reader.open("deep/none")
        with pytest.raises(IsADirectoryError):
            reader.open("deep")


def test_another_key_is_foreign(tmp_path: Path) -> None:
    """A volume opened with another key is refused as foreign."""
    identity = seal_tree(make_source(tmp_path), tmp_path / "vol", KEY, progress=quiet)
    with pytest.raises(TamperedError) as caught:
        VolumeReader(tmp_path / "vol", bytes(32), anchor=pinned(identity))
    assert caught.value.code == "volume.foreign"


def test_sealed_cannot_be_written(tmp_path: Path) -> None:
    """Opening a sealed volume for writing is a mistake of the caller."""
    identity = seal_tree(make_source(tmp_path), tmp_path / "vol", KEY, progress=quiet)
    with pytest.raises(CallerError) as caught:
        open_volume(tmp_path / "vol", KEY, anchor=pinned(identity), writable=True)
    assert caught.value.code == "caller.misuse"


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError])
def test_what_was_begun_is_gone(tmp_path: Path, end: type[BaseException], *, existed: bool) -> None:
    """The same command works the next time; an empty folder that was there stays."""
    source = make_source(tmp_path)
    if existed:
        (tmp_path / "vol").mkdir()

    def stops(said: Progress) -> None:
        if said.octets > 2_000_000:
            raise end

    with pytest.raises(end):
        seal_tree(source, tmp_path / "vol", KEY, progress=stops)
    assert (tmp_path / "vol").exists() == existed
    assert not existed or list((tmp_path / "vol").iterdir()) == []
    seal_tree(source, tmp_path / "vol", KEY, progress=quiet)


def test_short_key_is_refused(tmp_path: Path) -> None:
    """A key that is not 32 bytes is a mistake of the caller."""
    with pytest.raises(CallerError) as caught:
        seal_tree(make_source(tmp_path), tmp_path / "vol", b"short", progress=quiet)
    assert caught.value.code == "caller.misuse"


def _no_source(base: Path) -> None:
    seal_tree(base / "none", base / "vol", KEY, progress=quiet)


def _taken(base: Path) -> None:
    (base / "vol").mkdir()
    (base / "vol" / "x").write_bytes(b"")
    seal_tree(make_source(base), base / "vol", KEY, progress=quiet)


def _is_file(base: Path) -> None:
    (base / "vol").write_bytes(b"")
    seal_tree(make_source(base), base / "vol", KEY, progress=quiet)


def _pipe(base: Path) -> None:
    source = make_source(base)
    os.mkfifo(source / "pipe")
    seal_tree(source, base / "vol", KEY, progress=quiet)


def _extract_taken(base: Path) -> None:
    source = make_source(base)
    identity = seal_tree(source, base / "vol", KEY, progress=quiet)
    with VolumeReader(base / "vol", KEY, anchor=pinned(identity)) as reader:
        extract_tree(reader.filesystem, source, progress=quiet)


@pytest.mark.parametrize(
    ("attempt", "code"),
    [
        (_no_source, "config.value"),
        (_taken, "config.exists"),
        (_is_file, "config.exists"),
        (_pipe, "config.value"),
        (_extract_taken, "config.exists"),
    ],
)
def test_refusals_say_what_is_wrong(tmp_path: Path, attempt: object, code: str) -> None:
    """What cannot be sealed or extracted is refused with its code."""
    with pytest.raises(ConfigError) as caught:
        attempt(tmp_path)
    assert caught.value.code == code


def test_missing_volume(tmp_path: Path) -> None:
    """A plain folder is a truncated volume; one that is not there was mistyped."""
    (tmp_path / "empty").mkdir()
    for name, code in (("none", "config.missing"), ("empty", "volume.truncated")):
        with pytest.raises(CloisterError) as caught:
            observe(tmp_path / name)
        assert caught.value.code == code


def test_a_plain_folder_is_named_as_one(tmp_path: Path) -> None:
    """With how to seal it; where a volume's other parts are there, its superblock is gone."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "model.onnx").write_bytes(b"m")
    with pytest.raises(TamperedError) as caught:
        observe(tmp_path / "plain")
    assert "is a plain folder" in caught.value.public
    assert "cloister volume seal" in str(caught.value.hint)
    (tmp_path / "cut" / "journal").mkdir(parents=True)
    with pytest.raises(TamperedError) as caught:
        observe(tmp_path / "cut")
    assert "its superblock is missing" in caught.value.public
