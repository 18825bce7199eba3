"""Arrays and names in an HDF5 file: numbers that stand in the file in one piece, and text.

Everything else that HDF5 has is refused: pieces, filters, other files, references, compound and
opaque values.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloister.partition.hdf5_blocks import Blocks, Message, damaged, refused

__all__ = ["array_of", "attributes_of"]

_DATASPACE: Final = 0x01
_DATATYPE: Final = 0x03
_EXTERNAL: Final = 0x07
_LAYOUT: Final = 0x08
_FILTERS: Final = 0x0B
_ATTRIBUTE: Final = 0x0C
_NULL: Final = 2
_MAX_RANK: Final = 8
_MAX_ELEMENTS: Final = 2**31
_MAX_NAMES: Final = 50_000
_CONTIGUOUS, _COMPACT = 1, 0
_INTEGER, _FLOAT, _STRING, _VARIABLE = 0, 1, 3, 9
_FLOATS: Final = {  # size: where sign, exponent and mantissa are, and the bias
    2: (15, 0, 16, 10, 5, 0, 10, 15),
    4: (31, 0, 32, 23, 8, 0, 23, 127),
    8: (63, 0, 64, 52, 11, 0, 52, 1023),
}
_COLLECTION: Final = struct.Struct("<4sB3xQ")
_OBJECT: Final = struct.Struct("<HH4xQ")
_POINTER: Final = struct.Struct("<IQI")


def array_of(blocks: Blocks, messages: Sequence[Message]) -> npt.NDArray[Any]:
    """Return the numbers of a data set.

    Raises:
        MalformedError: `model.malformed`.
        RefusedError: `model.unsafe`: what is no array of numbers, or not in this file as it is.
    """
    found = {message.kind: message.data for message in messages}
    if found.keys() & {_EXTERNAL, _FILTERS}:
        raise refused("numbers that are packed, or in another file")
    if not found.keys() >= {_DATASPACE, _DATATYPE, _LAYOUT}:
        raise refused("what is neither a group nor an array")
    dtype = _number(found[_DATATYPE])
    shape = _shape(found[_DATASPACE])
    size = math.prod(shape) * dtype.itemsize
    data = _contents(blocks, found[_LAYOUT], size)
    return np.frombuffer(data, dtype).reshape(shape)


def attributes_of(
    blocks: Blocks, messages: Sequence[Message], prefix: str
) -> dict[str, list[bytes]]:
    """Return the texts of an object by name; what is no text, or called otherwise, is left out.

    Args:
        blocks: The file, which pays for the texts.
        messages: The object's.
        prefix: What the names begin with.

    Raises:
        MalformedError: `model.malformed`: one is damaged, or there is more text than a file may
            have.
    """
    found: dict[str, list[bytes]] = {}
    for message in messages:
        if message.kind == _ATTRIBUTE:
            name, kind, space, data = _attribute(message.data)
            if name.startswith(prefix) and kind[:1] and kind[0] & 0x0F in {_STRING, _VARIABLE}:
                found[name] = _texts(blocks, kind, math.prod(_shape(space)), data)
    return found


def _number(kind: memoryview) -> np.dtype[Any]:
    """Return the type of a data set's numbers: little-endian, all bits of use."""
    if len(kind) < 8:  # noqa: PLR2004  # what every type begins with
        raise damaged("a type")
    described, bits, size = kind[0] & 0x0F, int(kind[1]), int.from_bytes(kind[4:8], "little")
    rest = bytes(kind[8:])
    if (
        described == _INTEGER
        and size in {1, 2, 4, 8}
        and rest[:4] == struct.pack("<HH", 0, 8 * size)
    ):
        if not bits & 0x07:
            return np.dtype(f"<{'i' if bits & 0x08 else 'u'}{size}")
    elif described == _FLOAT and size in _FLOATS:
        sign, *layout = _FLOATS[size]
        if rest[:12] == struct.pack("<HHBBBBI", *layout) and kind[2] == sign and not bits & 0x4F:
            return np.dtype(f"<f{size}")
    raise refused("what is no number, or of an unknown type")


