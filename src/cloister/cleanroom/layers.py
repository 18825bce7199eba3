"""The layers that a model description may have: options, shapes, and the arrays that are learned.

A closed list: there is no layer that holds code, and none that names a class. Images are rows,
columns and channels. What each computes is in the page's table; engines hold to it.

Spec: confinement-channel-v1, clauses CC-43 to CC-46.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final

from cloister.errors import MalformedError

__all__ = ["FUNCTIONS", "INPUT", "LAYERS", "MAX_SIZE", "Form", "Layer", "Shape", "Weight"]
__all__ += ["Activation", "Add", "AveragePool2D", "BatchNorm", "Concatenate", "Conv2D", "Dense"]
__all__ += ["DepthwiseConv2D", "Dropout", "Flatten", "GlobalAveragePool2D", "LayerNorm"]
__all__ += ["MaxPool2D", "Reshape", "ZeroPad2D"]
__all__ += ["flag", "integer", "integers", "listed", "number", "one_of", "option", "settle"]

Shape = tuple[int, ...]
Form = Callable[[object], Any]

INPUT: Final = "input"
MAX_SIZE: Final = 1 << 20
MAX_RANK: Final = 6
FUNCTIONS: Final = ("gelu", "relu", "sigmoid", "silu", "softmax", "softplus", "tanh")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


def option(form: Form, **default: Any) -> Any:
    """Declare a field with its form: what it accepts, and how it keeps that."""
    return field(metadata={"form": form}, **default)


def settle(declared: Any, what: str) -> None:
    """Give every field of a new object its form, or refuse the object."""
    for each in fields(declared):
        try:
            kept = each.metadata["form"](getattr(declared, each.name))
        except ValueError as e:
            raise wrong(f"{what}: {each.name} is not {e}") from e
        object.__setattr__(declared, each.name, kept)


def wrong(problem: str) -> MalformedError:
    """Return the error for a description that cannot be meant."""
    return MalformedError(problem, code="description.malformed")


def integer(least: int, most: int) -> Form:
    """An integer within bounds."""

    def form(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"an integer from {least} to {most}")
        return value

    return form


def number(least: float, most: float, *, above: bool = False, below: bool = False) -> Form:
    """A finite number within bounds, which may themselves be excluded."""

    def form(value: object) -> float:
        kept = type(value) in (int, float) and _between(value, least, most)
        if not kept or (above and value == least) or (below and value == most):
            raise ValueError(f"a number from {least} to {most}")
        return float(value)  # type: ignore[arg-type]  # an int or a float, by the lines above

    return form


def _between(value: Any, least: float, most: float) -> bool:
    return bool(least <= value <= most)


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004  # as every form
    return value


def one_of(*names: str) -> Form:
    """One of some words."""

    def form(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError("one of " + ", ".join(names))
        return value

    return form


def listed(form: Form, *, least: int, most: int) -> Form:
    """A list whose items have a form."""

    def form_of_all(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most:
            raise ValueError(f"a list of {least} to {most} items")
        return tuple(form(item) for item in value)

    return form_of_all


def integers(length: int, least: int, most: int) -> Form:
    """So many integers within bounds."""
    return listed(integer(least, most), least=length, most=length)


def layer_name(value: object) -> str:
    """The name of a layer."""
    if not isinstance(value, str) or not _NAME.fullmatch(value) or value == INPUT:
        raise ValueError("a name of lower-case letters, digits and underscores, other than input")
    return value


def reference(value: object) -> str:
    """The name of a layer, or the input's."""
    return INPUT if value == INPUT else layer_name(value)


_PAIR: Final = integers(2, 1, 1 << 12)
_PADDING: Final = one_of("same", "valid")


@dataclass(frozen=True, slots=True)
class Weight:
    """An array that a layer learns, or keeps: `trained` says which."""

    layer: str
    name: str
    shape: Shape
    trained: bool = True

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Layer:
    """What all layers have: a name, and whose outputs they take."""

    kind: ClassVar[str]
    mixes_examples: ClassVar[bool] = False
    joins: ClassVar[bool] = False

    name: str = option(layer_name)
    inputs: tuple[str, ...] = option(listed(reference, least=1, most=16), kw_only=True)

    def __post_init__(self) -> None:
        """Hold every option to its form."""
        settle(self, f"layer {self.kind}")
        if not self.joins and len(self.inputs) != 1:
            raise wrong(f"layer {self.name} takes one input")

    def output(self, shapes: Sequence[Shape]) -> Shape:
        """Return the shape of what comes out, for one example."""
        return shapes[0]

    def weights(self, shapes: Sequence[Shape]) -> tuple[Weight, ...]:
        """Return what is learned, in the order that all engines keep."""
        del shapes
        return ()

    def options(self) -> dict[str, Any]:
        """Return what is said of this layer beside its name and inputs."""
        return {
            each.name: _as_plain(getattr(self, each.name))
            for each in fields(self)
            if each.name not in ("name", "inputs")
        }


