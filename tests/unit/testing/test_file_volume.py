"""A volume with its key and anchor beside it."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from cloister.testing.file_volume import describe_volume, open_file_volume
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.volume.filesystem import ROOT_INO


def test_it_is_made_once_and_then_opened_again(tmp_path: Path) -> None:
    """The first opening makes the volume; later ones find what was left, at a newer version."""
    config = bytes(tmp_path / "v")
    first = open_file_volume(config)
    first.mkdir(ROOT_INO, b"d", 0o755, 0, 0)
    before = int(describe_volume(first))
    first.close()
    again = open_file_volume(config)
    assert [e.name for e in again.list_directory(ROOT_INO)] == [b"d"]
    assert int(describe_volume(again)) > before
    again.close()


def test_what_has_no_version_is_described_as_nothing() -> None:
    """A file system without versions has an empty description."""
    assert describe_volume(MemoryFilesystem(clock=count(1).__next__)) == b""
