"""Decoders by tables: what each value of a number that crosses says of each pixel.

A number may be any function of a pixel, such as another level for each level, and stand anywhere;
no line and no kernel reads that. So every number is taken as a few bins, of which each has one
value where there are few, and the pixel's mean in each bin is looked up by the one number that says
most of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_VALUES", "Bins", "Tables", "affordable", "fit_tables"]

Array = npt.NDArray[Any]

# A number of no more different values has a bin for each; any other has as many as `_QUANTILES`.
MOST_VALUES: Final = 64
_QUANTILES: Final = 32
# Multiplications to find out which number says most of which pixel: seconds. Where all examples
# are too many for that, so many are enough to tell.
_MOST_WORK: Final = 2**36
_LEAST_EXAMPLES: Final = 256
_AT_ONCE: Final = 2**24  # numbers


@dataclass(frozen=True, slots=True)
class Bins:
    """Where each number's bins but the first begin (bins - 1, numbers); infinite if unused."""

    edges: Array

    @classmethod
    def of(cls, numbers: Array) -> Bins:
        """Return bins for numbers (n, d), each with about as many examples or one value."""
        count, columns = numbers.shape
        edges = np.full((MOST_VALUES - 1, columns), np.inf, numbers.dtype)
        quantiles = np.linspace(0, count, _QUANTILES + 1)[1:-1].astype(np.int64)
        step = max(1, _AT_ONCE // count)
        used = 1
        for start in range(0, columns, step):
            ascending = np.sort(numbers[:, start : start + step], axis=0)
            new = ascending[1:] > ascending[:-1]
            rank = np.cumsum(new, axis=0, dtype=np.int32)
            few = rank[-1] < MOST_VALUES
            row, column = np.nonzero(new & few)
            edges[rank[row, column] - 1, start + column] = ascending[row + 1, column]
            many = np.flatnonzero(~few)
            edges[: len(quantiles), start + many] = ascending[np.ix_(quantiles, many)]
            own = np.where(few, rank[-1], len(quantiles))
            used = max(used, int(own.max(initial=0)))
        return cls(edges[:used])

    def __call__(self, numbers: Array) -> Array:
        """Return in which bin each number is, uint8."""
        found = np.zeros(numbers.shape, np.uint8)
        for edge in self.edges:
            found += numbers >= edge
        return found

    def of_some(self, columns: Array) -> Bins:
        """Return the bins of some of the numbers."""
        return Bins(self.edges[:, columns])

    @property
    def count(self) -> int:
        """How many bins a number has at most."""
        return len(self.edges) + 1

    def flags(self, numbers: Array) -> Array:
        """Return a 1 for the bin of each number among zeros (n, numbers * bins), float32."""
        bins = np.arange(self.count, dtype=np.uint8)
        made: Array = (self(numbers)[..., None] == bins).astype(np.float32)
        return made.reshape(len(numbers), -1)


@dataclass(frozen=True, slots=True)
class Tables:
    """For each pixel, which number says most of it, and what it says of it (bins, pixels)."""

    chosen: Array
    bins: Bins
    means: Array

    def __call__(self, numbers: Array) -> Array:
        """Return images (n, pixels) for numbers (n, d)."""
        binned = self.bins(numbers[:, self.chosen])
        made: Array = self.means[binned, np.arange(self.means.shape[1])]
        return made


def affordable(numbers: int, pixels: int) -> bool:
    """Tell whether the numbers can be searched for those that say most of the pixels."""
    return numbers * pixels * _QUANTILES * _LEAST_EXAMPLES <= _MOST_WORK


def fit_tables(numbers: Array, images: Array, bins: Bins) -> Tables:
    """Return the decoder by tables of numbers (n, d) and their images' pixels (n, p).

    Bins with few examples are drawn towards the mean image.
    """
    mean = images.mean(axis=0)
    apart = (images - mean).astype(np.float32)
    chosen = _most_telling(numbers, apart, bins)
    own = bins.of_some(chosen)
    count, pixels = apart.shape
    means = np.empty((own.count, pixels), np.float32)
    step = max(1, _AT_ONCE // count)
    for start in range(0, pixels, step):
        at = slice(start, start + step)
        part = apart[:, at]
        width = part.shape[1]
        binned = own.of_some(np.arange(pixels)[at])(numbers[:, chosen[at]])
        places = binned * np.int64(width) + np.arange(width)
        size = own.count * width
        sums = np.bincount(places.ravel(), part.ravel(), size)
        counts = np.bincount(places.ravel(), minlength=size)
        means[:, at] = mean[at] + (sums / (counts + 1)).reshape(own.count, width)
    return Tables(chosen, own, means)


def _most_telling(numbers: Array, apart: Array, bins: Bins) -> Array:
    """Return for each pixel the number whose bins account for most of its variance."""
    columns, pixels = numbers.shape[1], apart.shape[1]
    enough = max(_LEAST_EXAMPLES, _MOST_WORK // (columns * pixels * bins.count))
    numbers, apart = numbers[:enough], apart[:enough]
    best, chosen = np.full(pixels, -1.0, np.float32), np.zeros(pixels, np.int64)
    step = max(1, _AT_ONCE // (bins.count * max(len(apart), pixels)))
    for start in range(0, columns, step):
        at = slice(start, start + step)
        flags = bins.of_some(np.arange(columns)[at]).flags(numbers[:, at])
        sums = (flags.T @ apart).reshape(-1, bins.count, pixels)
        # Of one example alone nothing follows: the 1 takes off what chance accounts for.
        weights = 1 / (flags.sum(axis=0).reshape(-1, bins.count, 1) + 1)
        said = (sums**2 * weights).sum(axis=1)
        first = said.argmax(axis=0)
        own = said[first, np.arange(pixels)]
        better = own > best
        chosen[better] = start + first[better]
        best = np.maximum(own, best)
    return chosen
