"""Stored and deflated members are unpacked; others are none of ours."""

from __future__ import annotations

import io
import zipfile

import pytest

from cloister.partition.unpacking import UNPACKING_ERRORS, is_plain


def member(method: int) -> zipfile.ZipInfo:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        archive.writestr("part", bytes(100))
    return zipfile.ZipFile(data).infolist()[0]


@pytest.mark.parametrize(
    ("method", "plain"),
    [
        (zipfile.ZIP_STORED, True),
        (zipfile.ZIP_DEFLATED, True),
        (zipfile.ZIP_BZIP2, False),
        (zipfile.ZIP_LZMA, False),
    ],
)
def test_two_methods_are_plain(method: int, *, plain: bool) -> None:
    assert is_plain(member(method)) is plain


def test_what_is_encrypted_is_not_plain() -> None:
    encrypted = member(zipfile.ZIP_STORED)
    encrypted.flag_bits |= 1
    assert not is_plain(encrypted)


@pytest.mark.parametrize("data", [b"", b"PK", bytes(100)])
def test_what_is_no_archive_is_among_the_errors(data: bytes) -> None:
    with pytest.raises(UNPACKING_ERRORS):
        zipfile.ZipFile(io.BytesIO(data)).read("part")