@dataclass(frozen=True, slots=True)
class Dense(Layer):
    """A product with a matrix, inputs by units, along the last axis."""

    kind = "dense"
    units: int = option(integer(1, MAX_SIZE), kw_only=True)
    bias: bool = option(flag, default=True, kw_only=True)

    def output(self, shapes: Sequence[Shape]) -> Shape:
        """Replace the last axis."""
        return (*_ranked(self, shapes[0], 1, MAX_RANK)[:-1], self.units)

    def weights(self, shapes: Sequence[Shape]) -> tuple[Weight, ...]:
        """Kernel, bias."""
        kernel = Weight(self.name, "kernel", (shapes[0][-1], self.units))
        return (kernel, *_bias(self, self.units, there=self.bias))


@dataclass(frozen=True, slots=True)
class Conv2D(Layer):
    """A cross-correlation with filters of rows by columns by channels."""

    kind = "conv2d"
    filters: int = option(integer(1, MAX_SIZE), kw_only=True)
    kernel: tuple[int, int] = option(_PAIR, kw_only=True)
    strides: tuple[int, int] = option(_PAIR, default=(1, 1), kw_only=True)
    padding: str = option(_PADDING, default="same", kw_only=True)
    bias: bool = option(flag, default=True, kw_only=True)

    def output(self, shapes: Sequence[Shape]) -> Shape:
        """Slide over rows and columns."""
        return (*_slid(self, shapes[0], self.kernel, self.strides, self.padding), self.filters)

    def weights(self, shapes: Sequence[Shape]) -> tuple[Weight, ...]:
        """Kernel, bias."""
        kernel = Weight(self.name, "kernel", (*self.kernel, shapes[0][-1], self.filters))
        return (kernel, *_bias(self, self.filters, there=self.bias))


@dataclass(frozen=True, slots=True)
class DepthwiseConv2D(Layer):
    """The same with filters for each channel on its own."""

    kind = "depthwise_conv2d"
    kernel: tuple[int, int] = option(_PAIR, kw_only=True)
    multiplier: int = option(integer(1, 1 << 10), default=1, kw_only=True)
    strides: tuple[int, int] = option(_PAIR, default=(1, 1), kw_only=True)
    padding: str = option(_PADDING, default="same", kw_only=True)
    bias: bool = option(flag, default=True, kw_only=True)

    def output(self, shapes: Sequence[Shape]) -> Shape:
        """Slide over rows and columns; channels become `multiplier` times as many."""
        slid = _slid(self, shapes[0], self.kernel, self.strides, self.padding)
        return (*slid, shapes[0][-1] * self.multiplier)

    def weights(self, shapes: Sequence[Shape]) -> tuple[Weight, ...]:
        """Kernel, bias."""
        channels = shapes[0][-1]
        kernel = Weight(self.name, "kernel", (*self.kernel, channels, self.multiplier))
        return (kernel, *_bias(self, channels * self.multiplier, there=self.bias))


@dataclass(frozen=True, slots=True)
class BatchNorm(Layer):
    """Mean and variance of the batch taken out of each channel; it mixes examples."""

    kind = "batch_norm"
    mixes_examples = True
    momentum: float = option(number(0, 1, below=True), default=0.99, kw_only=True)
    epsilon: float = option(number(1e-12, 1), default=1e-3, kw_only=True)

    def weights(self, shapes: Sequence[Shape]) -> tuple[Weight, ...]:
        """Scale, offset; then the moving mean and variance, which are kept and not trained."""
        shape = (_ranked(self, shapes[0], 1, MAX_RANK)[-1],)
        return (
            Weight(self.name, "gamma", shape),
            Weight(self.name, "beta", shape),
            Weight(self.name, "mean", shape, trained=False),
            Weight(self.name, "variance", shape, trained=False),
        )


@dataclass(frozen=True, slots=True)
class LayerNorm(Layer):
    """Mean and variance over the last axis taken out of each example."""

    kind = "layer_norm"
    epsilon: float = option(number(1e-12, 1), default=1e-3, kw_only=True)

    def weights(self, shapes: Sequence[Shape]) -> tuple[Weight, ...]:
        """Scale, offset."""
        shape = (_ranked(self, shapes[0], 1, MAX_RANK)[-1],)
        return Weight(self.name, "gamma", shape), Weight(self.name, "beta", shape)


@dataclass(frozen=True, slots=True)
class Activation(Layer):
    """A function of each number, or, for softmax, of the last axis."""

    kind = "activation"
    function: str = option(one_of(*FUNCTIONS), kw_only=True)


@dataclass(frozen=True, slots=True)
class MaxPool2D(Layer):
    """The largest of each window."""

    kind = "max_pool2d"
    pool: tuple[int, int] = option(_PAIR, default=(2, 2), kw_only=True)
    strides: tuple[int, int] = option(_PAIR, default=(2, 2), kw_only=True)
    padding: str = option(_PADDING, default="valid", kw_only=True)

    def output(self, shapes: Sequence[Shape]) -> Shape:
        """Slide over rows and columns."""
        slid = _slid(self, shapes[0], self.pool, self.strides, self.padding)
        return (*slid, shapes[0][-1])


