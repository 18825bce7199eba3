"""A residual network with random weights whose maps get smaller and wider, as real ones do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cloister.partition.graph import PartFile, Source
from cloister.partition.linear import linear_steps
from cloister.partition.onnx_source import ONNXSource

IMAGE, FLAT, LABEL = "image", "flat", "label"
SIZE = 56
STAGES = (64, 128, 256)  # channels; every stage halves the maps before
EACH = 4  # blocks of a stage
CLASSES = 10


def behind(block: int) -> str:
    """Return the tensor behind a block; 0 is the first convolution."""
    return f"r{block}"


def residual_net(*, size: int = SIZE, stages: tuple[int, ...] = STAGES, each: int = EACH) -> bytes:
    """Return the network: `image` (n, 3, size, size) to `label` (n, 10), through `r0`, `r1`, ...

    Every block is two 3 x 3 convolutions around which its input goes; the first of a stage halves
    the maps. A head of pooling and one dense layer is behind `flat`.
    """
    random = np.random.default_rng(3)
    nodes: list[Any] = []
    constants: list[Any] = []

    def node(operator: str, sources: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, sources, [name], name=name, **attributes))
        return name

    def weights(name: str, *shape: int) -> list[str]:
        scale = math.sqrt(2 / math.prod(shape[1:]))
        arrays = {".w": random.standard_normal(shape) * scale, ".b": np.zeros(shape[0])}
        for suffix, array in arrays.items():
            constants.append(numpy_helper.from_array(array.astype(np.float32), name + suffix))
        return [name + suffix for suffix in arrays]

    def conv(source: str, name: str, into: int, out: int, *, kernel: int, stride: int) -> str:
        constant = weights(name, out, into, kernel, kernel)
        pads, strides = [kernel // 2] * 4, [stride] * 2
        return node("Conv", [source, *constant], name, pads=pads, strides=strides)

    have, block = stages[0], 0
    last = node("Relu", [conv(IMAGE, "stem", 3, have, kernel=3, stride=1)], behind(0))
    for channels in stages:
        for place in range(each):
            block, stride = block + 1, 2 if place == 0 else 1
            inner = conv(last, f"a{block}", have, channels, kernel=3, stride=stride)
            inner = node("Relu", [inner], f"ar{block}")
            inner = conv(inner, f"b{block}", channels, channels, kernel=3, stride=1)
            if stride > 1:
                last = conv(last, f"s{block}", have, channels, kernel=1, stride=stride)
            last = node("Relu", [node("Add", [last, inner], f"sum{block}")], behind(block))
            have = channels
    flat = node("Flatten", [node("GlobalAveragePool", [last], "pool")], FLAT, axis=1)
    logits = node("Gemm", [flat, *weights("fc", CLASSES, have)], "logits", transB=1)
    node("Softmax", [logits], LABEL, axis=-1)
    shapes = {IMAGE: ["n", 3, size, size], LABEL: ["n", CLASSES]}
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    graph = helper.make_graph(nodes, "residual", [given], [made], constants)
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def parts(source: Source, block: int) -> tuple[PartFile, PartFile, PartFile]:
    """Cut behind a block: front, exposed middle up to the pooled features, and the head."""
    begin = behind(block)
    return (
        source.part([IMAGE], [begin]),
        source.part([begin], [FLAT]),
        source.part([FLAT], [LABEL]),
    )


def multiplications(part: PartFile) -> int:
    """Count those of a part's dense layers and convolutions, for one example."""
    tensors = ONNXSource(part.data).graph.tensors
    return sum(
        step.terms * math.prod(tensors[step.output].shape[1:]) for step in linear_steps(part)
    )
