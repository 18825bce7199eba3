"""Networks with seeded weights, as ONNX: for tests and measurements of checked middles."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cloister.partition.onnx_file import onnx_module

__all__ = ["conv_net", "dense_net"]

_OPSET: Final = 17
_IR: Final = 9


class _Net:
    def __init__(self, seed: int) -> None:
        self._onnx: Final = onnx_module()
        self._generator: Final = np.random.default_rng(seed)
        self._nodes: Final[list[Any]] = []
        self._constants: Final[list[Any]] = []

    def add(self, operator: str, sources: list[str], name: str, **attributes: Any) -> str:
        make = self._onnx.helper.make_node
        self._nodes.append(make(operator, sources, [name], name=name, **attributes))
        return name

    def weights(self, name: str, *shape: int, scale: float) -> str:
        array = (self._generator.standard_normal(shape) * scale).astype(np.float32)
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def conv(self, source: str, name: str, sizes: tuple[int, int, int], **attributes: Any) -> str:
        into, out, kernel = sizes
        scale = (2 / (into * kernel * kernel)) ** 0.5
        weights = self.weights(f"{name}.w", out, into, kernel, kernel, scale=scale)
        bias = self.weights(f"{name}.b", out, scale=0.1)
        pads = [kernel // 2] * 4
        return self.add("Conv", [source, weights, bias], name, pads=pads, **attributes)

    def dense(self, source: str, name: str, into: int, out: int) -> str:
        weights = self.weights(f"{name}.w", into, out, scale=(2 / into) ** 0.5)
        return self.add("Gemm", [source, weights, self.weights(f"{name}.b", out, scale=0.1)], name)

    def done(self, given: tuple[str, list[Any]], made: tuple[str, list[Any]]) -> bytes:
        helper, floats = self._onnx.helper, self._onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "net",
            [helper.make_tensor_value_info(given[0], floats, given[1])],
            [helper.make_tensor_value_info(made[0], floats, made[1])],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR
        )
        return bytes(model.SerializeToString())


def conv_net(*, channels: int, blocks: int, size: int, classes: int = 10, seed: int = 0) -> bytes:
    """Return a residual network: `image` (n, 3, size, size) to `label` (n, classes).

    Its tensors: `first` after the first convolution; in each block i from 1 `a<i>`, `ar<i>`,
    `b<i>`, `sum<i>` and `r<i>`; then `flat`, and `logits` before the softmax.
    """
    net = _Net(seed)
    last = net.add("Relu", [net.conv("image", "c0", (3, channels, 3))], "first")
    for i in range(1, blocks + 1):
        inner = net.conv(last, f"a{i}", (channels, channels, 3))
        inner = net.add("Relu", [inner], f"ar{i}")
        inner = net.conv(inner, f"b{i}", (channels, channels, 3))
        last = net.add("Relu", [net.add("Add", [last, inner], f"sum{i}")], f"r{i}")
    flat = net.add("Flatten", [net.add("GlobalAveragePool", [last], "pool")], "flat", axis=1)
    logits = net.dense(flat, "logits", channels, classes)
    net.add("Softmax", [logits], "label", axis=-1)
    return net.done(("image", ["n", 3, size, size]), ("label", ["n", classes]))


def dense_net(*, width: int, layers: int, classes: int = 10, seed: int = 0) -> bytes:
    """Return a perceptron: `x` (n, width) by `h<i>` and `hr<i>` to `label` (n, classes)."""
    net = _Net(seed)
    last = "x"
    for i in range(1, layers + 1):
        last = net.add("Relu", [net.dense(last, f"h{i}", width, width)], f"hr{i}")
    net.add("Softmax", [net.dense(last, "logits", width, classes)], "label", axis=-1)
    return net.done(("x", ["n", width]), ("label", ["n", classes]))
