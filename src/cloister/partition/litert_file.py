"""LiteRT models read as data: one graph of operators on an allow list, and its constants.

The file is hostile until it is read. Its structure is checked here, in Python; what native code
gets later is written anew from what was read.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloister.errors import MissingExtraError, extra_hint
from cloister.partition.litert_checks import broken, refused, require_sound
from cloister.partition.litert_operators import (
    DATATYPES,
    OPERATORS,
    OPTION_TABLES,
    OPTION_VECTORS,
)
from cloister.partition.litert_tables import Field, Schema, Tables

__all__ = ["Constant", "LiteRTFile", "Operator", "Tensor", "litert_schema", "read_litert"]

Constant = npt.NDArray[Any]

MAX_BYTES: Final = 2**31 - 1
_MAX_ELEMENTS: Final = 2**31
_MAX_RANK: Final = 8
_VERSION: Final = 3
_NO_TENSOR: Final = -1
_MAX_NAME: Final = 4096
_QUANTIZATION: Final[Schema] = {
    0: Field("min", "vector", "f32"),
    1: Field("max", "vector", "f32"),
    2: Field("scale", "vector", "f32"),
    3: Field("zero_point", "vector", "i64"),
    6: Field("axis", "i32"),
}
_TENSOR: Final[Schema] = {
    0: Field("shape", "vector", "i32"),
    1: Field("type", "i8"),
    2: Field("buffer", "u32"),
    3: Field("name", "string"),
    4: Field("quantization", "table", _QUANTIZATION),
    5: Field("variable", "bool"),
    7: Field("signature", "vector", "i32"),
    8: Field("has_rank", "bool"),
}
_OPERATOR: Final[Schema] = {
    0: Field("code", "u32"),
    1: Field("inputs", "vector", "i32"),
    2: Field("outputs", "vector", "i32"),
    3: Field("options_type", "u8"),
    4: Field("options", "place"),
    5: Field("custom", "vector", "u8"),
    6: Field("custom_format", "i8"),
    7: Field("mutating", "vector", "u8"),
    8: Field("intermediates", "vector", "i32"),
    13: Field("debug", "i32"),
}
_GRAPH: Final[Schema] = {
    0: Field("tensors", "tables", _TENSOR),
    1: Field("inputs", "vector", "i32"),
    2: Field("outputs", "vector", "i32"),
    3: Field("operators", "tables", _OPERATOR),
    4: Field("name", "string"),
    5: Field("debug", "i32"),
}
_CODE: Final[Schema] = {
    0: Field("short", "i8"),
    1: Field("custom", "string"),
    2: Field("version", "i32"),
    3: Field("long", "i32"),
}
_MAP: Final[Schema] = {0: Field("name", "string"), 1: Field("tensor", "u32")}
_SIGNATURE: Final[Schema] = {
    0: Field("inputs", "tables", _MAP),
    1: Field("outputs", "tables", _MAP),
    2: Field("key", "string"),
    4: Field("graph", "u32"),
}
_MODEL: Final[Schema] = {
    0: Field("version", "u32"),
    1: Field("codes", "tables", _CODE),
    2: Field("graphs", "tables", _GRAPH),
    3: Field("description", "string"),
    4: Field("buffers", "tables", {0: Field("data", "vector", "u8")}),
    5: Field("metadata_buffers", "vector", "i32"),
    6: Field("metadata", "tables", {0: Field("name", "string"), 1: Field("buffer", "u32")}),
    7: Field("signatures", "tables", _SIGNATURE),
}


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """One tensor of the graph.

    Attributes:
        name: Unique.
        type: The file's number of its type, one of `DATATYPES`.
        shape: As the file has it: 1 where the size is open.
        signature: The shape with -1 where the size is open; empty where nothing is.
        constant: Its bytes, where it is a constant; tensors that share a buffer have the same
            object.
        quantization: Scales and zero points, as the file has them.
    """

    name: str
    type: int
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    constant: Constant | None
    quantization: Mapping[str, Any]

    @property
    def open_shape(self) -> tuple[int, ...]:
        """The shape, -1 standing for any size."""
        return self.signature or self.shape


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """One operator; tensors are named by their index, -1 is one that is left out."""

    code: int
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: int
    options: Any


@dataclass(frozen=True, slots=True, eq=False)
class LiteRTFile:
    """A model: operators stand in an order in which they can run."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def litert_schema() -> Any:
    """Return LiteRT's module of the file's tables; flatbuffers, which it stands on, is there then.

    Raises:
        MissingExtraError: LiteRT is not installed.
    """
    try:
        import flatbuffers.table  # noqa: F401, PLC0415  # comes with LiteRT
        from ai_edge_litert import schema_py_generated  # noqa: PLC0415  # optional
    except ImportError as e:
        raise MissingExtraError(
            "cutting a LiteRT model needs LiteRT",
            code="extra.missing",
            hint=extra_hint("litert"),
        ) from e
    return schema_py_generated


