"""A new file is there whole, for its owner only, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cloister.errors import ConfigError, StorageFullError, UnavailableError
from cloister.keyservice.new_file import new_file, write_new_file


def test_it_is_whole_and_private(tmp_path: Path) -> None:
    """Nothing else is left in the folder."""
    write_new_file(tmp_path / "new", b"content")
    assert (tmp_path / "new").read_bytes() == b"content"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


def test_until_the_end_there_is_nothing(tmp_path: Path) -> None:
    """And nothing after a failure."""

    def write_half() -> None:
        with new_file(tmp_path / "new") as (file, unfinished):
            file.write(b"half")
            assert unfinished.exists()
            assert not (tmp_path / "new").exists()
            raise KeyError("stop")

    with pytest.raises(KeyError):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_another_file_stays(tmp_path: Path) -> None:
    """Also one that somebody made in the meantime."""
    path = tmp_path / "new"

    def write_too_late() -> None:
        with new_file(path) as (file, _):
            file.write(b"ours")
            path.write_bytes(b"theirs")

    with pytest.raises(ConfigError) as e:
        write_too_late()
    assert e.value.code == "config.exists"
    assert path.read_bytes() == b"theirs"
    with pytest.raises(ConfigError) as e:
        write_new_file(path, b"again")
    assert e.value.code == "config.exists"


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    """It was never finished."""
    (tmp_path / ".new.unfinished").write_bytes(b"half")
    write_new_file(tmp_path / "new", b"whole")
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With the code of a file that cannot be made."""
    with pytest.raises(ConfigError) as e:
        write_new_file(tmp_path / "missing" / "new", b"")
    assert e.value.code == "config.file"


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, StorageFullError, "storage.full"),
        (errno.EIO, UnavailableError, "keyservice.state"),
    ],
)
def test_a_failing_disk_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[Exception],
    code: str,
) -> None:
    """Full and broken disks have codes of their own."""

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind) as e:
        write_new_file(tmp_path / "new", b"content")
    assert getattr(e.value, "code", "") == code
    assert list(tmp_path.iterdir()) == []
