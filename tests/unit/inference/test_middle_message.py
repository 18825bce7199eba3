"""Layouts of tensors; frames themselves are in the vectors of outside-middle-v1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cloister.errors import LocalProtocolError
from cloister.inference.middle_message import Layout, failed_head, read_failed

ARRAYS: dict[str, Any] = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.ones((), np.bool_),
    "c": np.zeros((0, 4), np.int64),
    "d": np.array([1, 2**63], np.uint64),
    "e": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
}


@pytest.mark.parametrize("private", [False, True])
def test_arrays_come_back(*, private: bool) -> None:
    layout = Layout.of(ARRAYS)
    assert layout.size == 64 * 4
    body = bytearray(b"\xff" * layout.size)
    layout.write(ARRAYS, memoryview(body))
    found = layout.read(memoryview(body), private=private)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    body[:4] = b"\0\0\0\x40"
    assert float(found["a"][0, 0]) == (0.0 if private else 2.0)


def test_another_shape_is_our_error() -> None:
    layout = Layout.of({"a": np.zeros((2, 3))})
    with pytest.raises(LocalProtocolError) as caught:
        layout.write({"a": np.zeros((3, 2))}, memoryview(bytearray(layout.size)))
    assert caught.value.code == "protocol.local"


def test_reasons_are_cut_and_printable() -> None:
    assert read_failed(failed_head(3, "a\x1b[2J" + "b" * 300)) == (3, "a?[2J" + "b" * 195)
