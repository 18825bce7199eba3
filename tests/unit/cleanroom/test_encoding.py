"""Messages: what can be said, what it costs, and what is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.encoding import DTYPES, Limits, Message, decode, encode, parts
from cloister.errors import LocalProtocolError, MalformedError
from cloister.wire import encode as cbor

LIMITS = Limits(1 << 20)


def again(message: Message) -> Message:
    """What the other end has of it."""
    return decode(encode(message), LIMITS)


@pytest.mark.spec("CC-1", "CC-5", "CC-60")
def test_fields_come_as_they_were_sent() -> None:
    """Floats too, and tuples as lists."""
    fields = {"a": 1.5, "b": [-0.0, {"c": (1, 2)}], "d": b"\0", "e": None, "f": "ü", "g": True}
    found = again(Message("step", fields))
    assert found.kind == "step"
    assert found.fields == fields | {"b": [-0.0, {"c": [1, 2]}]}
    assert str(found.fields["b"]) == "[-0.0, {'c': [1, 2]}]"
    assert found.fields["g"] is True


@pytest.mark.spec("CC-6", "CC-7")
@pytest.mark.parametrize("name", DTYPES)
def test_arrays_come_as_they_were_sent(name: str) -> None:
    """Whatever their order, their strides and their byte order were."""
    kept = np.arange(24).reshape(2, 3, 4).astype(DTYPES[name])
    arrays = {
        "plain": kept,
        "fortran": np.asfortranarray(kept),
        "strided": kept[:, ::2, ::-1],
        "swapped": kept.astype(kept.dtype.newbyteorder(">")),
        "none": kept[:, :0],
        "one": kept[1, 1, 1],
    }
    found = again(Message("m", {}, arrays)).arrays
    assert list(found) == sorted(arrays)
    for key, array in arrays.items():
        assert found[key].dtype == DTYPES[name]
        assert found[key].shape == np.shape(array)
        assert np.array_equal(found[key], array)


@pytest.mark.spec("CC-8")
def test_bits_are_kept() -> None:
    """A NaN that signals goes on signalling."""
    bits = np.array([0x7FA00001, 0xFF800000, 0x80000000], np.uint32)
    found = again(Message("m", {}, {"x": bits.view(np.float32)})).arrays["x"]
    assert found.view(np.uint32).tolist() == bits.tolist()


def test_numbers_of_numpy_are_fields() -> None:
    """A recipe that counts with NumPy need not convert."""
    found = again(Message("m", {"a": np.int64(3), "b": np.float32(0.5), "c": np.bool_(True)}))  # noqa: FBT003  # a number
    assert found.fields == {"a": 3, "b": 0.5, "c": True}


def test_arrays_that_were_read_are_views_of_what_was_read() -> None:
    """They can be written to where the bytes can, and are aligned."""
    data = encode(Message("m", {}, {"b": np.ones(3, np.uint8), "x": np.zeros(4)}))
    assert not decode(data, LIMITS).arrays["x"].flags.writeable
    buffer = np.frombuffer(data, np.uint8).copy()
    array = decode(buffer.data, LIMITS).arrays["x"]
    assert array.flags.writeable
    assert array.flags.aligned
    array[:] = 7
    assert decode(buffer.data, LIMITS).arrays["x"].tolist() == [7] * 4


def test_writing_does_not_copy_what_is_plain() -> None:
    """Pieces of an encoding are the arrays themselves."""
    array = np.arange(1000, dtype=np.float32)
    pieces = parts(Message("m", {}, {"x": array}))
    assert any(np.shares_memory(array, np.frombuffer(piece, np.uint8)) for piece in pieces)


Deep = Callable[[int], Any]


def nested(levels: int) -> Any:
    """Lists in lists."""
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def circle() -> list[Any]:
    """A list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.spec("CC-4", "CC-5", "CC-6", "CC-60")
