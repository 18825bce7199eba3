"""Crossing tensors as the inputs of a decoder: grids and vectors, standardised; no framework.

Scale is no protection: whoever sees a number multiplies it as he likes. So nothing here has a floor
of its own; only what is the same for every example stays as it is. Deviations are in double
precision, in which squares of no float32 vanish or overflow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Crossing", "Standard", "divisors", "finite", "flat", "shaped"]

Array = npt.NDArray[Any]

# A number whose deviation is below this part of its channel's is brought up to it.
_LEAST_PART: Final = 0.1
# A number that hardly moved among a set's examples may be anywhere in others; further out than so
# many times the set's greatest, decoders would be of that number alone.
_FURTHEST: Final = 4.0
_AT_ONCE: Final = 2**22  # numbers
# How many numbers of each channel are looked at for whether some are too far from the others, at
# which quarters of a window, and what is too near to each other, in deviations.
_LOOKED_AT: Final = 4096
_POINTS: Final = (0, 1, 2, 3, 4)
_CRUSHED: Final = 0.01
# What float32 holds exactly; of others, more digits may count than it has.
_SHORT: Final = frozenset("efBbHh?")


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """What crosses for a set of images.

    Attributes:
        tensors: Finite numbers: infinities are the ends of what else the tensor has, and what is no
            number is 0. Whoever sees them does not give up on the others either.
        finite: Whether all numbers were that by themselves. Where not, an attack that fails is no
            evidence.
    """

    tensors: tuple[Array, ...]
    finite: bool


def finite(tensors: Sequence[Array]) -> Crossing:
    """Return tensors with what is not finite replaced."""
    made: list[Array] = []
    good = True
    for tensor in tensors:
        if tensor.dtype.kind != "f" or (known := np.isfinite(tensor)).all():
            made.append(tensor)
            continue
        good = False
        low, high = (
            (float(tensor.min(initial=0, where=known)), float(tensor.max(initial=0, where=known)))
            if known.any()
            else (-1.0, 1.0)
        )
        made.append(np.nan_to_num(tensor, nan=0.0, posinf=high or 1.0, neginf=low or -1.0))
    return Crossing(tuple(made), good)


def shaped(tensors: Sequence[Array]) -> list[Array]:
    """Return tensors as grids (n, h, w, c) and vectors (n, d) of floats; nothing is left out.

    Tokens (n, t, d) become a grid where t is a square, and a grid and a vector where t - 1 is one:
    that is how models of images lay out patches, and a class token in front.
    """
    made: list[Array] = []
    for tensor in tensors:
        values = _floats(tensor)
        count = len(values)
        if values.ndim == 3:  # noqa: PLR2004  # batch, tokens, width
            made += _tokens(values)
        elif values.ndim == 4:  # noqa: PLR2004  # batch, height, width, channels
            made.append(values)
        else:
            made.append(values.reshape(count, -1))
    return made


def flat(tensors: Sequence[Array]) -> Array:
    """Return all numbers of each example side by side (n, numbers), as floats."""
    return np.concatenate([_floats(t).reshape(len(t), -1) for t in tensors], axis=1)


def divisors(tensor: Array, *, least: float) -> Array:
    """Return by what to divide each number of an example (…), float64, so that it counts.

    That is the deviation of the whole tensor, or of a number that varies less than `least` of it,
    what makes its deviation `least`. A number that is always the same has the whole's, and so has
    every number of a tensor that is, where it is 1.

    Args:
        tensor: (n, …).
        least: From 0 to 1.
    """
    means, deviations = _moments(tensor)
    whole = math.sqrt(float(np.mean(deviations**2 + (means - means.mean()) ** 2)))
    return _divisors(np.full_like(deviations, whole), deviations, least)


class Standard:
    """Takes off the mean and divides by the deviation of each channel, as one set has them.

    A number that varies much less than others of its channel, at its place, is made to count beside
    them: its variation has a tenth of the channel's deviation at least. Where a few numbers of a
    channel are so far from the others that these are next to equal, ranks take the numbers' place.
    """

    def __init__(self, tensors: Sequence[Array]) -> None:
        """Measure a set: the adversary's own, never the held-out images'."""
        self._of = [_Scale.of(t) for t in tensors]

    def __call__(self, tensors: Sequence[Array]) -> list[Array]:
        """Return other tensors on that scale, float32; of doubles, doubles: all digits may tell."""
        return [scale(t) for t, scale in zip(tensors, self._of, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class _Scale:
    """The scale of one tensor; arrays are as of one example, float64."""

    means: Array
    offsets: Array
    divisors: Array
    furthest: float
    ranks: dict[int, tuple[Array, Array]]

    @classmethod
    def of(cls, tensor: Array) -> _Scale:
        means, deviations = _moments(tensor)
        axes = tuple(range(means.ndim - 1))
        centre = means.mean(axis=axes, keepdims=True)
        channel = np.sqrt(np.mean(deviations**2 + (means - centre) ** 2, axis=axes, keepdims=True))
        offsets = np.divide(means - centre, channel, out=np.zeros_like(means), where=channel > 0)
        by = _divisors(np.broadcast_to(channel, means.shape), deviations, _LEAST_PART)
        made = cls(means, offsets, by, math.inf, {})
        ranks = {channel: _table(values) for channel, values in made.crushed(tensor)}
        made = cls(means, offsets, by, math.inf, ranks)
        furthest = max(float(np.abs(part).max(initial=0)) for part in made.parts(tensor))
        return cls(means, offsets, by, _FURTHEST * max(1.0, furthest), ranks)

    def parts(self, tensor: Array) -> Iterator[Array]:
        for each in _some(tensor):
            part = (each - self.means) / self.divisors + self.offsets
            for channel, (values, levels) in self.ranks.items():
                part[..., channel] = np.interp(each[..., channel], values, levels)
            yield part

    def crushed(self, tensor: Array) -> Iterator[tuple[int, Array]]:
        """Yield the channels in which much lies next to nothing apart, with some of their numbers.

        That is an eighth of the numbers, a quarter of which differs from the next, within a
        hundredth of the deviation.
        """
        channels = tensor.shape[-1]
        rows = tensor.reshape(-1, channels)
        chosen = np.linspace(0, len(rows) - 1, min(len(rows), _LOOKED_AT)).astype(np.int64)
        window = len(chosen) // 8
        if window < len(_POINTS):
            return
        places = chosen % (len(rows) // len(tensor))
        means, by, offsets = (
            np.reshape(each, (-1, channels)) for each in (self.means, self.divisors, self.offsets)
        )
        step = max(1, _AT_ONCE // len(chosen))
        for start in range(0, channels, step):
            at = slice(start, start + step)
            numbers = np.asarray(rows[chosen, at], np.float64)
            scaled = (numbers - means[places, at]) / by[places, at] + offsets[places, at]
            order = numbers.argsort(axis=0)
            numbers = np.take_along_axis(numbers, order, axis=0)
            scaled = np.take_along_axis(scaled, order, axis=0)
            ends = [
                slice(first := point * window // _POINTS[-1], len(chosen) - window + first)
                for point in _POINTS
            ]
            apart = [numbers[b] > numbers[a] for a, b in itertools.pairwise(ends)]
            near = np.ptp(np.stack([scaled[end] for end in ends]), axis=0) < _CRUSHED
            for channel in np.flatnonzero((np.logical_and.reduce(apart) & near).any(axis=0)):
                yield start + int(channel), numbers[:, channel]

    def __call__(self, tensor: Array) -> Array:
        made = np.empty(tensor.shape, np.result_type(tensor.dtype, np.float32))
        start = 0
        for part in self.parts(tensor):
            made[start : start + len(part)] = np.clip(part, -self.furthest, self.furthest)
            start += len(part)
        return made


def _table(values: Array) -> tuple[Array, Array]:
    """Return numbers, ascending, and what ranks are instead of them: of deviation about 1."""
    known, counts = np.unique(values, return_counts=True)
    levels = (np.cumsum(counts) - counts / 2) / len(values)
    return known, (levels - 0.5) * math.sqrt(12)


def _divisors(whole: Array, deviations: Array, least: float) -> Array:
    """Return what numbers are divided by, from the whole's deviation and their own."""
    up_to = np.where(deviations > 0, deviations / least, np.inf)
    found = np.minimum(whole, up_to)
    result: Array = np.where(found > 0, found, 1.0)
    return result


