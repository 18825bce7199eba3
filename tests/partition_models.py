"""Small models for tests of partitioning: a residual block and a dense block, by seeded weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["onnx_block_net"]

CHANNELS = 8


def onnx_block_net(seed: int = 0) -> bytes:
    """Return a model with a residual block, a dense block and a classifier of ten.

    It takes `image`, of 3 x 16 x 16 floats, and gives `label`.
    """
    rng = np.random.default_rng(seed)
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, array: Any) -> str:
        constants.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def conv(source: str, name: str, into: int, out: int) -> str:
        weights = constant(f"{name}.w", rng.standard_normal((out, into, 3, 3)) / 5)
        bias = constant(f"{name}.b", rng.standard_normal(out) / 5)
        nodes.append(
            helper.make_node("Conv", [source, weights, bias], [name], name=name, pads=[1, 1, 1, 1])
        )
        return name

    def node(operator: str, sources: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, sources, [name], name=name, **attributes))
        return name

    first = node("Relu", [conv("image", "c1", 3, CHANNELS)], "r1")
    scales = [constant(f"n1.{i}", rng.random(CHANNELS) + 0.5) for i in range(4)]
    branch = node("BatchNormalization", [conv(first, "c2", CHANNELS, CHANNELS), *scales], "n1")
    branch = node("Relu", [branch], "r2")
    added = node("Add", [first, branch], "add")
    grown = node("Concat", [added, conv(added, "c3", CHANNELS, 4)], "cat1", axis=1)
    grown = node("Concat", [grown, conv(grown, "c4", CHANNELS + 4, 4)], "cat2", axis=1)
    pooled = node("Flatten", [node("GlobalAveragePool", [grown], "pool")], "flat", axis=1)
    weights = constant("fc.w", rng.standard_normal((CHANNELS + 8, 10)))
    bias = constant("fc.b", rng.standard_normal(10))
    node("Softmax", [node("Gemm", [pooled, weights, bias], "fc")], "label", axis=-1)
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("label", TensorProto.FLOAT, ["n", 10])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
