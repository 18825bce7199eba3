"""What the operators of a LiteRT file must hold to before native code may see them.

LiteRT's kernels check much of what they are given, and not all: a missing input, a split into no
parts, or bytes without a scale end the process. So a file is read only where each operator has the
inputs, outputs and options of its kind, every size is at least one, and quantised numbers say what
they stand for. Values that are known only when it runs are the kernels' own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from cloister.errors import MalformedError, RefusedError
from cloister.partition.litert_operators import DATATYPES, OPERATORS

__all__ = ["CheckedOperator", "CheckedTensor", "broken", "refused", "require_sound"]

_MANY: Final = 4096
_ANY: Final = 0
_LEFT_OUT: Final = -1
_INTEGERS: Final = frozenset({2, 4})
_QUANTIZED: Final = frozenset({3, 7, 9})
_LEAST_SCALE, _MOST_SCALE = 2.0**-30, 2.0**30
# A sum of quantised numbers is scaled with so many bits to spare.
_MOST_RATIO: Final = 2.0**13
_MOST: Final = 1 << 15
_RANK: Final = 8
_IMAGE: Final = 4


class CheckedTensor(Protocol):
    """What is looked at in a tensor."""

    @property
    def type(self) -> int:
        """One of `DATATYPES`."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        ...

    @property
    def constant(self) -> object | None:
        """Whether it is one."""
        ...

    @property
    def quantization(self) -> Mapping[str, Any]:
        """Its scales, as the file has them."""
        ...


class CheckedOperator(Protocol):
    """What is looked at in an operator."""

    @property
    def code(self) -> int:
        """One of `OPERATORS`."""
        ...

    @property
    def inputs(self) -> tuple[int, ...]:
        """Indexes of tensors, -1 for one that is left out."""
        ...

    @property
    def outputs(self) -> tuple[int, ...]:
        """Indexes of tensors."""
        ...

    @property
    def options_type(self) -> int:
        """The number of its table, 0 for none."""
        ...

    @property
    def options(self) -> Any:
        """The table, as LiteRT's own class."""
        ...


@dataclass(frozen=True, slots=True)
class _Rule:
    """What one kind of operator has.

    Attributes:
        options: The number of its table.
        least: Of its inputs.
        most: The same as the least, where it is 0.
        outputs: 0 for any number.
        needs: It has no meaning without its options.
        left_out: Which input may be left out: the bias.
        sizes: Which inputs are integers: axes, sizes, places.
        quantized: It computes with quantised numbers, and needs their scales.
        moves: It takes numbers of any type to another place, and needs no scales.
        images: Which inputs have four axes.
        rank: The least number of axes of its inputs, sizes apart.
        alike: Which inputs have the type of the outputs; None for all, sizes apart.
    """

    options: int = 0
    least: int = 1
    most: int = 0
    outputs: int = 1
    needs: bool = False
    left_out: int = -1
    sizes: tuple[int, ...] = ()
    quantized: bool = False
    moves: bool = False
    images: tuple[int, ...] = ()
    rank: int = 0
    alike: tuple[int, ...] | None = None


def require_sound(tensors: Sequence[CheckedTensor], operators: Sequence[CheckedOperator]) -> None:
    """Refuse a graph that native code should not be given.

    Args:
        tensors: Of the graph; every index that an operator names is one of theirs, or -1.
        operators: Of kinds on the list.

    Raises:
        MalformedError: `model.malformed`: an operator without what its kind has.
        RefusedError: `model.operator`: a tensor of no size, or a type that the operator does not
            take here.
    """
    for tensor in tensors:
        if 0 in tensor.shape:
            raise refused("it has a tensor of no size")
        _require_scales(tensor)
    for operator in operators:
        word = OPERATORS[operator.code]
        rule = _RULES[word]
        _require_counts(word, rule, operator)
        _require_options(word, rule, operator)
        inputs = [tensors[i] if i != _LEFT_OUT else None for i in operator.inputs]
        outputs = [tensors[i] for i in operator.outputs]
        _require_types(word, rule, inputs, outputs)
        _require_shapes(word, rule, inputs)
        if word == "DEPTHWISE_CONV_2D":
            _require_multiplier(operator.options, inputs)


