"""Texts as tensors, there and back."""

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.inference.text_tensor import (
    texts_from_binary,
    texts_from_json,
    texts_to_binary,
    texts_to_json,
)

TEXTS = np.array([["0.5:1:ein", ""], ["½", "x"]], object)


@pytest.mark.spec("SRV-71")
def test_there_and_back() -> None:
    """Both forms."""
    data = texts_to_binary(TEXTS)
    assert data[:4] == (9).to_bytes(4, "little")
    back = texts_from_binary(memoryview(data), shape=(2, 2), name="y")
    assert back.tolist() == TEXTS.tolist()
    again = texts_from_json(texts_to_json(TEXTS).tolist(), shape=(2, 2), name="y")
    assert again.tolist() == TEXTS.tolist()


@pytest.mark.spec("SRV-71")
@pytest.mark.parametrize(
    "data",
    [b"\1", b"\2\0\0\0a", b"\1\0\0\0\xff", b"\1\0\0\0ab", b"\xff\xff\xff\xff", b"\1\0\0\0a" * 2],
)
def test_bytes_that_are_none(data: bytes) -> None:
    """Cut, beyond the end, no UTF-8, or another number of them."""
    with pytest.raises(MalformedError) as caught:
        texts_from_binary(memoryview(data), shape=(1,), name="y")
    assert caught.value.code == "message.malformed"


@pytest.mark.parametrize("data", ["a", [1], ["a", "b"], None])
def test_lists_that_are_none(data: object) -> None:
    """Not a list, not texts, or another number."""
    with pytest.raises(MalformedError) as caught:
        texts_from_json(data, shape=(1,), name="y\n")
    assert caught.value.code == "message.malformed"
