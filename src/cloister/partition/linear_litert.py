"""The linear steps of a LiteRT part."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cloister.partition.linear_step import Array, LinearStep, plain_step
from cloister.partition.litert_file import LiteRTFile, Operator, read_litert
from cloister.partition.litert_operators import DATATYPES, OPERATORS

__all__ = ["litert_steps"]

_SAME: Final = 0
_MATRIX: Final = 2
_PADDING: Final = {_SAME: "same-upper", 1: ((0, 0), (0, 0))}


def litert_steps(data: bytes) -> tuple[LinearStep, ...]:
    """Return the linear operators without a fused activation, in an order in which they can run."""
    file = read_litert(data)
    found = (_step(file, operator) for operator in file.operators)
    return tuple(step for step in found if step is not None)


def _step(file: LiteRTFile, operator: Operator) -> LinearStep | None:
    word = OPERATORS[operator.code]
    options: Any = operator.options
    if word not in _KINDS or options is None or options.fusedActivationFunction:
        return None
    weights = _constant(file, operator.inputs[1])
    left_out = len(operator.inputs) < 3 or operator.inputs[2] < 0  # noqa: PLR2004  # the bias
    bias = None if left_out else _constant(file, operator.inputs[2])
    given = file.tensors[operator.inputs[0]]
    if weights is None or (bias is None and not left_out) or given.constant is not None:
        return None
    output = file.tensors[operator.outputs[0]].name
    if word == "FULLY_CONNECTED":
        if options.weightsFormat or (len(given.shape) != _MATRIX and not options.keepNumDims):
            return None
        return plain_step("dense", given.name, output, weights, bias)
    channels = given.shape[-1]
    if word == "CONV_2D":
        weights, groups = weights.transpose(0, 3, 1, 2), channels // weights.shape[3]
    else:
        weights, groups = weights.transpose(3, 0, 1, 2), channels
    return plain_step(
        _KINDS[word],
        given.name,
        output,
        weights,
        bias,
        strides=(options.strideH, options.strideW),
        padding=_PADDING[options.padding],
        dilation=(options.dilationHFactor, options.dilationWFactor),
        groups=groups,
        layout="NHWC",
    )


_KINDS: Final = {"FULLY_CONNECTED": "dense", "CONV_2D": "conv", "DEPTHWISE_CONV_2D": "depthwise"}


def _constant(file: LiteRTFile, index: int) -> Array | None:
    tensor = file.tensors[index]
    if tensor.constant is None:
        return None
    return np.frombuffer(tensor.constant.tobytes(), DATATYPES[tensor.type]).reshape(tensor.shape)