def _moments(tensor: Array) -> tuple[Array, Array]:
    """Return mean and deviation of each number over the examples, float64."""
    means: Array = sum(part.sum(axis=0) for part in _some(tensor)) / len(tensor)
    squares = sum(((part - means) ** 2).sum(axis=0) for part in _some(tensor))
    # A mean is rounded: of equal numbers it may differ from them.
    same = (np.asarray(tensor) == tensor[:1]).all(axis=0)
    deviations: Array = np.where(same, 0.0, np.sqrt(squares / len(tensor)))
    return np.where(same, tensor[0], means), deviations


def _some(tensor: Array) -> Iterator[Array]:
    """Yield a tensor in parts of some examples, float64."""
    step = max(1, _AT_ONCE // max(1, tensor[0].size))
    for start in range(0, len(tensor), step):
        yield np.asarray(tensor[start : start + step], np.float64)


def _floats(tensor: Array) -> Array:
    values = np.asarray(tensor)
    return values.astype(np.float32 if values.dtype.char in _SHORT else np.float64, copy=False)


def _tokens(values: Array) -> list[Array]:
    count, tokens, width = values.shape
    for skipped in (0, 1):
        side = math.isqrt(tokens - skipped)
        if side > 1 and side * side == tokens - skipped:
            grid = values[:, skipped:].reshape(count, side, side, width)
            return [grid, values[:, 0]] if skipped else [grid]
    return [values.reshape(count, -1)]
