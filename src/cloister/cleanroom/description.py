"""A model as data: what a recipe may ask a trusted trainer to build and train.

A recipe says which layers, which optimizer and which loss. It chooses among words of this page and
numbers within bounds; it names no class, no function and no file. Shapes are inferred and
parameters counted here, without a framework, so that a description that is too large is refused
before anything is built. Pure.

Example, in a recipe::

    ModelDescription(
        input_shape=(8, 8, 1),
        classes=10,
        layers=(
            Flatten("flat", inputs=("input",)),
            Dense("hidden", inputs=("flat",), units=64),
            Activation("relu", inputs=("hidden",), function="relu"),
            Dense("out", inputs=("relu",), units=10),
        ),
        optimizer=Sgd(rate=0.1, momentum=0.9),
        batch=32,
    ).to_fields()

Spec: confinement-channel-v1, clauses CC-40 to CC-51.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Final, TypeVar

from cloister.cleanroom.layers import (
    INPUT,
    LAYERS,
    MAX_RANK,
    MAX_SIZE,
    Activation,
    Layer,
    Shape,
    Weight,
    flag,
    integer,
    listed,
    number,
    one_of,
    option,
    settle,
    wrong,
)

__all__ = ["MAX_ACTIVATIONS", "MAX_LAYERS", "MAX_PARAMETERS", "VERSION", "Adam", "Augment"]
__all__ += [
    "ModelDescription",
    "Optimizer",
    "Sgd",
    "activations",
    "parameters",
    "shapes",
    "weights",
]

_T = TypeVar("_T", "ModelDescription", "Augment", Layer, "Optimizer")

VERSION: Final = 1
MAX_LAYERS: Final = 512
MAX_PARAMETERS: Final = 1 << 30
MAX_ACTIVATIONS: Final = 1 << 28
MAX_BATCH: Final = 1 << 16
_MAX_STEPS: Final = 64
_MAX_ROUND: Final = 1 << 32


def _step(value: object) -> tuple[int, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:  # noqa: PLR2004  # round and factor
        raise ValueError("a list of pairs of a round and a factor")
    return integer(1, _MAX_ROUND)(value[0]), number(0, 1e6, above=True)(value[1])


def _schedule(value: object) -> tuple[tuple[int, float], ...]:
    steps = listed(_step, least=0, most=_MAX_STEPS)(value)
    rounds = [at for at, _ in steps]
    if rounds != sorted(set(rounds)):
        raise ValueError("a list of rounds that rise")
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class Optimizer:
    """What all have: a rate, and by what it is multiplied from which round on, each factor once."""

    kind: ClassVar[str]

    rate: float = option(number(0, 1e3, above=True), kw_only=True)
    weight_decay: float = option(number(0, 1), default=0.0, kw_only=True)
    schedule: tuple[tuple[int, float], ...] = option(_schedule, default=(), kw_only=True)

    def __post_init__(self) -> None:
        """Hold every option to its form."""
        settle(self, "optimizer")

    def rate_at(self, round_number: int) -> float:
        """Return the rate of a round, which count from 0."""
        return self.rate * math.prod(factor for at, factor in self.schedule if round_number >= at)


@dataclass(frozen=True, slots=True)
class Sgd(Optimizer):
    """Steps against the gradient, with momentum."""

    kind = "sgd"
    momentum: float = option(number(0, 1, below=True), default=0.0, kw_only=True)
    nesterov: bool = option(flag, default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Adam(Optimizer):
    """Steps by estimates of the gradient's first two moments."""

    kind = "adam"
    beta1: float = option(number(0, 1, below=True), default=0.9, kw_only=True)
    beta2: float = option(number(0, 1, below=True), default=0.999, kw_only=True)
    epsilon: float = option(number(1e-16, 1), default=1e-7, kw_only=True)


@dataclass(frozen=True, slots=True)
class Augment:
    """How images are varied: cut out of a frame of zeros at random, and mirrored by chance."""

    pad: int = option(integer(0, 256), default=0, kw_only=True)
    flip: bool = option(flag, default=False, kw_only=True)

    def __post_init__(self) -> None:
        """Hold every option to its form."""
        settle(self, "augment")


def _optimizer(value: object) -> Optimizer:
    if isinstance(value, Optimizer):
        return value
    kind, rest = _kind_of(value, "optimizer")
    if kind not in _OPTIMIZERS:
        raise wrong(f"optimizer: {_named(kind)} is none of those that there are")
    return _made(_OPTIMIZERS[kind], rest, "optimizer")


def _augment(value: object) -> Augment | None:
    if value is None or isinstance(value, Augment):
        return value
    return _made(Augment, _map(value, "augment"), "augment")


def _layers(value: object) -> tuple[Layer, ...]:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_LAYERS:
        raise ValueError(f"a list of 1 to {MAX_LAYERS} layers")
    return tuple(each if isinstance(each, Layer) else _layer(each) for each in value)