@pytest.mark.parametrize(
    "message",
    [
        Message("", {}),
        Message("Step", {}),
        Message("a" * 65, {}),
        Message("m", [1]),  # type: ignore[arg-type]  # a caller's mistake
        Message("m", {"": 1}),
        Message("m", {"=f64": b"12345678"}),
        Message("m", {" a": 1}),
        Message("m", {"ä": 1}),
        Message("m", {1: 1}),  # type: ignore[dict-item]  # a caller's mistake
        Message("m", {"a": float("nan")}),
        Message("m", {"a": [float("inf")]}),
        Message("m", {"a": 2**64}),
        Message("m", {"a": "\ud800"}),
        Message("m", {"a": {1, 2}}),  # type: ignore[dict-item]  # a caller's mistake
        Message("m", {"a": lambda: 1}),  # type: ignore[dict-item]  # a caller's mistake
        Message("m", {"a": np.datetime64("2026-01-01")}),  # type: ignore[dict-item]  # the same
        Message("m", {"a": nested(13)}),
        Message("m", {"a": circle()}),
        Message("m", {}, {"a b": np.zeros(1)}),
        Message("m", {}, {1: np.zeros(1)}),  # type: ignore[dict-item]  # a caller's mistake
        Message("m", {}, {"a": np.zeros(1), 1: np.zeros(1)}),  # type: ignore[dict-item]  # the same
        Message("m", {}, {"x": np.array([object()])}),
        Message("m", {}, {"x": np.array(["text"])}),
        Message("m", {}, {"x": np.zeros(1, np.float16)}),
        Message("m", {}, {"x": np.zeros(1, np.complex64)}),
        Message("m", {}, {"x": np.zeros(1, "datetime64[s]")}),
        Message("m", {}, {"x": np.zeros(1, [("a", "<f4")])}),
        Message("m", {}, {"x": np.zeros((1,) * 9)}),
    ],
    ids=range(28),
)
def test_what_no_message_can_say(message: Message) -> None:
    """It is a mistake of the writer's, found before a byte is sent."""
    with pytest.raises(LocalProtocolError):
        encode(message)


@pytest.mark.spec("CC-2", "CC-3", "CC-6")
def test_limits_are_the_readers() -> None:
    """Of bytes, of the head, and of the number of arrays."""
    data = encode(Message("m", {"a": "b" * 100}, {"x": np.zeros(4), "y": np.zeros(4)}))
    head = int.from_bytes(data[4:8], "little")
    assert decode(data, Limits(len(data), head, 2)).kind == "m"
    for limits, code in (
        (Limits(len(data) - 1, head, 2), "wire.too-large"),
        (Limits(len(data), head - 1, 2), "wire.too-large"),
        (Limits(len(data), head, 1), "message.malformed"),
    ):
        with pytest.raises(MalformedError) as caught:
            decode(data, limits)
        assert caught.value.code == code


@pytest.mark.spec("CC-9")
@pytest.mark.parametrize(
    "shape", [[2**40], [2**62, 2**62], [0, 2**62], [2**31, 0, 2**31], [2**64 - 1]]
)
def test_a_size_is_no_reason_to_make_something(shape: list[int]) -> None:
    """It is refused before anything of that size is there, and before numbers grow."""
    head = cbor({"kind": "m", "fields": {}, "arrays": [["x", "float64", shape]]})
    data = b"CRM\x01" + len(head).to_bytes(4, "little") + head
    data += bytes(-len(data) % 8)
    tracemalloc.start()
    with pytest.raises(MalformedError) as caught:
        decode(data, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code == "wire.too-large"
    assert peak < 100_000


@pytest.mark.spec("CC-9")
@pytest.mark.parametrize("value", [[], {}, True, 0, "", {"a": 0}, b""], ids=repr)
def test_a_head_makes_no_more_memory_than_the_page_says(value: Any) -> None:
    """A head of as many of the smallest values as fit in."""
    limits = Limits(1 << 20, head_bytes=16 << 10)
    count = (limits.head_bytes - 100) // len(cbor(value))
    data = encode(Message("m", {"a": [value] * count}))
    tracemalloc.start()
    assert len(decode(data, limits).fields["a"]) == count  # type: ignore[arg-type]  # a list
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300 * limits.head_bytes


def test_a_reader_s_error_says_which_clause() -> None:
    """For whoever writes a second implementation."""
    with pytest.raises(MalformedError) as caught:
        decode(b"CRM\x02" + bytes(12), LIMITS)
    assert caught.value.clause == "CC-2"
