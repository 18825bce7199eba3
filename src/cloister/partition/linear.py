"""The linear steps of a model's part: dense layers and convolutions whose weights are constants.

Reads a part as data. What a step computes is `output = W input + bias`, on its own; an operator
that does more (an activation inside, a scale, other types than float32 or small integers) is no
linear step, and belongs to what is computed again inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from cloister.errors import ConfigError
from cloister.partition.graph import PartFile
from cloister.partition.linear_litert import litert_steps
from cloister.partition.linear_step import Array, LinearStep, plain_step
from cloister.partition.onnx_file import onnx_module, read_onnx

__all__ = ["Array", "LinearStep", "linear_steps"]

_DENSE_RANK: Final = 2
_CONV_RANKS: Final = (3, 4, 5)


def linear_steps(part: PartFile) -> tuple[LinearStep, ...]:
    """Return a part's linear steps, in an order in which they can run.

    The part is data of the model's owner and was checked by its digest.

    Raises:
        MalformedError: `model.malformed`, and RefusedError: `model.operator` or `model.unsafe`: it
            cannot be read.
        MissingExtraError: What reads the format is not installed.
        ConfigError: `config.value`: a part of another format.
    """
    if part.format == "onnx":
        return _of_onnx(part.data)
    if part.format == "litert":
        return litert_steps(part.data)
    raise ConfigError(f"parts of format {part.format!r} are not read", code="config.value")


def _of_onnx(data: bytes) -> tuple[LinearStep, ...]:
    model, onnx = read_onnx(data), onnx_module()
    constants = {each.name: each for each in model.graph.initializer}
    steps: list[LinearStep] = []
    for node in model.graph.node:
        reader = _READERS.get(node.op_type)
        if reader is None or node.domain not in ("", "ai.onnx"):
            continue
        arrays = [
            onnx.numpy_helper.to_array(constants[name]) if name in constants else None
            for name in node.input
        ]
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        step = reader(list(node.input), node.output[0], arrays, attributes)
        if step is not None:
            steps.append(step)
    return tuple(steps)


def _gemm(
    names: list[str], output: str, arrays: list[Array | None], attributes: Mapping[str, Any]
) -> LinearStep | None:
    plain = attributes.get("alpha", 1.0) == 1.0 and not attributes.get("transA", 0)
    if arrays[0] is not None or not plain or attributes.get("beta", 1.0) != 1.0:
        return None
    weights = arrays[1]
    if weights is None or weights.ndim != _DENSE_RANK:
        return None
    weights = weights if attributes.get("transB", 0) else weights.T
    bias = None
    if len(names) > 2 and names[2]:  # noqa: PLR2004  # A, B and what is added
        if arrays[2] is None or arrays[2].size not in (1, weights.shape[0]):
            return None
        bias = np.broadcast_to(arrays[2].reshape(-1), (weights.shape[0],))
    return plain_step("dense", names[0], output, weights, bias)


def _matmul(
    names: list[str], output: str, arrays: list[Array | None], attributes: Mapping[str, Any]
) -> LinearStep | None:
    del attributes
    weights = arrays[1]
    if arrays[0] is not None or weights is None or weights.ndim != _DENSE_RANK:
        return None
    return plain_step("dense", names[0], output, weights.T, None)


def _conv(
    names: list[str], output: str, arrays: list[Array | None], attributes: Mapping[str, Any]
) -> LinearStep | None:
    weights = arrays[1]
    if arrays[0] is not None or weights is None or weights.ndim not in _CONV_RANKS:
        return None
    bias = None
    if len(names) > 2 and names[2]:  # noqa: PLR2004  # X, W and the bias
        bias = arrays[2]
        if bias is None:
            return None
    axes = weights.ndim - 2
    groups = int(attributes.get("group", 1))
    pads = attributes.get("pads") or [0] * (2 * axes)
    word = attributes.get("auto_pad", b"NOTSET")
    padding: tuple[tuple[int, int], ...] | str = tuple(
        (int(before), int(after)) for before, after in zip(pads[:axes], pads[axes:], strict=True)
    )
    if word in (b"SAME_UPPER", b"SAME_LOWER"):
        padding = word.decode().lower().replace("_", "-")
    elif word == b"VALID":
        padding = ((0, 0),) * axes
    elif word != b"NOTSET":
        return None
    return plain_step(
        "depthwise" if weights.shape[1] == 1 and groups > 1 else "conv",
        names[0],
        output,
        weights,
        bias,
        strides=tuple(int(size) for size in attributes.get("strides") or [1] * axes),
        padding=padding,
        dilation=tuple(int(size) for size in attributes.get("dilations") or [1] * axes),
        groups=groups,
        layout="NCHW",
    )


_READERS: Final = {"Gemm": _gemm, "MatMul": _matmul, "Conv": _conv}
