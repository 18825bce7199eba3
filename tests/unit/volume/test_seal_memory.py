"""Sealing files that are in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloister.errors import CloisterError
from cloister.volume.anchor import AnchorState, PinnedAnchor
from cloister.volume.reader import VolumeReader
from cloister.volume.seal import Progress
from cloister.volume.seal_memory import seal_memory

KEY = bytes(range(32))
AT_NS = 3_000_000_000


def quiet(_: Progress) -> None:
    pass


def test_files_come_back_as_they_were(tmp_path: Path) -> None:
    """Contents, sizes and times are those given, checked by their digests; names are all there."""
    files = {"empty": b"", "tiny": b"t", "block": os.urandom(65536), "large": os.urandom(3_000_001)}
    seen: list[int] = []
    identity = seal_memory(
        files, tmp_path / "vol", KEY, at_ns=AT_NS, progress=lambda p: seen.append(p.octets)
    )
    pinned = PinnedAnchor(AnchorState(identity.version, identity.root, 0))
    with VolumeReader(tmp_path / "vol", KEY, anchor=pinned) as reader:
        found = {item.path: item.attributes for item in reader.list()}
        assert {name: reader.open(name).readall() for name in found} == files
        report = reader.verify(progress=quiet)
    assert {item.mtime_ns for item in found.values()} == {AT_NS}
    assert (report.files, report.digests) == (4, 4)
    assert seen[-1] == sum(map(len, files.values()))


def test_nothing_lies_on_disk_in_plain(tmp_path: Path) -> None:
    """Neither contents nor names are found in any file of the store."""
    files = {"a-name-to-look-for": b"a text to look for " * 5000}
    seal_memory(files, tmp_path / "vol", KEY, at_ns=AT_NS, progress=quiet)
    stored = b"".join(p.read_bytes() for p in (tmp_path / "vol").rglob("*") if p.is_file())
    assert len(stored) > 90_000
    assert b"to look for" not in stored
    assert b"a-name-to" not in stored


def test_a_folder_that_is_taken_is_refused(tmp_path: Path) -> None:
    """Nothing is overwritten."""
    (tmp_path / "there").write_bytes(b"x")
    with pytest.raises(CloisterError) as caught:
        seal_memory({"a": b"b"}, tmp_path, KEY, at_ns=AT_NS, progress=quiet)
    assert caught.value.code == "config.exists"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    """A name cannot lead elsewhere, and nothing is begun."""
    with pytest.raises(CloisterError) as caught:
        seal_memory({name: b"b"}, tmp_path / "vol", KEY, at_ns=AT_NS, progress=quiet)
    assert caught.value.code == "protocol.local"
    assert not (tmp_path / "vol").exists()
