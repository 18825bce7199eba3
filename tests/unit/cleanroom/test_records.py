"""Shards: what the terms say is read, and nothing else is."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.records import load_records
from cloister.errors import ConfigError, MalformedError

X = np.arange(5 * 6, dtype=np.float32).reshape(5, 3, 2)
Y = np.array([0, 1, 2, 0, 1], np.int64)


def shard(folder: Path, x: Any = X, y: Any = Y) -> Path:
    """Write a shard."""
    for name, data in (("x.npy", x), ("y.npy", y)):
        if isinstance(data, bytes):
            (folder / name).write_bytes(data)
        else:
            np.save(folder / name, data, allow_pickle=True)
    return folder


def load(folder: Path) -> tuple[Any, Any]:
    """Read it, as the terms of these tests have it."""
    records = load_records(folder, examples=5, shape=(3, 2), classes=3)
    return records.x, records.y


def test_records_come_as_they_are(tmp_path: Path) -> None:
    """Floats stay, bytes become shares of 255, labels are 32 bits."""
    x, y = load(shard(tmp_path))
    np.testing.assert_array_equal(x, X)
    assert y.dtype == np.int32
    assert y.tolist() == Y.tolist()
    x, _ = load(shard(tmp_path, x=np.full((5, 3, 2), 255, np.uint8)))
    assert x.dtype == np.float32
    assert (x == 1).all()


def test_the_last_tenth_is_held_out(tmp_path: Path) -> None:
    """One record at least, and one is left to train on."""
    shard(tmp_path)
    seen, held = load_records(tmp_path, examples=5, shape=(3, 2), classes=3).parted()
    assert (len(seen.x), len(held.x)) == (4, 1)


class Runs:
    """Makes a folder where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_no_object_is_made_of_a_shard(tmp_path: Path) -> None:
    """Neither of a pickle nor of an array of objects."""
    mark = tmp_path / "mark"
    objects = np.array([Runs(mark)] * 5, dtype=object)
    pickled = f"cos\nmkdir\n(V{mark}\ntR.".encode()  # what a reader of pickles would run
    for x in (pickled, objects):
        with pytest.raises(MalformedError) as caught:
            load(shard(tmp_path, x=x))
        assert caught.value.code == "records.malformed"
        assert not mark.exists()


def cut(array: Any, by: int) -> bytes:
    """Return a file of an array without its last bytes, or with more."""
    stream = io.BytesIO()
    np.save(stream, array)
    data = stream.getvalue()
    return data[:by] if by < 0 else data + bytes(by)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X[:4], Y),
        (X.reshape(5, 6), Y),
        (X.astype(np.complex64), Y),
        (np.full_like(X, np.nan), Y),
        (np.full_like(X, np.inf), Y),
        (X, Y + 1),
        (X, Y - 1),
        (X, Y.astype(np.float32)),
        (X, Y[:, None]),
        (cut(X, -1), Y),
        (cut(X, 1), Y),
        (cut(X, 5000), Y),
        (b"", Y),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 70000, Y),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"{'descr': '<f4'}", Y),
        (X, b"\x93NUMPY\x09\x00"),
    ],
)
def test_what_is_not_in_the_terms_is_refused(tmp_path: Path, x: Any, y: Any) -> None:
    """By one error, whatever is wrong."""
    with pytest.raises(MalformedError) as caught:
        load(shard(tmp_path, x, y))
    assert caught.value.code == "records.malformed"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """As any file."""
    with pytest.raises(ConfigError, match=r"x\.npy"):
        load(tmp_path)