def _shape(space: memoryview) -> tuple[int, ...]:
    if len(space) < 8:  # noqa: PLR2004  # what the first version begins with
        space = memoryview(bytes(space).ljust(8, b"\0"))
    version, rank = space[0], space[1]
    if version not in {1, 2} or rank > _MAX_RANK or (version == 2 and space[3] == _NULL):  # noqa: PLR2004  # the format's versions
        raise damaged("a shape")
    start = 8 if version == 1 else 4
    if start + 8 * rank > len(space):
        raise damaged("a shape")
    shape = struct.unpack(f"<{rank}Q", space[start : start + 8 * rank])
    # Sizes beside a size of nothing are bounded as well: an array of them cannot be made.
    if math.prod(max(size, 1) for size in shape) > _MAX_ELEMENTS:
        raise damaged("a shape")
    return shape


def _contents(blocks: Blocks, layout: memoryview, size: int) -> memoryview:
    if len(layout) < 4 or layout[0] != 3 or layout[1] not in {_CONTIGUOUS, _COMPACT}:  # noqa: PLR2004  # the one version
        raise refused("numbers that are in pieces, or in another file")
    if layout[1] == _COMPACT:
        stored, start = int.from_bytes(layout[2:4], "little"), 4
        if stored != size or start + stored > len(layout):
            raise damaged("an array's size")
        return layout[start : start + stored]
    place, stored = (int.from_bytes(layout[i : i + 8], "little") for i in (2, 10))
    if not size:
        return memoryview(b"")
    if stored != size:
        raise damaged("an array's size")
    return blocks.bytes_at(place, size)


def _attribute(data: memoryview) -> tuple[str, memoryview, memoryview, memoryview]:
    """Return an attribute's name, type, shape and contents."""
    if len(data) < 8:  # noqa: PLR2004  # what every version begins with
        raise damaged("an attribute")
    version, sizes = data[0], struct.unpack("<3H", data[2:8])
    if version not in {1, 2, 3} or (version > 1 and data[1]):
        raise damaged("an attribute")
    place = 9 if version == 3 else 8  # noqa: PLR2004  # the third names a character set
    pieces: list[memoryview] = []
    for size in sizes:
        pieces.append(data[place : place + size])
        if len(pieces[-1]) != size:
            raise damaged("an attribute")
        place += size if version > 1 else -(-size // 8) * 8
    name = bytes(pieces[0]).split(b"\0")[0]
    try:
        return name.decode(), pieces[1], pieces[2], data[place:]
    except UnicodeDecodeError as e:
        raise damaged("an attribute's name") from e


def _texts(blocks: Blocks, kind: memoryview, count: int, data: memoryview) -> list[bytes]:
    if len(kind) < 8 or count > _MAX_NAMES:  # noqa: PLR2004  # what every type begins with
        raise damaged("an attribute")
    size = int.from_bytes(kind[4:8], "little")
    if kind[0] & 0x0F == _VARIABLE:
        if kind[1] & 0x0F != 1 or size != _POINTER.size or count * size > len(data):
            raise damaged("an attribute")
        pointers = _POINTER.iter_unpack(data[: count * size])
        return _from_heap(blocks, list(pointers))
    if not size or count * size > len(data):
        raise damaged("an attribute")
    blocks.pay_for_text(count, count * size)
    return [bytes(data[i : i + size]).split(b"\0")[0] for i in range(0, count * size, size)]


def _from_heap(blocks: Blocks, pointers: Sequence[tuple[int, int, int]]) -> list[bytes]:
    collections: dict[int, dict[int, memoryview]] = {}
    texts: list[bytes] = []
    for length, place, index in pointers:
        if place not in collections:
            collections[place] = _collection(blocks, place)
        held = collections[place].get(index)
        if held is None or length > len(held):
            raise damaged("a text")
        blocks.pay_for_text(1, length)
        texts.append(bytes(held[:length]))
    return texts


def _collection(blocks: Blocks, place: int) -> dict[int, memoryview]:
    """Return the objects of a heap by their index."""
    signature, version, size = _COLLECTION.unpack(blocks.bytes_at(place, _COLLECTION.size))
    if signature != b"GCOL" or version != 1:
        raise damaged("a heap")
    end, at = place + size, place + _COLLECTION.size
    found: dict[int, memoryview] = {}
    while at + _OBJECT.size <= end:
        index, _, length = _OBJECT.unpack(blocks.bytes_at(at, _OBJECT.size))
        if not index:
            break
        if at + _OBJECT.size + length > end:
            raise damaged("a heap")
        found[index] = blocks.bytes_at(at + _OBJECT.size, length)
        at += _OBJECT.size + -(-length // 8) * 8
    return found
