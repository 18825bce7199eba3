"""Small ONNX models, built when a test wants them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402  # where it is installed

__all__ = ["built", "half_plus", "named_pair", "node", "scorer"]


def node(operator: str, inputs: list[str], outputs: list[str], **more: Any) -> Any:
    return helper.make_node(operator, inputs, outputs, **more)


def built(
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    constants: dict[str, Any] | None = None,
    domains: tuple[str, ...] = (),
) -> Any:
    """Return a model of parts; inputs and outputs are (name, shape) with None for open axes."""

    def values(items: list[Any]) -> list[Any]:
        return [
            helper.make_tensor_value_info(
                each[0], each[2] if len(each) > 2 else TensorProto.FLOAT, each[1]
            )
            for each in items
        ]

    tensors = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), initializer=tensors)
    sets = [helper.make_opsetid("", 17), *(helper.make_opsetid(each, 1) for each in domains)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


def half_plus(number: float) -> bytes:
    """Return x / 2 + number, of one open axis."""
    constants = {"h": np.float32([0.5]), "n": np.float32([number])}
    nodes = [node("Mul", ["x", "h"], ["m"]), node("Add", ["m", "n"], ["y"])]
    model = built(nodes, [("x", [None])], [("y", [None])], constants)
    data: bytes = model.SerializeToString()
    return data


def scorer(*, classes: int = 3, shift: float = 0.0) -> bytes:
    """Return x + shift, of rows with so many classes."""
    nodes = [node("Add", ["x", "s"], ["scores"])]
    constants = {"s": np.full(classes, shift, np.float32)}
    model = built(nodes, [("x", [None, classes])], [("scores", [None, classes])], constants)
    data: bytes = model.SerializeToString()
    return data


def named_pair() -> bytes:
    """Return the sum and the product of two inputs of rows of two."""
    nodes = [node("Add", ["a", "b"], ["sum"]), node("Mul", ["a", "b"], ["product"])]
    shape = [None, 2]
    model = built(nodes, [("a", shape), ("b", shape)], [("sum", shape), ("product", shape)])
    data: bytes = model.SerializeToString()
    return data
