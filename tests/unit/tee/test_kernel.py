"""Files of the kernel: whole answers, whole writes, and errors that say what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cloister.tee.kernel import LinuxFiles, refused

FILES = LinuxFiles()


def test_a_read_returns_all_or_says_that_it_is_too_much(tmp_path: Path) -> None:
    """In as many pieces as it takes."""
    path = tmp_path / "blob"
    path.write_bytes(b"x" * 200_000)
    assert FILES.read(path, max_bytes=200_000) == b"x" * 200_000
    with pytest.raises(OSError, match="too large") as e:
        FILES.read(path, max_bytes=199_999)
    assert e.value.errno == errno.EFBIG


def test_a_short_read_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may give less than was asked for."""
    path = tmp_path / "blob"
    path.write_bytes(b"0123456789")
    real = os.read
    monkeypatch.setattr("cloister.tee.kernel.os.read", lambda fd, size: real(fd, min(size, 3)))
    assert FILES.read(path, max_bytes=64) == b"0123456789"


def test_a_write_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a request is another request."""
    path = tmp_path / "inblob"
    path.write_bytes(b"")
    FILES.write(path, b"data")
    assert path.read_bytes() == b"data"
    monkeypatch.setattr("cloister.tee.kernel.os.write", lambda _fd, data: len(data) - 1)
    with pytest.raises(OSError, match="a part only"):
        FILES.write(path, b"data")


def test_links_are_not_followed(tmp_path: Path) -> None:
    """The kernel's files are none."""
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for ask in (
        lambda: FILES.read(tmp_path / "link", max_bytes=4),
        lambda: FILES.write(tmp_path / "link", b"y"),
    ):
        with pytest.raises(OSError, match="symbolic links"):
            ask()


def test_directories_are_made_and_removed(tmp_path: Path) -> None:
    """As configfs wants it."""
    FILES.make_directory(tmp_path / "entry")
    assert (tmp_path / "entry").stat().st_mode & 0o777 == 0o700
    FILES.remove_directory(tmp_path / "entry")
    assert not (tmp_path / "entry").exists()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EBUSY, "attester.busy"),
        (errno.EAGAIN, "attester.busy"),
        (errno.ENOENT, "machine.attester"),
        (errno.EOPNOTSUPP, "machine.attester"),
        (errno.EINVAL, "attester.failed"),
        (errno.EACCES, "attester.failed"),
    ],
)
def test_each_error_of_the_kernel_has_a_meaning(number: int, code: str) -> None:
    """Busy may pass, absent will not."""
    error = refused(OSError(number, os.strerror(number), "/x"), "no report")
    assert error.code == code
    assert error.public == f"no report: {os.strerror(number)}"
