"""Arrays and texts of HDF5 files, as the library that everybody uses writes them."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cloister.errors import MalformedError, RefusedError
from cloister.partition import hdf5_blocks
from cloister.partition.hdf5_blocks import Blocks, Message
from cloister.partition.hdf5_values import array_of, attributes_of
from unit.partition.test_hdf5_blocks import h5py, hdf5

DTYPES = [f"<{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)] + ["<f2", "<f4", "<f8"]


def read(data: bytes, name: str = "w") -> Any:
    blocks = Blocks(data)
    members = blocks.children(blocks.messages(blocks.root))
    assert members is not None
    return array_of(blocks, blocks.messages(members[name]))


def attributes(data: bytes) -> dict[str, list[bytes]]:
    blocks = Blocks(data)
    return attributes_of(blocks, blocks.messages(blocks.root), "")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (2, 3, 4, 5), (0, 3)])
def test_arrays_are_what_was_written(dtype: str, shape: tuple[int, ...]) -> None:
    wanted = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    found = read(hdf5(lambda group: group.create_dataset("w", data=wanted)))
    assert found.dtype == wanted.dtype
    assert found.shape == shape
    assert found.tobytes() == wanted.tobytes()


def test_arrays_in_the_header_itself_are_read() -> None:
    def fill(group: Any) -> None:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4,))
        kind = h5py.h5t.IEEE_F32LE
        made = h5py.h5d.create(group.id, b"w", kind, space, dcpl=creation)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(4, dtype="<f4"))

    assert read(hdf5(fill)).tolist() == [0, 1, 2, 3]


def chunked(group: Any) -> None:
    group.create_dataset("w", data=np.zeros((8, 8), "f4"), chunks=(4, 4))


def packed(group: Any) -> None:
    group.create_dataset("w", data=np.zeros((8, 8), "f4"), compression="gzip")


def elsewhere(group: Any) -> None:
    group.create_dataset("w", (4,), "f4", external=[("/etc/hostname", 0, 16)])


def swapped(group: Any) -> None:
    group.create_dataset("w", data=np.zeros(4, ">f4"))


def truths(group: Any) -> None:
    group.create_dataset("w", data=np.array([True, False]))


def complex_(group: Any) -> None:
    group.create_dataset("w", data=np.zeros(4, "c8"))


def records(group: Any) -> None:
    group.create_dataset("w", data=np.zeros(4, [("a", "f4"), ("b", "i4")]))


def half_used(group: Any) -> None:
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_precision(20)
    h5py.h5d.create(group.id, b"w", kind, h5py.h5s.create_simple((4,)))


def text(group: Any) -> None:
    group.create_dataset("w", data="text")


def fixed_text(group: Any) -> None:
    group.create_dataset("w", data=np.array([b"text"]))


@pytest.mark.parametrize(
    "fill",
    [
        chunked,
        packed,
        elsewhere,
        swapped,
        truths,
        complex_,
        records,
        half_used,
        text,
        fixed_text,
    ],
)
def test_what_is_no_plain_array_is_refused(fill: Callable[[Any], None]) -> None:
    with pytest.raises(RefusedError) as caught:
        read(hdf5(fill))
    assert caught.value.code == "model.unsafe"


def test_sizes_that_disagree_are_malformed() -> None:
    """The shape says more than the file stores; and an address that is outside."""
    good = hdf5(lambda group: group.create_dataset("w", data=np.arange(7, dtype="<f4")))
    shape = bytes([1, 1, 1, 0, 0, 0, 0, 0]) + (7).to_bytes(8, "little")
    assert good.count(shape) == 1
    for size in (8, 2**20, 2**40, 2**63):
        data = good.replace(shape, shape[:8] + size.to_bytes(8, "little"))
        with pytest.raises(MalformedError) as caught:
            read(data)
        assert caught.value.code == "model.malformed"
    stored = (28).to_bytes(8, "little")
    place = good.index(stored, good.index(shape)) - 8
    with pytest.raises(MalformedError):
        read(good[:place] + (2**62).to_bytes(8, "little") + good[place + 8 :])


def test_texts_of_any_length_in_both_forms() -> None:
    long = "é" * 100_000

    def fill(group: Any) -> None:
        group.attrs["one"] = long
        group.attrs["several"] = ["a", "bc", ""]
        group.attrs["fixed"] = np.array([b"left", b"right!"])
        group.attrs["number"] = 7

    found = attributes(hdf5(fill))
    assert found["one"] == [long.encode()]
    assert found["several"] == [b"a", b"bc", b""]
    assert found["fixed"] == [b"left", b"right!"]
    assert "number" not in found


def test_texts_that_are_not_there_are_malformed() -> None:
    def fill(group: Any) -> None:
        group.attrs["one"] = "some text that is there"

    good = hdf5(fill)
    heap = good.index(b"GCOL")
    for data in (
        good.replace(b"GCOL", b"GCOX"),
        good[: heap + 16] + b"\x09" + good[heap + 17 :],
        good[: heap + 24] + (2**60).to_bytes(8, "little") + good[heap + 32 :],
        good.replace((23).to_bytes(4, "little") + heap.to_bytes(8, "little"), b"\xff" * 12),
    ):
        assert data != good
        with pytest.raises(MalformedError) as caught:
            attributes(data)
        assert caught.value.code == "model.malformed"


def test_only_attributes_that_are_asked_for_are_read() -> None:
    def fill(group: Any) -> None:
        group.attrs["wanted"] = np.array([b"a", b"b"])
        group.attrs["wanted0"] = np.array([b"c"])
        group.attrs["other"] = np.array([b"d"])

    blocks = Blocks(hdf5(fill))
    found = attributes_of(blocks, blocks.messages(blocks.root), "wanted")
    assert found == {"wanted": [b"a", b"b"], "wanted0": [b"c"]}


def attribute_of(heap: int, length: int, count: int) -> Message:
    """Return an attribute of many texts, each of them the same one of a heap."""
    kind = bytes([0x19, 0x01, 0, 0]) + struct.pack("<I", 16)
    space = bytes([1, 1, 0, 0, 0, 0, 0, 0]) + struct.pack("<Q", count)
    pointers = struct.pack("<IQI", length, heap, 1) * count
    head = bytes([1, 0]) + struct.pack("<3H", 8, len(kind), len(space))
    return Message(0x0C, memoryview(head + b"names\0\0\0" + kind + space + pointers))


@pytest.mark.parametrize("length", [0, 16_000])
def test_texts_are_counted_for_the_whole_file(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """A file of some kilobytes has the same text for thousands of names, in each attribute."""
    data = hdf5(lambda group: group.create_group("g"))
    heap = len(data)
    data += b"GCOL" + bytes([1, 0, 0, 0]) + struct.pack("<Q", 32 + 16_000)
    data += struct.pack("<HH4xQ", 1, 1, 16_000) + b"x" * 16_000
    monkeypatch.setattr(hdf5_blocks, "_MAX_TEXT", 1 << 22)
    blocks, message = Blocks(data), attribute_of(heap, length, 4000)

    def read_again() -> None:
        for _ in range(1000):
            attributes_of(blocks, [message], "names")

    tracemalloc.start()
    try:
        with pytest.raises(MalformedError, match="text") as caught:
            read_again()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "model.malformed"
    assert peak < 30 << 20


@pytest.mark.parametrize("shape", [(2**63, 0), (2**40, 2**40, 0), (2**31, 2**31, 0)])
def test_a_size_beside_a_size_of_nothing_is_bounded(shape: tuple[int, ...]) -> None:
    space = bytes([1, len(shape), 0, 0, 0, 0, 0, 0]) + struct.pack(f"<{len(shape)}Q", *shape)
    number = bytes([0x11, 0x20, 31, 0]) + struct.pack("<IHHBBBBI", 4, 0, 32, 23, 8, 0, 23, 127)
    parts = ((1, space), (3, number), (8, bytes([3, 1]) + bytes(16)))
    messages = [Message(kind, memoryview(data)) for kind, data in parts]
    with pytest.raises(MalformedError, match="shape") as caught:
        array_of(Blocks(hdf5(lambda group: group.create_group("g"))), messages)
    assert caught.value.code == "model.malformed"