def read_litert(data: bytes) -> LiteRTFile:
    """Return the model in a `.tflite` file.

    Raises:
        MalformedError: `model.malformed`: it does not hold together, or an operator lacks what its
            kind has.
        RefusedError: `model.operator`: an operator, or a part of the format, that is not allowed.
        MissingExtraError: LiteRT is not installed.
    """
    if len(data) > MAX_BYTES:
        raise broken("it is larger than 2 GiB")
    tables = Tables(data)
    model = tables.root(_MODEL)
    graphs = model.get("graphs", [])
    if model.get("version") != _VERSION:
        raise broken("its version is not 3")
    if len(graphs) != 1:
        raise refused("it has several graphs")
    buffers = [buffer.get("data") for buffer in model.get("buffers", [])]
    (graph,) = graphs
    operators = tuple(
        _operator(tables, record, model.get("codes", [])) for record in graph.get("operators", [])
    )
    inputs, outputs = _indexes(graph, "inputs"), _indexes(graph, "outputs")
    names = _names(graph.get("tensors", []), model.get("signatures", []), (*inputs, *outputs))
    tensors = tuple(
        _tensor(record, name, buffers)
        for record, name in zip(graph.get("tensors", []), names, strict=True)
    )
    # One buffer may serve many tensors; a part has it once, and whoever reads numbers has them all.
    if sum(tensor.constant.nbytes for tensor in tensors if tensor.constant is not None) > MAX_BYTES:
        raise broken("its constants are used again and again")
    file = LiteRTFile(tensors, operators, inputs, outputs)
    _require_ordered(file)
    require_sound(file.tensors, file.operators)
    return file


def _operator(
    tables: Tables, record: Mapping[str, Any], codes: Sequence[Mapping[str, Any]]
) -> Operator:
    index = record.get("code", 0)
    if index >= len(codes):
        raise broken("an operator without a code")
    code = max(codes[index].get("long", 0), codes[index].get("short", 0))
    if code not in OPERATORS or "custom" in codes[index]:
        raise refused(f"operator {code} is not on the list")
    for name in ("custom", "mutating", "intermediates"):
        if len(record.get(name, ())):
            raise refused(f"{OPERATORS[code]} has {name} parts")
    kind = record.get("options_type", 0)
    options = _options(tables, kind, record["options"]) if kind and "options" in record else None
    return Operator(
        code,
        codes[index].get("version", 1),
        _indexes(record, "inputs"),
        _indexes(record, "outputs"),
        kind if options is not None else 0,
        options,
    )


def _options(tables: Tables, kind: int, position: int) -> Any:
    if kind not in OPTION_TABLES:
        raise refused(f"options of kind {kind} are not on the list")
    fields = tables.fields(position)
    if OPTION_VECTORS.get(kind) in fields:
        tables.vector(fields[OPTION_VECTORS[kind]], "i32")
    schema = litert_schema()
    from flatbuffers.table import Table  # noqa: PLC0415  # comes with LiteRT

    try:
        options = schema.BuiltinOptionsCreator(kind, Table(tables.data, position))
        known = len(vars(options))
    except (struct.error, IndexError, ValueError, TypeError, AttributeError) as e:
        raise broken("an operator's options") from e
    if any(index >= known for index in fields):
        raise refused(f"options of kind {kind} have a field that is not known")
    return options


