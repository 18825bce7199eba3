"""Messages between a trusted program and a cell: a small map and arrays, and nothing that runs.

Invariants:
    1. What `decode` returns is made of numbers, texts, bytes, lists, maps and arrays of numbers. No
       class is looked up by a name, and no code is made of data.
    2. Exactly one byte string stands for a message: `encode(decode(x)) == x`.
    3. Everything is compared with the limits before anything is made of it. An array is a view of
       the bytes that came, so that a message costs no more than its own length.
    4. Arrays lie one after another in the order of their names: no offset can make two overlap.

Whether numbers are finite, and whether names and shapes are those that were asked for, is the
caller's matter.

Spec: confinement-channel-v1, clauses CC-1 to CC-9.
"""

from __future__ import annotations

import math
import re
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloister.errors import LocalProtocolError, MalformedError
from cloister.wire import Fields, Value
from cloister.wire import decode as decode_cbor
from cloister.wire import encode as encode_cbor

__all__ = ["DTYPES", "MAX_RANK", "Array", "Data", "FieldValue", "Limits", "Message"]
__all__ += ["decode", "encode", "parts"]

Array = npt.NDArray[Any]
Data = bytes | bytearray | memoryview
FieldValue = (
    None | bool | int | float | str | bytes | Sequence["FieldValue"] | Mapping[str, "FieldValue"]
)

MAGIC: Final = b"CRM\x01"
ALIGNMENT: Final = 8
MAX_RANK: Final = 8
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "bool": np.dtype("?"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "int8": np.dtype("<i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "uint8": np.dtype("<u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
}
_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}
_HEAD: Final = struct.Struct("<4sI")
_KIND: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_NAME: Final = re.compile(r"[!-~]{1,128}")
_KEY: Final = re.compile(r"[!-<>-~][ -~]{0,63}")
_FLOAT_KEY: Final = "=f64"
_FLOAT: Final = struct.Struct(">d")
_MAX_DEPTH: Final = 12


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may come to.

    Args:
        message_bytes: All of it.
        head_bytes: Kind, fields, and names and shapes of arrays. Reading makes at most
            three hundred times as much of it.
        arrays: How many.
    """

    message_bytes: int
    head_bytes: int = 128 << 10
    arrays: int = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message: what it is about, and arrays by their names.

    `kind` is of lower-case letters, digits and hyphens. `fields` has finite floats only, and its
    keys are short printable ASCII that does not begin with an equals sign. Arrays that were read
    are views of the bytes that were read, writable where those are.
    """

    kind: str
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


def encode(message: Message) -> bytes:
    """Return the one encoding of a message.

    Raises:
        LocalProtocolError: It has a part that the format does not have.
    """
    return b"".join(parts(message))


def parts(message: Message) -> list[Data]:
    """Return the encoding in pieces, of which those of arrays are the arrays themselves.

    Raises:
        LocalProtocolError: It has a part that the format does not have.
    """
    if not _KIND.fullmatch(message.kind):
        raise _unwritable("kind is not of lower-case letters, digits and hyphens")
    found = {_named(name): array for name, array in message.arrays.items()}
    arrays = [(name, _plain_array(name, found[name])) for name in sorted(found)]
    head = encode_cbor(
        {
            "arrays": [[name, _NAMES[array.dtype], list(array.shape)] for name, array in arrays],
            "fields": _written_map(message.fields, depth=0),
            "kind": message.kind,
        }
    )
    pieces: list[Data] = [_HEAD.pack(MAGIC, len(head)) + head + _filling(_HEAD.size + len(head))]
    for _, array in arrays:
        pieces.append(array.reshape(-1).view(np.uint8).data)
        pieces.append(_filling(array.nbytes))
    return pieces


def decode(data: bytes | bytearray | memoryview, limits: Limits) -> Message:
    """Read a message from untrusted bytes that hold nothing else; the numbers are the page's.

    Raises:
        MalformedError: `wire.too-large`, `wire.malformed` or `message.malformed`.
    """
    view = memoryview(data)
    # CC-2: the outside.
    if len(view) > limits.message_bytes:
        raise _too_large(f"{len(view)} bytes, and {limits.message_bytes} are allowed here")
    if len(view) < _HEAD.size or len(view) % ALIGNMENT:
        raise _malformed("is cut off", clause="CC-2")
    magic, head_bytes = _HEAD.unpack(view[: _HEAD.size])
    if magic != MAGIC:
        raise _malformed("does not begin as one of version 1", clause="CC-2")
    # CC-3: the head.
    if head_bytes > limits.head_bytes:
        raise _too_large(f"a head of {head_bytes} bytes, and {limits.head_bytes} are allowed here")
    at = _HEAD.size + head_bytes
    if at > len(view):
        raise _malformed("is cut off", clause="CC-3")
    head = Fields(
        decode_cbor(bytes(view[_HEAD.size : at]), max_bytes=limits.head_bytes), what="message"
    )
    kind = head.text("kind", max_length=64)
    if not _KIND.fullmatch(kind):
        raise _malformed("has a kind that is not of the form", clause="CC-4")
    fields = _read_map(head.anything("fields"), depth=0)
    table = head.array("arrays", max_items=limits.arrays)
    head.end()
    # CC-7: where arrays lie, and that nothing else is there.
    rows = _read_table(table, limits)
    at = _after_filling(view, at)
    if at + sum(_aligned(nbytes) for _, _, _, nbytes in rows) != len(view):
        raise _malformed("has not the bytes that its arrays need", clause="CC-7")
    arrays: dict[str, Array] = {}
    for name, dtype, shape, nbytes in rows:
        arrays[name] = _array(view[at : at + nbytes], dtype, shape)
        at = _after_filling(view, at + nbytes)
    return Message(kind, fields, arrays)


