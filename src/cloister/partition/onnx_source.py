"""ONNX models as sources of parts: the nodes between, and the constants that they read.

Trained models carry paths, versions and notes of who made them; of those a part has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from cloister.crypto.digest import sha256
from cloister.errors import ConfigError, RefusedError
from cloister.partition.graph import Graph, Node, PartFile, TensorInfo, nodes_between
from cloister.partition.onnx_file import onnx_module, read_onnx

__all__ = ["ONNXSource", "onnx_with_outputs"]

_PRODUCER: Final = "cloister"
# Where a tensor has numbers that are not in its bytes.
_NUMBERS: Final = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_DATATYPES: Final = frozenset(
    {"bool", "float16", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


class ONNXSource:
    """An `.onnx` model that was read as data."""

    bound: Final = 0.0

    def __init__(self, data: bytes) -> None:
        """Read a model.

        Raises:
            MalformedError: `model.malformed`.
            RefusedError: `model.unsafe` or `model.operator`: it leads out of the file, or has what
                is not allowed.
            MissingExtraError: `onnx` is not installed.
        """
        self._model: Final = read_onnx(data)
        self.digest: Final = sha256(data)
        self._variable: Final = _variable(self._model)
        self.graph: Final = _graph(self._model, self._variable)

    def part(self, inputs: Sequence[str], outputs: Sequence[str]) -> PartFile:
        """Return the part between, as `Source.part` says."""
        nodes, read, made = nodes_between(self.graph, inputs, outputs)
        chosen = {name for node in nodes for name in node.outputs}
        wanted = {name for node in nodes for name in node.constants}
        kept: list[Any] = []
        for node in reversed(self._model.graph.node):
            if chosen.isdisjoint(node.output) and wanted.isdisjoint(node.output):
                continue
            kept.append(node)
            wanted.update(name for name in node.input if name and name not in self._variable)
        kept.reverse()
        constants = [t for t in self._model.graph.initializer if t.name in wanted]
        tensors = self.graph.tensors
        return _part(
            self._model,
            kept,
            constants,
            tuple(tensors[name] for name in read),
            tuple(tensors[name] for name in made),
        )


def onnx_with_outputs(part: PartFile, names: Sequence[str]) -> PartFile:
    """Return a part that gives these tensors too, after its own outputs.

    Raises:
        ConfigError: `config.value`: it has no such tensor.
    """
    model = read_onnx(part.data)
    tensors = _graph(model, _variable(model)).tensors
    unknown = [name for name in names if name not in tensors]
    if unknown:
        raise ConfigError(f"the part has no tensor {unknown[0]}", code="config.value")
    own = [info.name for info in part.outputs]
    outputs = tuple(tensors[name] for name in dict.fromkeys((*own, *names)))
    return _part(model, model.graph.node, model.graph.initializer, part.inputs, outputs)


def _part(
    model: Any,
    nodes: Iterable[Any],
    constants: Iterable[Any],
    inputs: tuple[TensorInfo, ...],
    outputs: tuple[TensorInfo, ...],
) -> PartFile:
    onnx = onnx_module()
    part = onnx.ModelProto()
    part.ir_version = model.ir_version
    part.producer_name = _PRODUCER
    for entry in model.opset_import:
        part.opset_import.add(domain=entry.domain, version=entry.version)
    part.graph.name = "part"
    part.graph.node.extend(_node(node, onnx) for node in nodes)
    part.graph.initializer.extend(_tensor(constant, onnx) for constant in constants)
    part.graph.input.extend(_value(info) for info in inputs)
    part.graph.output.extend(_value(info) for info in outputs)
    return PartFile("onnx", part.SerializeToString(deterministic=True), inputs, outputs)


def _node(node: Any, onnx: Any) -> Any:
    """Return a node with what was checked of it, and nothing else that the file may have there."""
    made = onnx.NodeProto(
        op_type=node.op_type, domain=node.domain, name=node.name, input=node.input
    )
    made.output.extend(node.output)
    kinds = onnx.AttributeProto
    fields = {kinds.FLOAT: "f", kinds.INT: "i", kinds.STRING: "s"}
    lists = {kinds.FLOATS: "floats", kinds.INTS: "ints"}
    for attribute in node.attribute:
        new = made.attribute.add(name=attribute.name, type=attribute.type)
        if attribute.type in fields:
            setattr(new, fields[attribute.type], getattr(attribute, fields[attribute.type]))
        elif attribute.type in lists:
            name = lists[attribute.type]
            getattr(new, name).extend(getattr(attribute, name))
        else:
            new.t.CopyFrom(_tensor(attribute.t, onnx))
    return made


def _tensor(tensor: Any, onnx: Any) -> Any:
    made = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    if tensor.HasField("raw_data"):
        made.raw_data = tensor.raw_data
        return made
    for name in _NUMBERS:
        getattr(made, name).extend(getattr(tensor, name))
    return made


def _value(info: TensorInfo) -> Any:
    onnx = onnx_module()
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(info.datatype))
    shape = [None if size < 0 else size for size in info.shape]
    return onnx.helper.make_tensor_value_info(info.name, kind, shape)


def _variable(model: Any) -> frozenset[str]:
    """Return the tensors that depend on an input."""
    constants = {tensor.name for tensor in model.graph.initializer}
    variable = {value.name for value in model.graph.input} - constants
    for node in model.graph.node:
        if not variable.isdisjoint(node.input):
            variable.update(name for name in node.output if name)
    return frozenset(variable)


def _graph(model: Any, variable: frozenset[str]) -> Graph:
    if any(value.name not in variable for value in model.graph.output):
        raise RefusedError(
            "the ONNX model has an output that depends on no input", code="model.operator"
        )
    known = {
        value.name: value
        for values in (model.graph.value_info, model.graph.input, model.graph.output)
        for value in values
    }
    tensors = {name: _info(name, known.get(name)) for name in _in_order(model, variable)}
    nodes = tuple(
        Node(
            next(name for name in node.output if name),
            node.op_type,
            tuple(dict.fromkeys(name for name in node.input if name in variable)),
            tuple(name for name in node.output if name),
            tuple(dict.fromkeys(name for name in node.input if name and name not in variable)),
        )
        for node in model.graph.node
        if not variable.isdisjoint(node.input)
    )
    return Graph(
        "onnx",
        tuple(tensors[value.name] for value in model.graph.input if value.name in variable),
        tuple(tensors[value.name] for value in model.graph.output),
        nodes,
        tensors,
    )


def _in_order(model: Any, variable: frozenset[str]) -> Iterable[str]:
    names = [value.name for value in model.graph.input]
    names += [name for node in model.graph.node for name in node.output]
    return (name for name in names if name in variable)


def _info(name: str, value: Any) -> TensorInfo:
    onnx = onnx_module()
    if value is None or not value.type.HasField("tensor_type"):
        raise RefusedError(
            f"nothing says what shape the ONNX model's tensor {name} has", code="model.operator"
        )
    kind = value.type.tensor_type
    if kind.elem_type == onnx.TensorProto.STRING or not kind.HasField("shape"):
        raise RefusedError(
            f"the ONNX model's tensor {name} has no shape, or is text", code="model.operator"
        )
    shape = tuple(
        dimension.dim_value if dimension.HasField("dim_value") else -1
        for dimension in kind.shape.dim
    )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if dtype.name not in _DATATYPES:
        raise RefusedError(
            f"the ONNX model has tensors of type {dtype.name}", code="model.operator"
        )
    return TensorInfo(name, dtype.name, shape)
