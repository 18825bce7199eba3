"""Operators that let one row of a batch see another, found in a model's graph.

Dynamic quantization scales a whole tensor by its largest number, so that one row of a batch changes
the precision of all; reductions over the first axis add rows up. A trial with some rows can miss
either. What is looked for is written down here, and is not all that could mix rows: a graph in
which nothing is found has still to pass the trial of `joining`.

What does not come from rows is left out: weights, shapes, and what is computed from those alone.

Spec: serving-v1, clause SRV-52.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["litert_mixes", "onnx_mixes"]

_WHOLE: Final = frozenset({"DynamicQuantizeLinear", "Unique"})
_ONE_AXIS: Final[Mapping[str, int]] = {
    "ArgMax": 0,
    "ArgMin": 0,
    "Hardmax": -1,
    "LayerNormalization": -1,
    "LogSoftmax": -1,
    "LpNormalization": -1,
    "Softmax": -1,
    "TopK": -1,
}
_AXES_INPUT: Final = frozenset({"CumSum"})
_SHAPES: Final = frozenset({"Shape", "Size", "SHAPE", "RANK"})
_LITERT_REDUCTIONS: Final = frozenset(
    {
        "MEAN",
        "SUM",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "REDUCE_PROD",
        "REDUCE_ANY",
        "REDUCE_ALL",
        "ARG_MAX",
        "ARG_MIN",
        "CUMSUM",
    }
)


class _Step(NamedTuple):
    """An operator of a graph, whatever the format."""

    operator: str
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    node: Any


def onnx_mixes(proto: Any) -> bool:
    """Tell whether an ONNX model has an operator that mixes rows; what cannot be told is one."""
    stack = [proto.graph, *proto.functions]
    while stack:
        graph = stack.pop()
        constants = _onnx_constants(graph)
        ranks = {
            each.name: len(each.type.tensor_type.shape.dim)
            for each in getattr(graph, "input", ())
            if hasattr(each, "type") and each.type.tensor_type.HasField("shape")
        }
        steps = (_Step(n.op_type, [i for i in n.input if i], n.output, n) for n in graph.node)
        for step in _of_rows(steps, set(constants)):
            if _onnx_step_mixes(step, constants, ranks):
                return True
        for node in graph.node:
            for attribute in node.attribute:
                stack += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
    return False


def litert_mixes(interpreter: Any) -> bool:
    """Tell whether a TensorFlow Lite model reduces over the first axis; unknown axes are such.

    Args:
        interpreter: LiteRT's, of a model with one subgraph, with its tensors allocated.
    """
    steps = [
        _Step(each["op_name"], _present(each["inputs"]), _present(each["outputs"]), None)
        for each in interpreter._get_ops_details()  # noqa: SLF001  # LiteRT has no other way to ask
    ]
    steps = [step for step in steps if step.operator != "DELEGATE"]
    made = {output for step in steps for output in step.outputs}
    given = {each["index"] for each in interpreter.get_input_details()}
    free = {i for step in steps for i in step.inputs if i not in made and i not in given}
    ranks = {each["index"]: len(each["shape"]) for each in interpreter.get_tensor_details()}
    for step in _of_rows(steps, set(free)):
        if step.operator in _LITERT_REDUCTIONS:
            axes = step.inputs[1] if len(step.inputs) > 1 else None
            if axes not in free:
                return True
            found = interpreter.get_tensor(axes).ravel().tolist()
            if _has_first(found, ranks.get(step.inputs[0])):
                return True
    return False


def _present(indexes: Any) -> list[int]:
    """Return the numbers of tensors, without those that say that there is none."""
    return [index for index in indexes.tolist() if index >= 0]


def _of_rows(steps: Iterable[_Step], free: set[Any]) -> Iterator[_Step]:
    """Yield the steps, in their order, that compute from rows; the others' results become free."""
    for step in steps:
        if step.operator in _SHAPES or (step.inputs and free.issuperset(step.inputs)):
            free.update(step.outputs)
        else:
            yield step


def _onnx_constants(graph: Any) -> dict[str, Any]:
    """Return the tensors that stand in a graph, by name."""
    found = {each.name: each for each in getattr(graph, "initializer", ())}
    for node in graph.node:
        if node.op_type == "Constant":
            values = [each.t for each in node.attribute if each.name == "value"]
            found |= dict.fromkeys(node.output, values[0] if values else None)
    return found


def _onnx_step_mixes(step: _Step, constants: Mapping[str, Any], ranks: Mapping[str, int]) -> bool:
    node, name = step.node, step.operator
    attributes = {each.name: each for each in node.attribute}
    rank = ranks.get(step.inputs[0]) if step.inputs else None
    if name in _WHOLE:
        return True
    if name == "BatchNormalization":
        return "training_mode" in attributes and attributes["training_mode"].i != 0
    if name == "MeanVarianceNormalization":
        return "axes" not in attributes or _has_first(attributes["axes"].ints, rank)
    if name in _ONE_AXIS:
        if "axis" not in attributes:
            return _has_first([_ONE_AXIS[name]], rank)
        return bool(attributes["axis"].ref_attr_name) or _has_first([attributes["axis"].i], rank)
    if name.startswith("Reduce") or name in _AXES_INPUT:
        return _reduces_rows(step, attributes, constants, rank)
    return False


def _reduces_rows(
    step: _Step, attributes: Mapping[str, Any], constants: Mapping[str, Any], rank: int | None
) -> bool:
    if "axes" in attributes:
        axes = attributes["axes"]
        return bool(axes.ref_attr_name) or _has_first(axes.ints, rank) or not axes.ints
    if len(step.inputs) == 1:
        return not ("noop_with_empty_axes" in attributes and attributes["noop_with_empty_axes"].i)
    tensor = constants.get(step.inputs[1])
    if tensor is None:
        return True
    from onnx import numpy_helper  # noqa: PLC0415  # optional; a model was read with it

    return _has_first(numpy_helper.to_array(tensor).ravel().tolist(), rank)


def _has_first(axes: Iterable[int], rank: int | None) -> bool:
    """Tell whether the first axis is among some; one from the end is, where the rank says so."""
    return any(axis == 0 or (rank is not None and axis == -rank) for axis in axes)
