"""ONNX models read as data: one graph of standard operators, all constants inside the file.

The file is hostile until it is read. What would lead out of it is refused before anything looks at
it: external data names a path, a function or a foreign domain names code, and a graph inside a node
is a program that no cut can show.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from typing import Any, Final

import numpy as np

from cloister.errors import MalformedError, MissingExtraError, RefusedError, extra_hint

__all__ = ["MAX_OPSET", "constants_of", "free_name", "lists_of", "onnx_module", "read_onnx"]

MAX_BYTES: Final = 2**31 - 1
MAX_OPSET: Final = 26
_MIN_OPSET: Final = 7
_MAX_NODES: Final = 100_000
_MAX_ELEMENTS: Final = 2**31
_MAX_RANK: Final = 8
_MAX_NAME: Final = 4096
_DOMAINS: Final = frozenset({"", "ai.onnx"})
# They keep something, run graphs, draw random numbers or handle what is no tensor of numbers.
_REFUSED: Final = frozenset(
    {
        "Bernoulli",
        "If",
        "ImageDecoder",
        "Loop",
        "Multinomial",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "RegexFullMatch",
        "Scan",
        "SequenceAt",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceLength",
        "SequenceMap",
        "SplitToSequence",
        "ConcatFromSequence",
        "StringConcat",
        "StringNormalizer",
        "StringSplit",
        "TfIdfVectorizer",
    }
)


def onnx_module() -> Any:
    """Return the `onnx` package.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import onnx  # noqa: PLC0415  # optional
    except ImportError as e:
        raise MissingExtraError(
            "cutting an ONNX model needs onnx",
            code="extra.missing",
            hint=extra_hint("onnx"),
        ) from e
    return onnx


def read_onnx(data: bytes) -> Any:
    """Return the `ModelProto` in an ONNX file, with the shapes of its tensors.

    Raises:
        MalformedError: `model.malformed`.
        RefusedError: `model.unsafe`: it leads to another file or to code; `model.operator`: an
            operator, or a part of the format, that is not allowed.
        MissingExtraError: `onnx` is not installed.
    """
    onnx = onnx_module()
    if len(data) > MAX_BYTES:
        raise _broken("it is larger than 2 GiB")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as e:  # protobuf's error classes differ by implementation
        raise _broken("it is no protocol buffer") from e
    _require_plain(model)
    for node in model.graph.node:
        _require_allowed(node, onnx)
    for tensor in _tensors(model):
        _require_inside(tensor, onnx)
    _require_names(model)
    _require_ordered(model)
    try:
        onnx.checker.check_model(model)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        raise _broken(str(e)[:200]) from e
    except (ValueError, RuntimeError, TypeError, MemoryError) as e:
        raise _broken("its operators do not fit each other") from e


