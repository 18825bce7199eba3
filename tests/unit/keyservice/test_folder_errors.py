"""A folder that cannot be written says why."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cloister.errors import CloisterError
from cloister.keyservice.folder_errors import using_folder


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "storage.full"),
        (errno.EDQUOT, "storage.full"),
        (errno.EACCES, "config.file"),
    ],
)
def test_each_kind_of_error_has_its_code(number: int, code: str) -> None:
    """A full disk is for a person to make room on; anything else is a folder to look at."""
    with pytest.raises(CloisterError) as e, using_folder(Path("/somewhere"), what="the notes"):
        raise OSError(number, "as the system says")
    assert e.value.code == code
    assert "the notes" in e.value.public or "/somewhere" in e.value.public