def _tensor(record: Mapping[str, Any], name: str, buffers: Sequence[Constant | None]) -> Tensor:
    kind, index = record.get("type", 0), record.get("buffer", 0)
    if kind not in DATATYPES:
        raise refused(f"a tensor of type {kind}")
    if record.get("variable"):
        raise refused("a variable, which keeps something between queries")
    if index >= len(buffers):
        raise broken("a tensor without its constant")
    shape, signature = _shape(record, "shape"), _shape(record, "signature")
    if any(size < 0 for size in shape) or math.prod(shape) > _MAX_ELEMENTS:
        raise broken("a tensor's shape")
    if signature and not _fits(shape, signature):
        raise broken("a tensor's open shape")
    constant = buffers[index]
    if constant is not None and not len(constant):
        constant = None
    if constant is not None and len(constant) != math.prod(shape) * DATATYPES[kind].itemsize:
        raise broken("a constant's length")
    return Tensor(name, kind, shape, signature, constant, record.get("quantization", {}))


def _fits(shape: Sequence[int], signature: Sequence[int]) -> bool:
    return len(shape) == len(signature) and all(
        wanted in {-1, size} for size, wanted in zip(shape, signature, strict=True)
    )


def _shape(record: Mapping[str, Any], key: str) -> tuple[int, ...]:
    sizes = record.get(key, ())
    if len(sizes) > _MAX_RANK:
        raise broken("a tensor's rank")
    return tuple(int(size) for size in sizes)


def _indexes(record: Mapping[str, Any], key: str) -> tuple[int, ...]:
    return tuple(np.asarray(record.get(key, ()), np.int64).tolist())


def _names(
    records: Sequence[Mapping[str, Any]],
    signatures: Sequence[Mapping[str, Any]],
    ends: Sequence[int],
) -> list[str]:
    """Return unique names; inputs and outputs have those of the only signature, if there is one."""
    names = [record.get("name", "") or f"tensor_{i}" for i, record in enumerate(records)]
    if len(signatures) == 1:
        for entry in (*signatures[0].get("inputs", ()), *signatures[0].get("outputs", ())):
            if entry.get("tensor", 0) in ends and entry.get("tensor", 0) < len(names):
                names[entry.get("tensor", 0)] = entry.get("name", "")
    taken: set[str] = set()
    for index in (*ends, *range(len(names))):
        if not 0 <= index < len(names):
            raise broken("an input or output that is no tensor")
    for index in dict.fromkeys((*ends, *range(len(names)))):
        name = names[index]
        if len(name) > _MAX_NAME or not name.isprintable():
            raise broken("a tensor's name")
        names[index] = f"{name}#{index}" if name in taken or not name else name
        if names[index] in taken:
            raise broken("two tensors of one name")
        taken.add(names[index])
    return names


def _require_ordered(file: LiteRTFile) -> None:
    """Refuse an operator that reads what is not there yet, and a tensor that is made twice."""
    count = len(file.tensors)
    made = {i for i, tensor in enumerate(file.tensors) if tensor.constant is not None}
    if made & set(file.inputs) or len(set(file.inputs)) != len(file.inputs):
        raise broken("its inputs")
    made.update(file.inputs)
    for operator in file.operators:
        if not operator.outputs or any(not 0 <= i < count for i in operator.outputs):
            raise broken("an operator's outputs")
        if any(i != _NO_TENSOR and i not in made for i in operator.inputs):
            raise broken("an operator that reads what nothing has made")
        if len(set(operator.outputs)) != len(operator.outputs) or made & set(operator.outputs):
            raise broken("a tensor that is made twice")
        made.update(operator.outputs)
    if not file.inputs or not file.outputs or not made.issuperset(file.outputs):
        raise broken("its outputs")
