"""From a gradient to what changes in the weights, over one vector, whatever the framework.

Momentum and the moments of Adam belong to the engine and are not among the parameters: they are not
exchanged. With privacy they are made of sums that have their noise already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cloister.cleanroom.description import Adam, Sgd
from cloister.cleanroom.description import Optimizer as Declared
from cloister.errors import ConfigError

__all__ = ["Optimizer", "make_optimizer"]

Floats = np.ndarray[Any, np.dtype[np.float32]]


class Optimizer(Protocol):
    """Something that remembers former gradients."""

    def change(self, gradient: Floats, rate: float) -> Floats:
        """Return what to add to the weights."""


@dataclass(slots=True)
class Descent:
    """Steps against the gradient: v becomes momentum times v plus the gradient; rate times v goes.

    With Nesterov's momentum, it is rate times the gradient and momentum times the new v.
    """

    declared: Sgd
    velocity: Floats

    def change(self, gradient: Floats, rate: float) -> Floats:
        """Return what to add to the weights."""
        momentum, step = np.float32(self.declared.momentum), -np.float32(rate)
        if momentum == 0:
            return step * gradient
        self.velocity = momentum * self.velocity + gradient
        if self.declared.nesterov:
            return step * (gradient + momentum * self.velocity)
        return step * self.velocity


@dataclass(slots=True)
class Moments:
    """Adam, by Kingma and Ba (2015)."""

    declared: Adam
    first: Floats
    second: Floats
    steps: int = 0

    def change(self, gradient: Floats, rate: float) -> Floats:
        """Return what to add to the weights."""
        one, two = self.declared.beta1, self.declared.beta2
        self.steps += 1
        self.first = np.float32(one) * self.first + np.float32(1 - one) * gradient
        self.second = np.float32(two) * self.second + np.float32(1 - two) * gradient * gradient
        mean = self.first / np.float32(1 - one**self.steps)
        root = np.sqrt(self.second / np.float32(1 - two**self.steps))
        step = -np.float32(rate) * mean / (root + np.float32(self.declared.epsilon))
        return np.asarray(step, np.float32)


def make_optimizer(declared: Declared, size: int) -> Optimizer:
    """Return a declared optimizer that has seen nothing yet."""
    if isinstance(declared, Sgd):
        return Descent(declared, np.zeros(size, np.float32))
    if isinstance(declared, Adam):
        return Moments(declared, np.zeros(size, np.float32), np.zeros(size, np.float32))
    raise ConfigError(f"no optimizer is called {declared.kind}", code="config.value")