def _require_counts(word: str, rule: _Rule, operator: CheckedOperator) -> None:
    count, made = len(operator.inputs), len(operator.outputs)
    if not rule.least <= count <= max(rule.least, rule.most):
        raise broken(f"{word} of {count} inputs")
    if rule.outputs not in {_ANY, made}:
        raise broken(f"{word} of {made} outputs")
    if any(i == _LEFT_OUT and at != rule.left_out for at, i in enumerate(operator.inputs)):
        raise broken(f"{word} without an input that it needs")


def _require_options(word: str, rule: _Rule, operator: CheckedOperator) -> None:
    options = operator.options
    if options is None:
        if rule.needs:
            raise broken(f"{word} without its options")
        return
    if operator.options_type != rule.options:
        raise broken(f"{word} with another operator's options")
    for name, value in vars(options).items():
        if not _may_be(name, value):
            raise broken(f"{word} with an option {name} that it cannot have")
    counts = {
        "numSplits": operator.outputs,
        "num": operator.outputs,
        "valuesCount": operator.inputs,
    }
    for name, tensors in counts.items():
        if getattr(options, name, len(tensors)) != len(tensors):
            raise broken(f"{word} of another number of parts than it says")


def _may_be(name: str, value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return not value or name not in _UNSET
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        low, high = _BOUNDS.get(name, (0, 0))
        return low <= value <= high
    return name in _LISTS and len(value) <= _RANK


def _require_types(
    word: str,
    rule: _Rule,
    inputs: Sequence[CheckedTensor | None],
    outputs: Sequence[CheckedTensor],
) -> None:
    for at, tensor in enumerate(inputs):
        if at in rule.sizes and (tensor is None or tensor.type not in _INTEGERS):
            raise broken(f"{word} with sizes that are no integers")
    given = [each for at, each in enumerate(inputs) if each is not None and at not in rule.sizes]
    alike = given if rule.alike is None else [inputs[at] for at in rule.alike]
    if len({each.type for each in (*alike, *outputs) if each is not None}) > 1:
        raise broken(f"{word} of several types")
    quantized = [each for each in (*given, *outputs) if each.type in _QUANTIZED]
    if not quantized or rule.moves:
        return
    if not rule.quantized:
        raise refused(f"{word} of quantised numbers")
    if any(not len(each.quantization.get("scale", ())) for each in quantized):
        raise broken(f"{word} of quantised numbers that have no scale")
    if word not in _BY_CHANNEL and any(len(each.quantization["scale"]) > 1 for each in quantized):
        raise broken(f"{word} of numbers with a scale for each channel")
    scales = [float(each.quantization["scale"][0]) for each in quantized]
    if word in _SUMS and max(scales) > _MOST_RATIO * min(scales):
        raise refused(f"{word} of numbers of very different scales")


def _require_shapes(word: str, rule: _Rule, inputs: Sequence[CheckedTensor | None]) -> None:
    for at in rule.images:
        tensor = inputs[at] if at < len(inputs) else None
        if tensor is not None and len(tensor.shape) != _IMAGE:
            raise broken(f"{word} of what has not four axes")
    for at, tensor in enumerate(inputs):
        if tensor is not None and at not in rule.sizes and len(tensor.shape) < rule.rank:
            raise broken(f"{word} of what has too few axes")


def _require_multiplier(options: Any, inputs: Sequence[CheckedTensor | None]) -> None:
    """Refuse a depthwise convolution that says other channels than it has: a kernel believes it."""
    channels, made = (each.shape[-1] for each in inputs[:2] if each is not None)
    if channels * options.depthMultiplier != made:
        raise broken("DEPTHWISE_CONV_2D of other channels than it says")


def _require_scales(tensor: CheckedTensor) -> None:
    """Refuse scales that are none, or of other channels than there are."""
    scales = np.asarray(tensor.quantization.get("scale", ()), np.float64)
    zeros = np.asarray(tensor.quantization.get("zero_point", ()), np.int64)
    if len(zeros) not in {0, len(scales)}:
        raise broken("scales without their zero points")
    if not len(scales):
        return
    axis = tensor.quantization.get("axis", 0)
    if len(scales) > 1 and (
        tensor.constant is None
        or not 0 <= axis < len(tensor.shape)
        or tensor.shape[axis] != len(scales)
    ):
        raise broken("scales of other channels than there are")
    good = np.isfinite(scales) & (scales > 0)
    if tensor.constant is None and tensor.type in _QUANTIZED:
        good &= (scales >= _LEAST_SCALE) & (scales <= _MOST_SCALE)
    dtype = DATATYPES[tensor.type]
    if dtype.kind in "iu" and len(zeros):
        good &= (zeros >= np.iinfo(dtype).min) & (zeros <= min(np.iinfo(dtype).max, 2**31 - 1))
    if not good.all():
        raise broken("a scale")


def broken(what: str) -> MalformedError:
    """Return the error of a file that does not hold together."""
    return MalformedError(f"the TensorFlow Lite model is damaged: {what}", code="model.malformed")


def refused(what: str) -> RefusedError:
    """Return the error of a file that has what is not allowed."""
    return RefusedError(
        f"the TensorFlow Lite model is not of a kind that can be cut: {what}",
        code="model.operator",
    )


# What each number among options may be, by the schema's name; what is not here is 0.
_BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "axis": (-_RANK, _RANK),
    "batchDims": (-_RANK, _RANK),
    "beginMask": (0, 255),
    "blockSize": (1, _MOST),
    "depthMultiplier": (0, _MOST),
    "dilationHFactor": (1, _MOST),
    "dilationWFactor": (1, _MOST),
    "ellipsisMask": (0, 255),
    "endMask": (0, 255),
    "filterHeight": (1, _MOST),
    "filterWidth": (1, _MOST),
    "fusedActivationFunction": (0, 5),
    "inDataType": (0, max(DATATYPES)),
    "mode": (0, 1),
    "newAxisMask": (0, 255),
    "num": (1, _MANY),
    "numSplits": (1, _MANY),
    "outDataType": (0, max(DATATYPES)),
    "outType": (0, max(DATATYPES)),
    "outputType": (0, max(DATATYPES)),
    "padding": (0, 1),
    "quantizedBiasType": (0, max(DATATYPES)),
    "radius": (0, _MOST),
    "shrinkAxisMask": (0, 255),
    "strideH": (1, _MOST),
    "strideW": (1, _MOST),
    "valuesCount": (1, _MANY),
}
# The end of a slice counted from its beginning overflows in the kernel.
_UNSET: Final = frozenset({"offset"})
_LISTS: Final = frozenset({"newShape", "squeezeDims"})
_BY_CHANNEL: Final = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
)
_SUMS: Final = frozenset({"ADD", "SUB"})