def _layer(value: object) -> Layer:
    kind, rest = _kind_of(value, "layer")
    if kind not in LAYERS:
        raise wrong(f"layer: {_named(kind)} is none of those that there are")
    return _made(LAYERS[kind], rest, f"layer {kind}")


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model, how it is trained, and in which batches."""

    input_shape: Shape = option(listed(integer(1, MAX_SIZE), least=1, most=MAX_RANK), kw_only=True)  # noqa: RUF009  # a field
    classes: int = option(integer(1, MAX_SIZE), kw_only=True)
    layers: tuple[Layer, ...] = option(_layers, kw_only=True)
    optimizer: Optimizer = option(_optimizer, kw_only=True)  # noqa: RUF009  # a field
    loss: str = option(one_of("cross_entropy", "mse"), default="cross_entropy", kw_only=True)
    batch: int = option(integer(1, MAX_BATCH), kw_only=True)
    augment: Augment | None = option(_augment, default=None, kw_only=True)  # noqa: RUF009  # a field

    def __post_init__(self) -> None:
        """Hold the description to all that the page says of one."""
        settle(self, "model")
        _require_graph(self.layers)
        found = shapes(self)
        if found[self.layers[-1].name] != (self.classes,):
            raise wrong(
                f"layer {self.layers[-1].name} is the last, and has not {self.classes} outputs"
            )
        if self.loss == "cross_entropy" and _is_softmax(self.layers[-1]):
            raise wrong("cross_entropy has a softmax of its own; leave out the last layer")
        if self.augment is not None and len(self.input_shape) != 3:  # noqa: PLR2004  # images
            raise wrong("augment is for images of rows, columns and channels")
        if activations(self) > MAX_ACTIVATIONS or parameters(self) > MAX_PARAMETERS:
            raise wrong("the model is larger than any may be")

    @property
    def mixes_examples(self) -> bool:
        """Whether what one example gives depends on the others in its batch."""
        return any(layer.mixes_examples for layer in self.layers)

    @classmethod
    def from_fields(cls, data: object) -> ModelDescription:
        """Read from fields of a message, which are untrusted.

        Raises:
            MalformedError: `description.malformed`.
        """
        found = _map(data, "model")
        version = found.pop("version", None)
        if type(version) is not int or version != VERSION:
            raise wrong(f"model: version is not {VERSION}")
        return _made(cls, found, "model")

    def to_fields(self) -> dict[str, Any]:
        """Return what `from_fields` reads, with every default written out."""
        return {
            "version": VERSION,
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "layers": [
                {"kind": layer.kind, "name": layer.name, "inputs": list(layer.inputs)}
                | layer.options()
                for layer in self.layers
            ],
            "optimizer": {"kind": self.optimizer.kind} | _plain(self.optimizer),
            "loss": self.loss,
            "batch": self.batch,
            "augment": None if self.augment is None else _plain(self.augment),
        }


_OPTIMIZERS: Final[dict[str, type[Optimizer]]] = {each.kind: each for each in (Adam, Sgd)}


def shapes(description: ModelDescription) -> dict[str, Shape]:
    """Return the shape of every layer's output for one example, and of the input."""
    found: dict[str, Shape] = {INPUT: description.input_shape}
    for layer in description.layers:
        shape = layer.output([found[name] for name in layer.inputs])
        if any(size > MAX_ACTIVATIONS for size in shape):
            raise wrong(f"layer {layer.name} gives more than any may")
        found[layer.name] = shape
    return found


def weights(description: ModelDescription) -> tuple[Weight, ...]:
    """Return all that is learned or kept, in the order in which flat parameters have it."""
    found = shapes(description)
    return tuple(
        weight
        for layer in description.layers
        for weight in layer.weights([found[name] for name in layer.inputs])
    )


def parameters(description: ModelDescription) -> int:
    """Return how many numbers the flat parameters are."""
    return sum(weight.size for weight in weights(description))


def activations(description: ModelDescription) -> int:
    """Return how many numbers all layers give for one example, which bounds memory."""
    return sum(math.prod(shape) for shape in shapes(description).values())


def _require_graph(layers: tuple[Layer, ...]) -> None:
    """Refuse layers that come before what they take, and such as nothing takes."""
    known, unused = {INPUT}, {INPUT}
    for layer in layers:
        if layer.name in known:
            raise wrong(f"layer {layer.name} is there twice")
        missing = [name for name in layer.inputs if name not in known]
        if missing:
            raise wrong(f"layer {layer.name} takes {missing[0]}, which is not before it")
        unused -= set(layer.inputs)
        known.add(layer.name)
        unused.add(layer.name)
    if unused != {layers[-1].name}:
        lost = sorted(unused - {layers[-1].name})
        raise wrong(f"nothing takes what {lost[0]} gives")


def _is_softmax(layer: Layer) -> bool:
    return isinstance(layer, Activation) and layer.function == "softmax"


def _map(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise wrong(f"{what} is not a map")
    return dict(value)


def _kind_of(value: object, what: str) -> tuple[str, dict[str, Any]]:
    rest = _map(value, what)
    kind = rest.pop("kind", None)
    if not isinstance(kind, str):
        raise wrong(f"{what} has no kind")
    return kind, rest


def _made(cls: type[_T], given: dict[str, Any], what: str) -> _T:
    """Make an object of what is given for its fields, if these are its fields."""
    known = {each.name for each in fields(cls)}
    needed: list[str] = sorted(each.name for each in fields(cls) if each.default is MISSING)
    for name in [*given, *needed]:
        if name not in known:
            raise wrong(f"{what} has no field {_named(name)}")
        if name not in given:
            raise wrong(f"{what} lacks its field {name}")
    return cls(**given)


def _plain(declared: Any) -> dict[str, Any]:
    return {
        each.name: [list(step) for step in value] if isinstance(value, tuple) else value
        for each in fields(declared)
        for value in (getattr(declared, each.name),)
    }


def _named(name: str) -> str:
    """A name that somebody else chose, as a terminal may show it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name[:64])
