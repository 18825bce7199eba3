"""The secret side's files: labels, and the places they are read from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cloister.errors import CloisterError
from cloister.partition.sealing import (
    folder_reading,
    memory_reading,
    part_file,
    read_label_list,
    read_labels,
    volume_reading,
    write_labels,
)
from cloister.testing.volume import VolumeBench, put

SALT = bytes(range(32))


def test_names_of_parts() -> None:
    """A suffix that tools know."""
    assert part_file("middle", "onnx") == "middle.onnx"
    assert part_file("front", "litert") == "front.tflite"


def test_labels_come_back() -> None:
    """With a salt, so that two packages' files of the same labels differ."""
    labels = ("a cat", "chien", "犬")
    data = write_labels(labels, salt=SALT)
    assert read_labels(data) == labels
    assert write_labels(labels, salt=bytes(32)) != data


@pytest.mark.parametrize("labels", [(), ("",), ("a\nb",), ("x" * 513,)])
def test_labels_that_are_none_are_not_written(labels: tuple[str, ...]) -> None:
    """An empty list, an empty label, one that breaks a line, one that is too long."""
    with pytest.raises(CloisterError) as caught:
        write_labels(labels, salt=SALT)
    assert caught.value.code == "plan.malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "cloister/labels/v2"},
        {"salt": "00"},
        {"salt": "G" * 64},
        {"labels": "abc"},
        {"labels": [1]},
        {"more": 1},
    ],
)
def test_a_file_of_labels_has_one_form(changes: dict[str, object]) -> None:
    """Other versions, salts and lists."""
    value = json.loads(write_labels(("a",), salt=SALT)) | changes
    with pytest.raises(CloisterError) as caught:
        read_labels(json.dumps(value).encode())
    assert caught.value.code == "plan.malformed"


def test_an_owners_list_has_two_forms() -> None:
    """Lines, and a JSON array."""
    assert read_label_list(b"a cat\nchien\n") == ("a cat", "chien")
    assert read_label_list(b' ["a cat", "chien"]') == ("a cat", "chien")


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"a\n\nb", b"\xff", b"[1]", b'["a"', b"a\x1bb", b'[""]']
)
def test_what_is_no_list_is_refused(data: bytes) -> None:
    """Nothing, empty lines, other bytes, escapes."""
    with pytest.raises(CloisterError) as caught:
        read_label_list(data)
    assert caught.value.code == "config.value"


def test_a_folder_is_read_without_following_links(tmp_path: Path) -> None:
    """Files alone, one byte more than they may have, and what is missing has a code."""
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    read = folder_reading(tmp_path)
    assert read("file", 10) == b"12345"
    assert read("file", 3) == b"1234"
    for name, code in (
        ("none", "config.missing"),
        ("link", "config.file"),
        ("folder", "config.file"),
        ("pipe", "config.file"),
    ):
        with pytest.raises(CloisterError) as caught:
            read(name, 10)
        assert caught.value.code == code


def test_memory_is_read_likewise() -> None:
    """One byte more than it may have."""
    read = memory_reading({"file": b"12345"})
    assert (read("file", 10), read("file", 3)) == (b"12345", b"1234")
    with pytest.raises(CloisterError) as caught:
        read("none", 1)
    assert caught.value.code == "config.missing"


def test_a_volume_is_read_without_a_mount() -> None:
    """Its root's files alone."""
    bench = VolumeBench()
    bench.create()
    writer = bench.writer()
    put(writer, b"file", b"12345" * 1000)
    writer.mkdir(1, b"folder", 0o755, 0, 0)
    writer.close()
    reader = bench.reader()
    read = volume_reading(reader)
    assert read("file", 10_000) == b"12345" * 1000
    assert read("file", 3) == b"1234"
    for name, code in (("none", "config.missing"), ("folder", "config.file")):
        with pytest.raises(CloisterError) as caught:
            read(name, 10)
        assert caught.value.code == code
    reader.close()
