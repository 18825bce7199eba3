"""Tensors between gRPC's typed contents and the binary form that HTTP has.

Everything that arrives is untrusted; sizes are bounded by the message that carries it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from cloister.errors import MalformedError
from cloister.inference.tensor import DATATYPES

__all__ = ["BYTES", "contents_to_binary", "json_to_binary"]

BYTES: Final = "BYTES"
_FIELD_OF: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
_LENGTH: Final = struct.Struct("<I")


def contents_to_binary(contents: Any, datatype: str) -> bytes:
    """Return the binary form of an `InferTensorContents`.

    Raises:
        MalformedError: The datatype has no field there, or a number is outside of it.
    """
    field = _FIELD_OF.get(datatype)
    if field is None:
        raise _wrong(f"no contents for the datatype {datatype[:16]!r}; use raw_input_contents")
    values = getattr(contents, field)
    filled = {descriptor.name for descriptor, _ in contents.ListFields()}
    if filled - {field}:
        raise _wrong(f"contents of {datatype} are in {field} and nowhere else")
    if datatype == BYTES:
        return strings_to_binary(values)
    return _numbers(values, datatype)


def json_to_binary(data: object, datatype: str) -> bytes:
    """Return the binary form of what a JSON answer has as a flat list.

    Raises:
        MalformedError: It is none of that datatype.
    """
    if not isinstance(data, list):
        raise _wrong("data is not a list")
    if datatype == BYTES:
        if not all(isinstance(item, str) for item in data):
            raise _wrong("data of BYTES is not texts")
        return strings_to_binary([item.encode() for item in data])
    if datatype not in DATATYPES:
        raise _wrong("no such datatype")
    return _numbers(data, datatype)


def strings_to_binary(items: Sequence[bytes]) -> bytes:
    """Return strings one after another, each with its length before it."""
    return b"".join(part for item in items for part in (_LENGTH.pack(len(item)), item))


def _numbers(values: Any, datatype: str) -> bytes:
    dtype = DATATYPES[datatype]
    try:
        array = np.array(list(values), dtype=dtype)
    except (OverflowError, ValueError, TypeError) as e:
        raise _wrong(f"a number outside of {datatype}") from e
    return array.tobytes()


def _wrong(problem: str) -> MalformedError:
    return MalformedError(f"tensor: {problem}", code="message.malformed")
