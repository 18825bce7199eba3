"""What the memory file system has beyond the contract: limits and failures on request."""

from __future__ import annotations

import errno
from itertools import count

import pytest

from cloister.errors import StorageFullError, TamperedError
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.volume.filesystem import ROOT_INO, SetAttributes


def test_capacity_is_enforced_and_given_back() -> None:
    """A full store says so with its code, and has room again after a file is gone."""
    fs = MemoryFilesystem(clock=count(1).__next__, capacity=1 << 20)
    ino = fs.create(ROOT_INO, b"f", 0o100600, 0, 0).ino
    with pytest.raises(StorageFullError) as caught:
        fs.write(ino, 0, memoryview(bytes((1 << 20) + 1)))
    assert caught.value.code == "storage.full"
    assert fs.space().free_bytes == 0
    fs.unlink(ROOT_INO, b"f")
    assert fs.space().free_bytes == 1 << 20


def test_read_only_refuses_changes() -> None:
    """Every kind of change is EROFS."""
    fs = MemoryFilesystem(clock=count(1).__next__, read_only=True)
    for call in (
        lambda: fs.create(ROOT_INO, b"f", 0o100600, 0, 0),
        lambda: fs.set_attributes(ROOT_INO, SetAttributes(mode=0)),
        lambda: fs.rmdir(ROOT_INO, b"d"),
    ):
        with pytest.raises(OSError, match="read-only") as caught:
            call()
        assert caught.value.errno == errno.EROFS


def test_it_fails_as_told() -> None:
    """A failure set from outside is raised by every operation until taken back."""
    fs = MemoryFilesystem(clock=count(1).__next__)
    fs.fail_with = TamperedError("x", code="volume.tampered")
    with pytest.raises(TamperedError):
        fs.attributes(ROOT_INO)
    fs.fail_with = None
    assert fs.attributes(ROOT_INO).ino == ROOT_INO


def test_releasing_what_is_not_open_is_an_error() -> None:
    """A surplus release is a bug of the caller and is not hidden."""
    fs = MemoryFilesystem(clock=count(1).__next__)
    with pytest.raises(OSError, match="not open"):
        fs.release(ROOT_INO)