@dataclass(frozen=True, slots=True)
class AveragePool2D(Layer):
    """The mean of each window, of what is really there."""

    kind = "average_pool2d"
    pool: tuple[int, int] = option(_PAIR, default=(2, 2), kw_only=True)
    strides: tuple[int, int] = option(_PAIR, default=(2, 2), kw_only=True)
    padding: str = option(_PADDING, default="valid", kw_only=True)

    def output(self, shapes: Sequence[Shape]) -> Shape:
        """Slide over rows and columns."""
        slid = _slid(self, shapes[0], self.pool, self.strides, self.padding)
        return (*slid, shapes[0][-1])


@dataclass(frozen=True, slots=True)
class GlobalAveragePool2D(Layer):
    """The mean over rows and columns."""

    kind = "global_average_pool2d"

    def output(self, shapes: Sequence[Shape]) -> Shape:
        """Leave the channels."""
        return (_ranked(self, shapes[0], 3, 3)[-1],)


@dataclass(frozen=True, slots=True)
class Flatten(Layer):
    """All axes become one."""

    kind = "flatten"

    def output(self, shapes: Sequence[Shape]) -> Shape:
        """Multiply them."""
        return (math.prod(shapes[0]),)


@dataclass(frozen=True, slots=True)
class Reshape(Layer):
    """Other axes for as many numbers."""

    kind = "reshape"
    shape: Shape = option(listed(integer(1, MAX_SIZE), least=1, most=MAX_RANK), kw_only=True)  # noqa: RUF009  # a field

    def output(self, shapes: Sequence[Shape]) -> Shape:
        """Give the shape, if it fits."""
        if math.prod(self.shape) != math.prod(shapes[0]):
            raise wrong(
                f"layer {self.name}: {_shown(shapes[0])} cannot become {_shown(self.shape)}"
            )
        return self.shape


@dataclass(frozen=True, slots=True)
class Dropout(Layer):
    """Each number is left out with this probability while training, and the others are scaled."""

    kind = "dropout"
    rate: float = option(number(0, 1, below=True), kw_only=True)


@dataclass(frozen=True, slots=True)
class Add(Layer):
    """The sum of outputs of one shape."""

    kind = "add"
    joins = True

    def output(self, shapes: Sequence[Shape]) -> Shape:
        """Give the shape that all have."""
        if len(shapes) < 2 or any(shape != shapes[0] for shape in shapes):  # noqa: PLR2004  # a sum
            raise wrong(f"layer {self.name} needs two or more inputs of one shape")
        return shapes[0]


@dataclass(frozen=True, slots=True)
class Concatenate(Layer):
    """Outputs one after another along the last axis."""

    kind = "concatenate"
    joins = True

    def output(self, shapes: Sequence[Shape]) -> Shape:
        """Add up the last axes."""
        if len(shapes) < 2 or any(shape[:-1] != shapes[0][:-1] for shape in shapes):  # noqa: PLR2004  # joins
            raise wrong(f"layer {self.name} needs two or more inputs, alike but for the last axis")
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))


@dataclass(frozen=True, slots=True)
class ZeroPad2D(Layer):
    """Zeros around rows and columns."""

    kind = "zero_pad2d"
    rows: tuple[int, int] = option(integers(2, 0, 1 << 10), kw_only=True)
    columns: tuple[int, int] = option(integers(2, 0, 1 << 10), kw_only=True)

    def output(self, shapes: Sequence[Shape]) -> Shape:
        """Grow."""
        rows, columns, channels = _ranked(self, shapes[0], 3, 3)
        return rows + sum(self.rows), columns + sum(self.columns), channels


LAYERS: Final[dict[str, type[Layer]]] = {
    each.kind: each
    for each in (
        Activation, Add, AveragePool2D, BatchNorm, Concatenate, Conv2D, Dense, DepthwiseConv2D,
        Dropout, Flatten, GlobalAveragePool2D, LayerNorm, MaxPool2D, Reshape, ZeroPad2D,
    )
}  # fmt: skip


def _bias(layer: Layer, size: int, *, there: bool) -> tuple[Weight, ...]:
    return (Weight(layer.name, "bias", (size,)),) if there else ()


def _ranked(layer: Layer, shape: Shape, least: int, most: int) -> Shape:
    if not least <= len(shape) <= most:
        raise wrong(f"layer {layer.name} cannot take {_shown(shape)}")
    return shape


def _slid(
    layer: Layer, shape: Shape, window: tuple[int, int], strides: tuple[int, int], padding: str
) -> Shape:
    """Return rows and columns of where a window comes to lie."""
    _ranked(layer, shape, 3, 3)
    sizes: list[int] = []
    for size, extent, stride in zip(shape[:2], window, strides, strict=True):
        if padding == "valid" and extent > size:
            raise wrong(f"layer {layer.name}: its window is larger than {_shown(shape)}")
        sizes.append(-(-size // stride) if padding == "same" else (size - extent) // stride + 1)
    return tuple(sizes)


def _shown(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _as_plain(value: Any) -> Any:
    return [_as_plain(item) for item in value] if isinstance(value, tuple) else value
