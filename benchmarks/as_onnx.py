"""A Keras network of convolutions as ONNX, with the same weights, input and output.

For the two networks of `serving.py`, and refuses any other layer. ONNX has channels first, so the
input is transposed once, and again before what is flattened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS_FIRST, CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
FINAL = "scores"


def as_onnx(model: Any) -> bytes:
    """Return a Sequential or functional Keras model of one input and one output."""
    return _Writer(model).written()


class _Writer:
    def __init__(self, model: Any) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._model = model
        self._names: dict[int, str] = {}

    def written(self) -> bytes:
        (given,), (made,) = self._model.inputs, self._model.outputs
        self._names[id(given)] = self._node("Transpose", ["input"], "first", perm=CHANNELS_FIRST)
        for layer in self._model.layers:
            kind = type(layer).__name__
            if kind == "InputLayer":
                continue
            sources = layer.input if isinstance(layer.input, list) else [layer.input]
            write = _LAYERS.get(kind)
            if write is None:
                raise SystemExit(f"{kind} is not written as ONNX")
            self._names[id(layer.output)] = write(
                self, layer, [self._names[id(s)] for s in sources]
            )
        self._node("Identity", [self._names[id(made)]], FINAL)
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *tensor.shape[1:]])
            for name, tensor in (("input", given), (FINAL, made))
        ]
        graph = helper.make_graph(self._nodes, "net", values[:1], values[1:], self._constants)
        opsets = [helper.make_opsetid("", 17)]
        written = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        onnx.checker.check_model(written)
        return bytes(written.SerializeToString())

    def _node(self, operator: str, sources: list[str], name: str, **attributes: Any) -> str:
        node = helper.make_node(operator, sources, [name], name=name, **attributes)
        self._nodes.append(node)
        return name

    def _constant(self, name: str, array: Any) -> str:
        array = np.ascontiguousarray(array, np.float32)
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, layer: Any, sources: list[str]) -> str:
        kernel, *bias = layer.get_weights()
        groups, order = 1, (3, 2, 0, 1)
        if type(layer).__name__ == "DepthwiseConv2D":
            groups, order = kernel.shape[2], (2, 3, 0, 1)
        weights = kernel.transpose(order)
        if groups > 1:
            weights = weights.reshape(-1, 1, *kernel.shape[:2])
        arrays = {"w": weights, "b": bias[0]} if bias else {"w": weights}
        made = self._node(
            "Conv",
            sources + [self._constant(f"{layer.name}.{n}", each) for n, each in arrays.items()],
            layer.name,
            group=groups,
            strides=list(layer.strides),
            auto_pad={"same": "SAME_UPPER", "valid": "VALID"}[layer.padding],
        )
        return self._activated(layer, made)

    def dense(self, layer: Any, sources: list[str]) -> str:
        arrays = dict(zip("wb", layer.get_weights(), strict=True))
        constants = [self._constant(f"{layer.name}.{n}", each) for n, each in arrays.items()]
        return self._activated(layer, self._node("Gemm", sources + constants, layer.name))

    def normalization(self, layer: Any, sources: list[str]) -> str:
        constants = [
            self._constant(f"{layer.name}.{n}", each) for n, each in enumerate(layer.get_weights())
        ]
        return self._node(
            "BatchNormalization", sources + constants, layer.name, epsilon=layer.epsilon
        )

    def relu(self, layer: Any, sources: list[str]) -> str:
        if layer.max_value is None:
            return self._node("Relu", sources, layer.name)
        ends = {"low": np.array(0), "high": np.array(layer.max_value)}
        constants = [self._scalar(f"{layer.name}.{n}", each) for n, each in ends.items()]
        return self._node("Clip", sources + constants, layer.name)

    def padding(self, layer: Any, sources: list[str]) -> str:
        (top, bottom), (left, right) = layer.padding
        name = f"{layer.name}.pads"
        pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
        self._constants.append(numpy_helper.from_array(pads, name))
        return self._node("Pad", [*sources, name], layer.name)

    def add(self, layer: Any, sources: list[str]) -> str:
        return self._node("Add", sources, layer.name)

    def pool(self, layer: Any, sources: list[str]) -> str:
        pooled = self._node("GlobalAveragePool", sources, f"{layer.name}.map")
        return self._node("Flatten", [pooled], layer.name, axis=1)

    def flatten(self, layer: Any, sources: list[str]) -> str:
        turned = self._node("Transpose", sources, f"{layer.name}.last", perm=CHANNELS_LAST)
        return self._node("Flatten", [turned], layer.name, axis=1)

    def _scalar(self, name: str, value: Any) -> str:
        self._constants.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def _activated(self, layer: Any, made: str) -> str:
        word = layer.activation.__name__
        if word == "linear":
            return made
        operator = {"relu": "Relu", "softmax": "Softmax"}[word]
        return self._node(operator, [made], f"{layer.name}.{word}")


_LAYERS: dict[str, Callable[[_Writer, Any, list[str]], str]] = {
    "Conv2D": _Writer.conv,
    "DepthwiseConv2D": _Writer.conv,
    "Dense": _Writer.dense,
    "BatchNormalization": _Writer.normalization,
    "ReLU": _Writer.relu,
    "ZeroPadding2D": _Writer.padding,
    "Add": _Writer.add,
    "GlobalAveragePooling2D": _Writer.pool,
    "Flatten": _Writer.flatten,
}
