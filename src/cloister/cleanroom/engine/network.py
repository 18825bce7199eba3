"""A declared model as the engine runs it: steps over arrays, and where each weight is in a vector.

Everything that frameworks could differ in is decided here: which edges are padded with how many
zeros, which axes are normalised, where a weight lies. What is left to a framework is arithmetic.

A network's parameters are one vector of float32, in the order that the description's page fixes;
what is trained and the averages that batch normalisation keeps lie among each other there.

Spec: confinement-channel-v1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cloister.cleanroom import layers
from cloister.cleanroom.description import ModelDescription, shapes
from cloister.cleanroom.layers import Layer, Shape

__all__ = ["Network", "Slot", "Step", "joined", "network_of"]

Floats = np.ndarray[Any, np.dtype[np.float32]]
_INPUT: Final = -1  # the number of what the network is given, among the numbers of steps


@dataclass(frozen=True, slots=True)
class Slot:
    """One weight.

    Attributes:
        layer: Its layer's name.
        role: What it is there: kernel, bias, gamma, beta, mean, variance.
        shape: Of the array.
        start: Where it begins in the vector.
    """

    layer: str
    role: str
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    def of(self, flat: Floats) -> Floats:
        """Return its part of a vector, without a copy."""
        return flat[self.start : self.start + self.size].reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Step:
    """One operation.

    Attributes:
        kind: Which, in the words of the model description.
        inputs: Numbers of the steps whose results it takes.
        shape: Of one example's result.
        trained: Numbers of its weights among `Network.trained`.
        kept: Numbers of its averages among `Network.kept`.
        pads: Zeros before and after, for rows and columns.
        strides: For rows and columns.
        window: For rows and columns.
        extent: Rows and columns of what is pooled.
        epsilon: Of a normalisation.
        momentum: How much of an average stays when a batch comes.
        function: Of an activation.
        mask: Its number among the masks of dropout.
    """

    kind: str
    inputs: tuple[int, ...]
    shape: Shape
    trained: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    strides: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    extent: tuple[int, int] = (1, 1)
    epsilon: float = 0.0
    momentum: float = 0.0
    function: str = ""
    mask: int = -1


@dataclass(frozen=True, slots=True)
class Network:
    """All steps, the last of which is the output.

    Attributes:
        steps: In an order in which each takes what was computed before it.
        outputs: How many numbers come out for each example.
        trained: The weights that training changes.
        kept: Averages, for batch normalisation.
        loss: cross_entropy, whose outputs are logits, or mse.
        dropped: For each dropout the shape of one example there, and the rate.
    """

    steps: tuple[Step, ...]
    outputs: int
    trained: tuple[Slot, ...]
    kept: tuple[Slot, ...]
    loss: str
    dropped: tuple[tuple[Shape, float], ...]

    @property
    def trained_size(self) -> int:
        """How many numbers training changes."""
        return sum(each.size for each in self.trained)

    @property
    def size(self) -> int:
        """How many numbers the vector has."""
        return self.trained_size + sum(each.size for each in self.kept)

    def weights(self, flat: Floats) -> list[Floats]:
        """Return views of what is trained."""
        return [each.of(flat) for each in self.trained]

    def averages(self, flat: Floats) -> list[Floats]:
        """Return views of the averages."""
        return [each.of(flat) for each in self.kept]


def joined(arrays: Sequence[Floats]) -> Floats:
    """Return arrays one after the other, as one vector of its own."""
    parts = [np.asarray(each, np.float32).ravel() for each in arrays]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def network_of(description: ModelDescription) -> Network:
    """Return what a description means."""
    builder = _Builder(shapes(description))
    steps = tuple(builder.step(each) for each in description.layers)
    return Network(
        steps=steps,
        outputs=description.classes,
        trained=tuple(builder.trained),
        kept=tuple(builder.kept),
        loss=description.loss,
        dropped=tuple(builder.dropped),
    )


class _Builder:
    """Gives weights their places, and steps their numbers."""

    def __init__(self, known: dict[str, Shape]) -> None:
        self.trained: list[Slot] = []
        self.kept: list[Slot] = []
        self.dropped: list[tuple[Shape, float]] = []
        self._shapes = known
        self._numbers = {layers.INPUT: _INPUT}
        self._start = 0

    def step(self, layer: Layer) -> Step:
        """Return a layer's step."""
        given = [self._shapes[each] for each in layer.inputs]
        trained, kept = self._weights(layer, given)
        step = Step(
            kind="reshape" if layer.kind == "flatten" else layer.kind,
            inputs=tuple(self._numbers[each] for each in layer.inputs),
            shape=self._shapes[layer.name],
            trained=trained,
            kept=kept,
            **self._options(layer, given[0]),
        )
        self._numbers[layer.name] = len(self._numbers) - 1
        return step

    def _weights(
        self, layer: Layer, given: Sequence[Shape]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        before = len(self.trained), len(self.kept)
        for each in layer.weights(given):
            slots = self.trained if each.trained else self.kept
            slots.append(Slot(layer.name, each.name, each.shape, self._start))
            self._start += each.size
        return tuple(range(before[0], len(self.trained))), tuple(range(before[1], len(self.kept)))

    def _options(self, layer: Layer, given: Shape) -> dict[str, Any]:
        match layer:
            case layers.Conv2D() | layers.DepthwiseConv2D():
                return _window(given, layer.kernel, layer.strides, layer.padding)
            case layers.MaxPool2D() | layers.AveragePool2D():
                return _window(given, layer.pool, layer.strides, layer.padding)
            case layers.ZeroPad2D():
                return {"pads": (layer.rows, layer.columns)}
            case layers.BatchNorm():
                return {"epsilon": layer.epsilon, "momentum": layer.momentum}
            case layers.LayerNorm():
                return {"epsilon": layer.epsilon}
            case layers.Activation():
                return {"function": layer.function}
            case layers.Dropout():
                self.dropped.append((given, layer.rate))
                return {"mask": len(self.dropped) - 1}
            case _:
                return {}


def _window(
    given: Shape, window: tuple[int, int], strides: tuple[int, int], padding: str
) -> dict[str, Any]:
    extent = given[0], given[1]
    pads = tuple(
        _same(size, width, stride) if padding == "same" else (0, 0)
        for size, width, stride in zip(extent, window, strides, strict=True)
    )
    return {"pads": pads, "strides": strides, "window": window, "extent": extent}


def _same(size: int, window: int, stride: int) -> tuple[int, int]:
    """Return how much is put before and after, the greater half after."""
    places = -(-size // stride)
    total = max(0, (places - 1) * stride + window - size)
    return total // 2, total - total // 2