_Row = tuple[str, "np.dtype[Any]", tuple[int, ...], int]


def _read_table(table: list[Value], limits: Limits) -> list[_Row]:
    """Read names, types and shapes; sizes are compared before anyone multiplies further."""
    rows: list[_Row] = []
    for row in table:
        if not isinstance(row, list) or len(row) != 3:  # noqa: PLR2004  # name, type, shape
            raise _malformed("describes an array otherwise than as name, type and shape", "CC-6")
        name, type_name, shape = row
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _malformed("has an array without a name of the form", clause="CC-6")
        if rows and name <= rows[-1][0]:
            raise _malformed("has arrays out of order", clause="CC-6")
        if not isinstance(type_name, str) or type_name not in DTYPES:
            raise _malformed("has an array of a type that there is not", clause="CC-6")
        dtype = DTYPES[type_name]
        sizes = _read_shape(shape)
        extent = dtype.itemsize
        for size in sizes:
            extent *= max(size, 1)
            if extent > limits.message_bytes:
                raise _too_large("an array that no message here can hold")
        rows.append((name, dtype, sizes, dtype.itemsize * math.prod(sizes)))
    return rows


def _read_shape(shape: Value) -> tuple[int, ...]:
    if not isinstance(shape, list) or len(shape) > MAX_RANK:
        raise _malformed(f"has a shape that is not a list of at most {MAX_RANK} sizes", "CC-6")
    sizes = tuple(size for size in shape if type(size) is int and size >= 0)
    if len(sizes) != len(shape):
        raise _malformed("has a shape with a size that is not possible", clause="CC-6")
    return sizes


def _array(view: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    array = np.frombuffer(view, dtype=dtype).reshape(shape)
    if dtype.kind == "b" and array.size and int(array.view(np.uint8).max()) > 1:
        raise _malformed("holds bytes that are neither true nor false", clause="CC-8")
    return array


def _after_filling(view: memoryview, at: int) -> int:
    end = _aligned(at)
    if any(view[at:end]):
        raise _malformed("holds something between its parts", clause="CC-7")
    return end


def _aligned(at: int) -> int:
    return -(-at // ALIGNMENT) * ALIGNMENT


def _filling(length: int) -> bytes:
    return bytes(-length % ALIGNMENT)


def _named(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _unwritable("an array's name is not of up to 128 printable characters of ASCII")
    return name


def _plain_array(name: str, array: object) -> Array:
    found = np.asarray(array)
    wanted = found.dtype.newbyteorder("<")
    if wanted not in _NAMES or found.ndim > MAX_RANK:
        raise _unwritable(f"array {name}: its type or rank is none of those that there are")
    return np.asarray(found, dtype=wanted, order="C")


def _written_map(value: object, *, depth: int) -> dict[str, Value]:
    if not isinstance(value, Mapping):
        raise _unwritable("fields are not a map")
    for key in value:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise _unwritable("a key is not of up to 64 printable characters of ASCII")
    return {key: _written(item, depth=depth + 1) for key, item in value.items()}


def _written(value: object, *, depth: int) -> Value:
    """Return a field as the canonical bytes have it: floats have a form of their own."""
    if depth > _MAX_DEPTH:
        raise _unwritable("fields are nested too deeply")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _unwritable("a field is not a finite number")
        return {_FLOAT_KEY: _FLOAT.pack(value)}
    if value is None or isinstance(value, bool | int | str | bytes):
        return value
    if isinstance(value, Mapping):
        return _written_map(value, depth=depth)
    if isinstance(value, list | tuple):
        return [_written(item, depth=depth + 1) for item in value]
    raise _unwritable(f"a field is of type {type(value).__name__}")


def _read_map(value: Value, *, depth: int) -> dict[str, FieldValue]:
    if not isinstance(value, dict):
        raise _malformed("has fields that are not a map", clause="CC-4")
    for key in value:
        if not _KEY.fullmatch(key):
            raise _malformed("has a key that is not of the form", clause="CC-5")
    return {key: _read(item, depth=depth + 1) for key, item in value.items()}


def _read(value: Value, *, depth: int) -> FieldValue:
    if depth > _MAX_DEPTH:
        raise _malformed("is nested too deeply", clause="CC-5")
    if isinstance(value, dict):
        if _FLOAT_KEY in value:
            return _read_float(value)
        return _read_map(value, depth=depth)
    if isinstance(value, list):
        return [_read(item, depth=depth + 1) for item in value]
    return value


def _read_float(value: dict[str, Value]) -> float:
    octets = value[_FLOAT_KEY]
    if len(value) != 1 or not isinstance(octets, bytes) or len(octets) != _FLOAT.size:
        raise _malformed("has a number that is not of eight bytes", clause="CC-5")
    (number,) = _FLOAT.unpack(octets)
    if not math.isfinite(number):
        raise _malformed("has a field that is not a finite number", clause="CC-5")
    return float(number)


def _malformed(problem: str, clause: str) -> MalformedError:
    return MalformedError(f"message {problem}", code="message.malformed", clause=clause)


def _too_large(problem: str) -> MalformedError:
    return MalformedError(f"message has {problem}", code="wire.too-large")


def _unwritable(problem: str) -> LocalProtocolError:
    return LocalProtocolError(f"no message can say this: {problem}", code="protocol.local")


if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("arrays travel as little-endian, and so must this machine have them")
