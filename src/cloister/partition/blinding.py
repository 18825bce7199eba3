"""One-time pads for linear steps: the outside computes on numbers that say nothing (Slalom 2019).

Weights and activations are quantised to eight bits and live in a prime field. Inside draws a
uniform pad `r` and prepares `u = W r`; outside gets `x + r`, which is uniform whatever `x` is, and
gives `W (x + r)`; inside takes `u` off. The answer is checked in the field before, by a fresh
secret vector, exactly: a wrong one passes with probability 1/prime.

A pad serves once, by construction: taking it empties it, it has no copy, and a `Blinded` opens one
answer. There is no way to prepare `u` without a fresh `r`, and no way to give an `r`. Pads that
are reused, derived from one another, or replaced by permutations are broken (arXiv 2602.11088).

Preparing `u` costs as much as the step, inside. So blinding moves work to when nobody waits; it
does not save it. The weights are as exposed as without it; sizes and times as well.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cloister.errors import ConfigError, RefusedError
from cloister.partition.field import LARGE_PRIME, SMALL_PRIME, product, random_residues
from cloister.partition.linear_step import Array, LinearStep
from cloister.partition.single_use import SingleUse, Stock

__all__ = ["Blinded", "Pad", "PadContent", "QuantisedStep"]

_LEVELS: Final = 127


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PadContent:
    """A uniform pad, and what the step makes of it."""

    pad: Array
    image: Array


Pad = SingleUse[PadContent]


class QuantisedStep:
    """A linear step on eight-bit numbers. Both sides make the same one of the exposed weights."""

    def __init__(self, step: LinearStep) -> None:
        """Quantise the weights.

        Raises:
            ConfigError: `config.value`: groups of channels, or sums that fit no field.
        """
        if step.groups != 1:
            raise ConfigError("steps with groups of channels are not blinded", code="config.value")
        self.step: Final = step
        largest = float(np.abs(step.weights).max(initial=0.0)) or 1.0
        self._scale: Final = largest / _LEVELS
        whole = np.rint(step.weights.astype(np.float64) / self._scale)
        # (kernel, out, in): one product for each place of the kernel.
        self._weights: Final = np.ascontiguousarray(
            np.moveaxis(whole.reshape(*whole.shape[:2], -1), 2, 0)
        )
        sums = float(np.abs(whole).reshape(whole.shape[0], -1).sum(axis=1).max()) * _LEVELS
        fitting = [prime for prime in (SMALL_PRIME, LARGE_PRIME) if 2 * sums < prime]
        if not fitting:
            raise ConfigError("the step's sums fit no field", code="config.value")
        self.prime: Final = fitting[0]

    def apply(self, values: Array) -> Array:
        """Return the step of residues, without bias; this is what the outside computes."""
        if not self.step.kernel:
            return product(values, self._weights[0].T, self.prime, largest=_LEVELS)
        total: Any = 0.0
        for weights, window in zip(self._weights, self._windows(values), strict=True):
            # The residues are to be on the left, so that they are what is cut into limbs.
            flat = window.reshape(*window.shape[:2], -1).swapaxes(1, 2)
            total = total + product(flat, weights.T, self.prime, largest=_LEVELS)
        sizes = self.step.sizes_out(values.shape[2:])
        found = np.ascontiguousarray(np.mod(total, self.prime).swapaxes(1, 2))
        return found.reshape(values.shape[0], self.step.channels, *sizes)

    def prepare(self, shape: tuple[int, ...], count: int = 1) -> tuple[Pad, ...]:
        """Draw pads for inputs of this shape, and compute what the step makes of each."""
        made: list[Pad] = []
        for _ in range(count):
            pad = random_residues(shape, self.prime)
            made.append(Pad(PadContent(pad, self.apply(pad))))
        return tuple(made)

    def stock(self, shape: tuple[int, ...], *, most: int) -> Stock[PadContent]:
        """Return an empty stock of pads for inputs of this shape."""
        return Stock(lambda count: iter([self.prepare(shape, count)]), most=most)

    def blind(self, given: Array, pad: Pad) -> Blinded:
        """Quantise an input and put a pad over it.

        Args:
            given: What the step reads; finite. Its scale stays inside.
            pad: For this shape; used up.

        Raises:
            ConfigError: `config.value`: a pad of another shape. It is used up all the same.
        """
        content = pad.take()
        if content.pad.shape != given.shape:
            raise ConfigError("the pad is for another shape", code="config.value")
        scale = (float(np.abs(given).max(initial=0.0)) or 1.0) / _LEVELS
        outside = np.mod(np.rint(given.astype(np.float64) / scale) + content.pad, self.prime)
        content.pad.fill(0)
        return Blinded(self, outside, content.image, scale * self._scale)

    def require(self, outside: Array, answer: Array) -> None:
        """Refuse an answer that is not the step of what the outside got.

        Raises:
            RefusedError: `middle.wrong`; a wrong answer passes with probability 1/prime.
        """
        prime, step = self.prime, self.step
        vector = random_residues((1, step.channels), prime)
        folded = np.stack([product(vector, each, prime, largest=_LEVELS) for each in self._weights])
        if not step.kernel:
            expected = product(outside, np.ascontiguousarray(folded[0].T), prime)
            found = product(answer, np.ascontiguousarray(vector.T), prime)
        else:
            total: Any = 0.0
            for row, window in zip(folded, self._windows(outside), strict=True):
                total = total + product(row, window.reshape(*window.shape[:2], -1), prime)
            expected = np.mod(total, prime)
            found = product(vector, answer.reshape(*answer.shape[:2], -1), prime)
        if not bool((expected == found).all()):
            raise _wrong(step.output)

    def _windows(self, values: Array) -> list[Array]:
        step = self.step
        if step.layout == "NHWC":
            raise ConfigError("blinded convolutions have channels first", code="config.value")
        spatial = values.shape[2:]
        padded = np.pad(values, ((0, 0), (0, 0), *step.pads(spatial)))
        sizes = step.sizes_out(spatial)
        return [
            padded[
                (
                    slice(None),
                    slice(None),
                    *(
                        slice(at * dilation, at * dilation + (size - 1) * stride + 1, stride)
                        for at, dilation, size, stride in zip(
                            place, step.dilation, sizes, step.strides, strict=True
                        )
                    ),
                )
            ]
            for place in itertools.product(*(range(size) for size in step.kernel))
        ]


class Blinded:
    """An input under its pad, and what opens the one answer to it."""

    def __init__(self, step: QuantisedStep, outside: Array, image: Array, scale: float) -> None:
        """Made by `QuantisedStep.blind` only."""
        self._step: Final = step
        self.outside: Final = outside
        self._secret: Final = SingleUse((image, scale))

    def open(self, answer: Array) -> Array:
        """Check an answer in the field, take the pad off, and return the step's output.

        Args:
            answer: What the outside says, in private memory.

        Raises:
            LocalProtocolError: `protocol.local`: an answer was opened before.
            RefusedError: `middle.wrong`: not the step of what went out, or of another form.
        """
        image, scale = self._secret.take()
        step, prime = self._step.step, self._step.prime
        form = answer.shape == image.shape and answer.dtype == np.float64
        # Whole numbers within the field, before anything is computed with them: NaN is neither.
        if not form or not bool(
            ((answer >= 0) & (answer < prime) & (np.floor(answer) == answer)).all()
        ):
            raise _wrong(f"{step.output}: form")
        self._step.require(self.outside, answer)
        apart = np.mod(answer - image, prime)
        signed = np.where(apart > prime // 2, apart - prime, apart)
        found = (signed * scale).astype(np.float32)
        image.fill(0)
        if step.bias is None:
            return np.asarray(found)
        bias = step.bias if not step.kernel else step.bias.reshape(-1, *(1 for _ in step.kernel))
        return np.asarray(found + bias)


def _wrong(detail: str) -> RefusedError:
    return RefusedError("the middle's answer is wrong", code="middle.wrong", detail=detail)