_PLAIN: Final = _Rule()
_RESCALED: Final = _Rule(quantized=True)
_REDUCTION: Final = _Rule(27, 2, sizes=(1,), quantized=True)
_EXTREME: Final = _Rule(39, 2, quantized=True)
_POOLING: Final = _Rule(5, needs=True, quantized=True, images=(0,))

_RULES: Final[Mapping[str, _Rule]] = {
    "ABS": _Rule(78),
    "ADD": _Rule(11, 2, quantized=True),
    "ARG_MAX": _Rule(40, 2, sizes=(1,), quantized=True, alike=(), rank=1),
    "ARG_MIN": _Rule(57, 2, sizes=(1,), quantized=True, alike=(), rank=1),
    "AVERAGE_POOL_2D": _POOLING,
    "BATCH_MATMUL": _Rule(101, 2, quantized=True, alike=(0,), rank=2),
    "BATCH_TO_SPACE_ND": _Rule(24, 3, sizes=(1, 2), moves=True),
    "BROADCAST_TO": _Rule(104, 2, sizes=(1,), moves=True),
    "CAST": _Rule(37, moves=True, alike=()),
    "CEIL": _PLAIN,
    "CONCATENATION": _Rule(10, 1, _MANY, quantized=True, rank=1),
    "CONV_2D": _Rule(1, 2, 3, needs=True, left_out=2, quantized=True, images=(0, 1), alike=(0,)),
    "COS": _Rule(84),
    "DEPTHWISE_CONV_2D": _Rule(
        2, 2, 3, needs=True, left_out=2, quantized=True, images=(0, 1), alike=(0,)
    ),
    "DEPTH_TO_SPACE": _Rule(94, needs=True, moves=True, images=(0,)),
    "DEQUANTIZE": _Rule(38, quantized=True, alike=()),
    "DIV": _Rule(29, 2),
    "ELU": _RESCALED,
    "EQUAL": _Rule(53, 2, alike=()),
    "EXP": _Rule(33),
    "EXPAND_DIMS": _Rule(52, 2, sizes=(1,), moves=True),
    "FILL": _Rule(68, 2, sizes=(0,), moves=True),
    "FLOOR": _PLAIN,
    "FULLY_CONNECTED": _Rule(8, 2, 3, left_out=2, quantized=True, alike=(0,), rank=1),
    "GATHER": _Rule(23, 2, sizes=(1,), moves=True, alike=(0,), rank=1),
    "GELU": _Rule(116, quantized=True),
    "GREATER": _Rule(44, 2, alike=()),
    "GREATER_EQUAL": _Rule(45, 2, alike=()),
    "HARD_SWISH": _Rule(91, quantized=True),
    "L2_NORMALIZATION": _Rule(12, quantized=True, rank=1),
    "LEAKY_RELU": _Rule(75, quantized=True),
    "LESS": _Rule(41, 2, alike=()),
    "LESS_EQUAL": _Rule(46, 2, alike=()),
    "LOCAL_RESPONSE_NORMALIZATION": _Rule(13, needs=True, images=(0,)),
    "LOG": _PLAIN,
    "LOGISTIC": _RESCALED,
    "LOG_SOFTMAX": _Rule(36, quantized=True, rank=1),
    "MAXIMUM": _EXTREME,
    "MAX_POOL_2D": _POOLING,
    "MEAN": _REDUCTION,
    "MINIMUM": _EXTREME,
    "MIRROR_PAD": _Rule(77, 2, sizes=(1,), moves=True),
    "MUL": _Rule(21, 2, quantized=True),
    "NEG": _Rule(42),
    "NOT_EQUAL": _Rule(54, 2, alike=()),
    "PACK": _Rule(59, 1, _MANY, needs=True, moves=True),
    "PAD": _Rule(22, 2, sizes=(1,), quantized=True),
    "PADV2": _Rule(43, 3, sizes=(1,), quantized=True),
    "POW": _Rule(56, 2),
    "PRELU": _Rule(0, 2, quantized=True),
    "QUANTIZE": _Rule(89, quantized=True, alike=()),
    "REDUCE_MAX": _REDUCTION,
    "REDUCE_MIN": _REDUCTION,
    "REDUCE_PROD": _REDUCTION,
    "RELU": _RESCALED,
    "RELU6": _RESCALED,
    "RELU_N1_TO_1": _RESCALED,
    "RESHAPE": _Rule(17, 1, 2, sizes=(1,), moves=True),
    "RESIZE_BILINEAR": _Rule(15, 2, sizes=(1,), quantized=True, images=(0,)),
    "RESIZE_NEAREST_NEIGHBOR": _Rule(74, 2, sizes=(1,), moves=True, images=(0,)),
    "REVERSE_V2": _Rule(81, 2, sizes=(1,), moves=True),
    "ROUND": _PLAIN,
    "RSQRT": _PLAIN,
    "SELECT": _Rule(47, 3, moves=True, alike=(1, 2)),
    "SELECT_V2": _Rule(98, 3, moves=True, alike=(1, 2)),
    "SHAPE": _Rule(55, moves=True, alike=()),
    "SIGN": _Rule(123),
    "SIN": _PLAIN,
    "SLICE": _Rule(48, 3, sizes=(1, 2), moves=True),
    "SOFTMAX": _Rule(9, needs=True, quantized=True, rank=1),
    "SPACE_TO_BATCH_ND": _Rule(25, 3, sizes=(1, 2), quantized=True),
    "SPACE_TO_DEPTH": _Rule(19, needs=True, moves=True, images=(0,)),
    "SPLIT": _Rule(35, 2, outputs=_ANY, needs=True, sizes=(0,), moves=True, rank=1),
    "SPLIT_V": _Rule(79, 3, outputs=_ANY, needs=True, sizes=(1, 2), moves=True, rank=1),
    "SQRT": _PLAIN,
    "SQUARE": _Rule(66),
    "SQUARED_DIFFERENCE": _Rule(76, 2),
    "SQUEEZE": _Rule(30, moves=True),
    "STRIDED_SLICE": _Rule(32, 4, needs=True, sizes=(1, 2, 3), moves=True, rank=1),
    "SUB": _Rule(28, 2, quantized=True),
    "SUM": _REDUCTION,
    "TANH": _RESCALED,
    "TILE": _Rule(51, 2, sizes=(1,), moves=True),
    "TRANSPOSE": _Rule(26, 2, sizes=(1,), moves=True),
    "TRANSPOSE_CONV": _Rule(
        49, 3, 4, needs=True, left_out=3, sizes=(0,), quantized=True, images=(1, 2), alike=(2,)
    ),
    "UNPACK": _Rule(64, outputs=_ANY, needs=True, moves=True, rank=1),
}
