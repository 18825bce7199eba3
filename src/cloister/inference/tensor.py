"""Tensors of the Open Inference Protocol v2: datatypes, JSON and binary forms, bit for bit.

Everything that arrives is untrusted: datatype, shape and size are checked before an array is made,
and an array is made only for as many elements as the message has bytes for.

Spec: serving-v1, clauses SRV-20 to SRV-29.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloister.errors import MalformedError

__all__ = [
    "DATATYPES",
    "MAX_RANK",
    "Array",
    "TensorSpec",
    "datatype_of",
    "from_binary",
    "from_json",
    "from_numbers",
    "read_shape",
    "require_fits",
    "to_binary",
    "to_json",
]

Array = npt.NDArray[Any]

MAX_RANK: Final = 8
_MAX_ELEMENTS: Final = 2**31 - 1
DATATYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model takes or gives; -1 in the shape is any size from 1."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def as_record(self) -> dict[str, object]:
        """Return the protocol's `metadata_tensor`."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


def datatype_of(dtype: Any) -> str:
    """Return the protocol's name of a numpy type.

    Raises:
        MalformedError: `model.malformed`: the protocol, or this server, has no such type.
    """
    name = _NAMES.get(np.dtype(dtype).newbyteorder("<"))
    if name is None:
        raise MalformedError(f"tensors of type {dtype} are not supported", code="model.malformed")
    return name


def read_shape(shape: object, *, name: str) -> tuple[int, ...]:
    """Read a shape from JSON: integers from 0, at most `MAX_RANK` of them."""
    if not isinstance(shape, list) or len(shape) > MAX_RANK:
        raise _wrong(name, f"shape is not a list of at most {MAX_RANK} integers")
    sizes = tuple(size for size in shape if type(size) is int and 0 <= size <= _MAX_ELEMENTS)
    if len(sizes) != len(shape) or math.prod(sizes) > _MAX_ELEMENTS:
        raise _wrong(name, "shape has a size that is not possible")
    return sizes


def require_fits(spec: TensorSpec, datatype: object, shape: tuple[int, ...]) -> None:
    """Refuse a tensor that the model does not take."""
    if datatype != spec.datatype:
        raise _wrong(spec.name, f"datatype is {_show(datatype)} and not {spec.datatype}")
    fits = len(shape) == len(spec.shape) and all(
        size == want or (want == -1 and size >= 1)
        for size, want in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise _wrong(spec.name, f"shape is {list(shape)} and not {list(spec.shape)}")


def from_binary(data: memoryview, *, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Read a tensor from little-endian row-major bytes; its bits are kept."""
    dtype = DATATYPES[spec.datatype]
    wants = math.prod(shape) * dtype.itemsize
    if len(data) != wants:
        raise _wrong(spec.name, f"has {len(data)} bytes and not {wants}")
    array = np.frombuffer(data, dtype=dtype).reshape(shape)
    if spec.datatype == "BOOL" and bool((array.view(np.uint8) > 1).any()):
        raise _wrong(spec.name, "holds bytes that are neither true nor false")
    return array


def from_json(data: object, *, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Read a tensor from nested lists of that shape, or from one flat list in row-major order."""
    if spec.datatype == "FP16":
        raise _wrong(spec.name, "FP16 has no JSON form; use binary_data_size")
    if not isinstance(data, list):
        raise _wrong(spec.name, "data is not a list")
    count = math.prod(shape)
    flat = data
    if any(isinstance(item, list) for item in data):
        if not shape:
            raise _wrong(spec.name, "nested data has another shape")
        flat = []
        _flatten(data, shape, flat, name=spec.name)
    if len(flat) != count:
        raise _wrong(spec.name, f"has {len(flat)} elements and not {count}")
    return from_numbers(flat, spec).reshape(shape)


def from_numbers(flat: list[Any], spec: TensorSpec) -> Array:
    """Read numbers of JSON as those of a tensor, in one axis; floats are rounded to its type.

    Raises:
        MalformedError: `message.malformed`: one is of another kind, or too large for the type.
    """
    dtype = DATATYPES[spec.datatype]
    kinds = {type(item) for item in flat}
    allowed: set[type] = {int, float} if dtype.kind == "f" else {int}
    if spec.datatype == "BOOL":
        allowed = {bool}
    if not kinds <= allowed:
        raise _wrong(spec.name, f"holds something other than {spec.datatype}")
    try:
        wide = np.array(flat, dtype=np.float64 if dtype.kind == "f" else dtype)
    except (OverflowError, ValueError) as e:
        raise _wrong(spec.name, f"holds a number outside {spec.datatype}") from e
    with np.errstate(over="ignore"):
        array = wide.astype(dtype)
    if dtype.kind == "f" and not bool(np.isfinite(array).all()):
        raise _wrong(spec.name, f"holds a number outside {spec.datatype}")
    return array


def to_binary(array: Array, datatype: str) -> memoryview:
    """Return a tensor as little-endian row-major bytes; those of the array itself where it can."""
    whole = np.ascontiguousarray(array, dtype=DATATYPES[datatype])
    return whole.reshape(-1).view(np.uint8).data


def to_json(array: Array, datatype: str, *, name: str) -> Array:
    """Return a tensor's numbers in row-major order, from whose list reading gets the same bits.

    A 32-bit float is listed as the same number in 64 bits, which is exact.

    Raises:
        MalformedError: JSON has no form for it: FP16, or a NaN or infinity.
    """
    if datatype == "FP16":
        raise _wrong(name, "FP16 has no JSON form; ask for binary_data")
    if datatype.startswith("FP") and not bool(np.isfinite(array).all()):
        raise _wrong(name, "holds NaN or infinity, which JSON cannot say; ask for binary_data")
    return array.ravel()


def _flatten(data: list[Any], shape: tuple[int, ...], flat: list[Any], *, name: str) -> None:
    if len(data) != shape[0]:
        raise _wrong(name, "nested data has another shape")
    if len(shape) == 1:
        flat.extend(data)
        return
    for item in data:
        if not isinstance(item, list):
            raise _wrong(name, "nested data has another shape")
        _flatten(item, shape[1:], flat, name=name)


def _wrong(name: str, problem: str) -> MalformedError:
    return MalformedError(f"tensor {_show(name)}: {problem}", code="message.malformed")


def _show(value: object) -> str:
    text = value if isinstance(value, str) else type(value).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:64])


if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("binary tensors are little-endian, and so must this machine be")
