"""One-time pads for linear steps: the outside computes on numbers that say nothing (Slalom 2019).

Weights and activations are quantised to eight bits and live in a prime field. Inside draws a
uniform pad `r` and prepares `u = W r`; outside gets `x + r`, which is uniform whatever `x` is, and
gives `W (x + r)`; inside takes `u` off. The answer is checked in the field before, by a fresh
secret vector, exactly: a wrong one passes with probability 1/prime.

A pad serves once, by construction: taking it empties it, it has no copy, and a `Blinded` opens one
answer. There is no way to prepare `u` without a fresh `r`, and no way to give an `r`. Pads that
are reused, derived from one another, or replaced by permutations are broken (arXiv 2602.11088).
Each pad brings the secret vector of one check, folded into the weights ahead; it serves once too.

Rows of the first axis have a scale each, so that no example's size changes another's numbers.

Preparing `u` costs as much as the step, inside. So blinding moves work to when nobody waits; it
does not save it. The weights are as exposed as without it; sizes and times as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cloister.errors import ConfigError, MalformedError, RefusedError
from cloister.partition.field import EXACT_BITS, LARGE_PRIME, SMALL_PRIME, product, random_residues
from cloister.partition.finite import is_finite, not_finite
from cloister.partition.linear_step import Array, LinearStep
from cloister.partition.single_use import SingleUse, Stock

__all__ = ["Blinded", "Pad", "PadContent", "QuantisedStep"]

_LEVELS: Final = 127
_AXES: Final = 2  # examples and channels


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FieldFold:
    """A secret vector, and the weights folded by it: one row for each place of the kernel."""

    vector: Array
    folded: Array


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PadContent:
    """A uniform pad, what the step makes of it, and the fold of one check."""

    pad: Array
    image: Array
    fold: FieldFold


Pad = SingleUse[PadContent]


class QuantisedStep:
    """A linear step on eight-bit numbers. Both sides make the same one of the exposed weights."""

    def __init__(self, step: LinearStep) -> None:
        """Quantise the weights.

        Raises:
            ConfigError: `config.value`: groups of channels, a convolution with channels last, or
                sums that fit no field.
        """
        if step.groups != 1:
            raise ConfigError("steps with groups of channels are not blinded", code="config.value")
        if step.kernel and step.layout == "NHWC":
            raise ConfigError("blinded convolutions have channels first", code="config.value")
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
        # Where the sums of all places stay exact, what is left over of the prime is taken once.
        bits = self.prime.bit_length() + _LEVELS.bit_length() + step.terms.bit_length()
        self._reduced_once: Final = bits <= EXACT_BITS

    @property
    def fold_bytes(self) -> int:
        """How much memory the fold takes that comes with a pad."""
        step = self.step
        return 8 * (step.channels + step.channels_in * len(self._weights))

    def apply(self, values: Array) -> Array:
        """Return the step of residues, without bias; this is what the outside computes."""
        total: Any = 0.0
        for part in self._parts(values):
            total = total + part
        return self._finished(values, total)

    def answer(self, residues: Array) -> Array:
        """Return the step of residues as they cross: what the outside does with what it was sent.

        Raises:
            MalformedError: `message.malformed`: no input of this step, or not of its field.
        """
        step = self.step
        good = residues.dtype == np.uint32 and residues.ndim >= _AXES
        if good and step.kernel:
            good = residues.ndim == _AXES + len(step.kernel)
            good = good and min(step.sizes_out(residues.shape[_AXES:])) > 0
        channels = 1 if step.kernel else -1
        good = good and residues.shape[channels] == step.channels_in
        if not good or not bool((residues < self.prime).all()):
            raise MalformedError("this is no input of the step", code="message.malformed")
        return self.apply(residues.astype(np.float64)).astype(np.uint32)

    def prepare(self, shape: tuple[int, ...], count: int = 1) -> tuple[Pad, ...]:
        """Draw pads for inputs of this shape, and compute what the step makes of each."""
        *_, pads = self.preparing(shape, count)
        return pads

    def preparing(self, shape: tuple[int, ...], count: int = 1) -> Iterator[tuple[Pad, ...]]:
        """Do what `prepare` does in small pieces of work; the last one gives all pads."""
        made: list[Pad] = []
        for _ in range(count):
            pad = random_residues(shape, self.prime)
            yield ()
            total: Any = 0.0
            for part in self._parts(pad):
                total = total + part
                yield ()
            image = self._finished(pad, total)
            made.append(Pad(PadContent(pad, image, self._fold())))
        yield tuple(made)

    def stock(self, shape: tuple[int, ...], *, most: int) -> Stock[PadContent]:
        """Return an empty stock of pads for inputs of this shape."""
        return Stock(lambda count: self.preparing(shape, count), most=most)

    def blind(self, given: Array, *pads: Pad) -> Blinded:
        """Quantise an input and put pads over it.

        Args:
            given: What the step reads. The scales of its rows stay inside.
            pads: One or more, which together have its shape along the first axis; used up.

        Raises:
            ConfigError: `config.value`: pads of another shape. They are used up all the same.
            MalformedError: `message.malformed`: it has numbers that are not finite; nothing may go
                out that shows where.
        """
        contents = [pad.take() for pad in pads]
        shapes = {(sum(len(each.pad) for each in contents), *one.pad.shape[1:]) for one in contents}
        if shapes != {given.shape}:
            raise ConfigError("the pad is for another shape", code="config.value")
        if not is_finite(given):
            raise not_finite(self.step.output)
        axes = tuple(range(1, given.ndim))
        exact = given.astype(np.float64)
        largest = np.abs(exact).max(axis=axes, keepdims=True, initial=0.0)
        scale = np.where(largest > 0, largest, 1.0) / _LEVELS
        outside = np.rint(exact / scale)
        at = 0
        for each in contents:
            outside[at : at + len(each.pad)] += each.pad
            each.pad.fill(0)
            at += len(each.pad)
        images = [each.image for each in contents]
        image = images[0] if len(images) == 1 else np.concatenate(images)
        outside = np.mod(outside, self.prime)
        return Blinded(self, outside, image, scale * self._scale, contents[0].fold)

    def require(self, outside: Array, answer: Array, *, fold: FieldFold | None = None) -> None:
        """Refuse an answer that is not the step of what the outside got.

        Args:
            outside: What it got.
            answer: Residues.
            fold: Prepared for this answer alone; drawn now where it is None.

        Raises:
            RefusedError: `middle.wrong`; a wrong answer passes with probability 1/prime.
        """
        prime, step = self.prime, self.step
        fold = self._fold() if fold is None else fold
        vector, folded = fold.vector, fold.folded
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

    def _fold(self) -> FieldFold:
        vector = random_residues((1, self.step.channels), self.prime)
        folded = [product(vector, each, self.prime, largest=_LEVELS) for each in self._weights]
        return FieldFold(vector, np.stack(folded))

    def _parts(self, values: Array) -> Iterator[Array]:
        """Do the step in pieces, one for each place of the kernel, which are to be added."""
        if not self.step.kernel:
            yield self._product(values, self._weights[0])
            return
        for weights, window in zip(self._weights, self._windows(values), strict=True):
            # The residues are to be on the left, so that they are what is cut into limbs.
            flat = window.reshape(*window.shape[:2], -1).swapaxes(1, 2)
            yield self._product(flat, weights)

    def _product(self, residues: Array, weights: Array) -> Array:
        if self._reduced_once:
            return np.asarray(np.matmul(residues, weights.T))
        return product(residues, weights.T, self.prime, largest=_LEVELS)

    def _finished(self, values: Array, total: Array) -> Array:
        found = np.mod(total, self.prime)
        if not self.step.kernel:
            return np.asarray(found)
        sizes = self.step.sizes_out(values.shape[2:])
        found = np.ascontiguousarray(found.swapaxes(1, 2))
        return found.reshape(values.shape[0], self.step.channels, *sizes)

    def _windows(self, values: Array) -> list[Array]:
        step = self.step
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
    """An input under its pads, and what opens the one answer to it.

    Attributes:
        outside: Residues that the outside may see.
        shape_back: Of the answer.
    """

    def __init__(
        self, step: QuantisedStep, outside: Array, image: Array, scale: Array, fold: FieldFold
    ) -> None:
        """Made by `QuantisedStep.blind` only."""
        self._step: Final = step
        self.outside: Final = outside
        self.shape_back: Final = image.shape
        self._secret: Final = SingleUse((image, scale, fold))

    def open(self, answer: Array) -> Array:
        """Check an answer in the field, take the pad off, and return the step's output.

        Args:
            answer: What the outside says, in private memory.

        Raises:
            LocalProtocolError: `protocol.local`: an answer was opened before.
            RefusedError: `middle.wrong`: not the step of what went out, or of another form.
        """
        image, scale, fold = self._secret.take()
        step, prime = self._step.step, self._step.prime
        form = answer.shape == image.shape and answer.dtype == np.float64
        # Whole numbers within the field, before anything is computed with them: NaN is neither.
        if not form or not bool(
            ((answer >= 0) & (answer < prime) & (np.floor(answer) == answer)).all()
        ):
            raise _wrong(f"{step.output}: form")
        self._step.require(self.outside, answer, fold=fold)
        apart = np.mod(answer - image, prime)
        signed = np.where(apart > prime // 2, apart - prime, apart)
        image.fill(0)
        with np.errstate(over="ignore"):  # the next step refuses what is not finite
            found = (signed * scale).astype(np.float32)
            if step.bias is not None:
                found = found + step.bias.reshape(-1, *(1 for _ in step.kernel))
        return np.asarray(found)


def _wrong(detail: str) -> RefusedError:
    return RefusedError("the middle's answer is wrong", code="middle.wrong", detail=detail)