def constants_of(model: Any) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Return the constants of a model that was read, by name."""
    onnx = onnx_module()
    found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                name = node.output[0] if node.output else node.name
                found[free_name(name, found)] = onnx.numpy_helper.to_array(attribute.t)
    return found


def lists_of(model: Any) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Return the lists of numbers that nodes of a model have outside of tensors, by a name."""
    kinds = onnx_module().AttributeProto
    found: dict[str, np.ndarray[Any, np.dtype[Any]]] = {}
    for node in model.graph.node:
        for attribute in node.attribute:
            name = f"{node.output[0] or node.name}.{attribute.name}"
            if attribute.type == kinds.FLOATS:
                found[free_name(name, found)] = np.array(attribute.floats, np.float32)
            elif attribute.type == kinds.INTS:
                found[free_name(name, found)] = np.array(attribute.ints, np.int64)
    return found


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name that is not taken: the one that is asked for, or that with marks after it."""
    while name in taken:
        name += "#"
    return name


def _numbers(attribute: Any, onnx: Any) -> np.ndarray[Any, np.dtype[Any]] | None:
    """Return the numbers that an attribute has outside of tensors."""
    kinds = onnx.AttributeProto
    if attribute.type in {kinds.FLOAT, kinds.FLOATS}:
        one = [attribute.f] if attribute.type == kinds.FLOAT else attribute.floats
        return np.array(one, np.float32)
    if attribute.type in {kinds.INT, kinds.INTS}:
        whole = [attribute.i] if attribute.type == kinds.INT else attribute.ints
        return np.array(whole, np.int64)
    return None


def _require_plain(model: Any) -> None:
    if model.functions:
        raise RefusedError("the ONNX model has functions of its own", code="model.unsafe")
    if model.training_info:
        raise _refused("it has a part for training")
    if model.graph.sparse_initializer or model.graph.quantization_annotation:
        raise _refused("it has sparse or annotated constants")
    if not 0 < len(model.graph.node) <= _MAX_NODES:
        raise _broken("its number of operators")
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if len(versions) != len(model.opset_import) or not versions:
        raise _broken("its operator sets")
    foreign = sorted(versions.keys() - _DOMAINS)
    if foreign:
        raise RefusedError(f"the ONNX model needs operators of {foreign[0]!r}", code="model.unsafe")
    if len(versions) > 1 or not all(
        _MIN_OPSET <= version <= MAX_OPSET for version in versions.values()
    ):
        raise _refused(f"its operator set is not one of {_MIN_OPSET} to {MAX_OPSET}")


def _require_allowed(node: Any, onnx: Any) -> None:
    if node.domain not in _DOMAINS or node.overload:
        raise RefusedError(
            f"the ONNX model needs an operator of {node.domain!r}", code="model.unsafe"
        )
    if node.op_type in _REFUSED:
        raise _refused(f"{node.op_type} is not on the list")
    plain = onnx.AttributeProto
    allowed = {plain.FLOAT, plain.INT, plain.STRING, plain.TENSOR, plain.FLOATS, plain.INTS}
    for attribute in node.attribute:
        if attribute.type not in allowed or attribute.ref_attr_name:
            raise _refused(f"{node.op_type} has an attribute that is no number, word or tensor")
        if attribute.HasField("g") or attribute.graphs or attribute.tensors:
            raise _refused(f"{node.op_type} has a graph inside")


def _tensors(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise _refused(f"{node.op_type} has a sparse constant")


def _require_inside(tensor: Any, onnx: Any) -> None:
    """Refuse a constant that is in another file, of no number's type, or not of its size."""
    kind = onnx.TensorProto
    if tensor.data_location != kind.DEFAULT or tensor.external_data:
        raise RefusedError("the ONNX model takes a constant from a file", code="model.unsafe")
    if tensor.HasField("segment") or tensor.string_data or tensor.data_type == kind.STRING:
        raise _refused("it has a constant that is no tensor of numbers")
    elements = math.prod(tensor.dims)
    if len(tensor.dims) > _MAX_RANK or any(size < 0 for size in tensor.dims):
        raise _broken("a constant's shape")
    if elements > _MAX_ELEMENTS:
        raise _broken("a constant's size")
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError) as e:
        raise _refused("it has a constant of an unknown type") from e
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != elements * dtype.itemsize:
            raise _broken("a constant's length")
        return
    fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data)
    if sum(map(len, (*fields, tensor.uint64_data))) != elements:
        raise _broken("a constant's length")


def _require_names(model: Any) -> None:
    graph = model.graph
    names = [tensor.name for tensor in graph.initializer]
    names += [name for node in graph.node for name in node.output if name]
    if len(set(names)) != len(names):
        raise _broken("two tensors of one name")
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input]
    outputs = [value.name for value in graph.output]
    for ends in (inputs, outputs):
        if len(set(ends)) != len(ends) or not set(ends) - constants:
            raise _broken("its inputs or outputs")
    if not set(inputs).isdisjoint(set(names) - constants):
        raise _broken("an input that is made inside")
    if any(len(name) > _MAX_NAME or not name.isprintable() for name in (*names, *inputs)):
        raise _broken("a tensor's name")


def _require_ordered(model: Any) -> None:
    made = {tensor.name for tensor in model.graph.initializer}
    made.update(value.name for value in model.graph.input)
    for node in model.graph.node:
        if not node.output or not any(node.output):
            raise _broken("an operator without outputs")
        if any(name and name not in made for name in node.input):
            raise _broken("an operator that reads what nothing has made")
        made.update(name for name in node.output if name)
    if not made.issuperset(value.name for value in model.graph.output):
        raise _broken("an output that nothing makes")


def _broken(what: str) -> MalformedError:
    return MalformedError(f"the ONNX model is damaged: {what}", code="model.malformed")


def _refused(what: str) -> RefusedError:
    return RefusedError(
        f"the ONNX model is not of a kind that can be cut: {what}", code="model.operator"
    )
