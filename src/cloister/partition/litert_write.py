"""LiteRT files written anew from what was read: nothing else of the old file is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from cloister.errors import UnsupportedError
from cloister.partition.litert_file import (
    MAX_BYTES,
    Constant,
    LiteRTFile,
    Operator,
    Tensor,
    litert_schema,
)

__all__ = ["SIGNATURE", "pruned", "write_litert"]

SIGNATURE: Final = "serving_default"
_ALIGNMENT: Final = 16
_SLACK: Final = 1 << 16
_SHORT_CODES: Final = 127
_VERSION: Final = 3


def pruned(
    file: LiteRTFile,
    operators: Sequence[Operator],
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> LiteRTFile:
    """Return a model of these operators of a file, with the tensors that they name and no other."""
    used = dict.fromkeys(inputs)
    for operator in operators:
        used.update(dict.fromkeys(i for i in (*operator.inputs, *operator.outputs) if i >= 0))
    used.update(dict.fromkeys(outputs))
    order = sorted(used)
    place = {index: new for new, index in enumerate(order)} | {-1: -1}
    return LiteRTFile(
        tuple(file.tensors[index] for index in order),
        tuple(
            replace(
                operator,
                inputs=tuple(place[i] for i in operator.inputs),
                outputs=tuple(place[i] for i in operator.outputs),
            )
            for operator in operators
        ),
        tuple(place[i] for i in inputs),
        tuple(place[i] for i in outputs),
    )


def write_litert(file: LiteRTFile) -> bytes:
    """Return the `.tflite` file of a model; its one signature has the names of its tensors.

    Tensors that share a buffer share it there too.

    Raises:
        UnsupportedError: `model.convert`: the file would be larger than 2 GiB.
    """
    schema = litert_schema()
    import flatbuffers  # noqa: PLC0415  # comes with LiteRT

    codes = list(dict.fromkeys((operator.code, operator.version) for operator in file.operators))
    constants = [tensor.constant for tensor in file.tensors if tensor.constant is not None]
    shared = {id(constant): constant for constant in constants}
    buffer_of = {key: number for number, key in enumerate(shared, start=1)}
    model = schema.ModelT()
    model.version = _VERSION
    model.operatorCodes = [_code(schema, code, version) for code, version in codes]
    model.buffers = [schema.BufferT()]
    size = _SLACK
    for constant in shared.values():
        model.buffers.append(_AlignedBuffer(constant))
        size += constant.nbytes + _ALIGNMENT
    if size > MAX_BYTES:
        raise _too_large()
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [
        _tensor(schema, tensor, buffer_of.get(id(tensor.constant), 0)) for tensor in file.tensors
    ]
    graph.inputs = np.array(file.inputs, "<i4")
    graph.outputs = np.array(file.outputs, "<i4")
    graph.operators = [
        _operator(schema, operator, codes.index((operator.code, operator.version)))
        for operator in file.operators
    ]
    model.subgraphs = [graph]
    model.signatureDefs = [_signature(schema, file)]
    builder = flatbuffers.Builder(size)
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    except flatbuffers.builder.BuilderSizeError as e:
        raise _too_large() from e
    return bytes(builder.Output())


class _AlignedBuffer:
    """A buffer whose bytes stand where native code can read numbers: the schema asks for it."""

    def __init__(self, constant: Constant) -> None:
        self.data: Final = np.ascontiguousarray(constant).view(np.uint8)

    def Pack(self, builder: Any) -> Any:  # noqa: N802  # the name that LiteRT's writer calls
        schema = litert_schema()
        builder.StartVector(1, self.data.nbytes, _ALIGNMENT)
        builder.head -= self.data.nbytes
        builder.Bytes[builder.head : builder.head + self.data.nbytes] = self.data.tobytes()
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def _too_large() -> UnsupportedError:
    return UnsupportedError("a part would be larger than 2 GiB", code="model.convert")


def _code(schema: Any, code: int, version: int) -> Any:
    record = schema.OperatorCodeT()
    record.deprecatedBuiltinCode = min(code, _SHORT_CODES)
    record.builtinCode = code
    record.version = version
    return record


def _tensor(schema: Any, tensor: Tensor, buffer: int) -> Any:
    record = schema.TensorT()
    record.name = tensor.name
    record.type = tensor.type
    record.shape = np.array(tensor.shape, "<i4")
    if tensor.signature:
        record.shapeSignature = np.array(tensor.signature, "<i4")
    record.hasRank = True
    record.buffer = buffer
    if tensor.quantization:
        scales = schema.QuantizationParametersT()
        scales.min = tensor.quantization.get("min")
        scales.max = tensor.quantization.get("max")
        scales.scale = tensor.quantization.get("scale")
        scales.zeroPoint = tensor.quantization.get("zero_point")
        scales.quantizedDimension = tensor.quantization.get("axis", 0)
        record.quantization = scales
    return record


def _operator(schema: Any, operator: Operator, index: int) -> Any:
    record = schema.OperatorT()
    record.opcodeIndex = index
    record.inputs = np.array(operator.inputs, "<i4")
    record.outputs = np.array(operator.outputs, "<i4")
    record.builtinOptionsType = operator.options_type
    record.builtinOptions = operator.options
    return record


def _signature(schema: Any, file: LiteRTFile) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [_map(schema, file, index) for index in file.inputs]
    signature.outputs = [_map(schema, file, index) for index in file.outputs]
    return signature


def _map(schema: Any, file: LiteRTFile, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = file.tensors[index].name
    entry.tensorIndex = index
    return entry
