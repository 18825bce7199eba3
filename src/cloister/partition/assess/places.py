"""Numbers that are no magnitudes: places of others, as sorting and pooling give them, and codes.

Whoever sees values beside the places that they had puts them back. No decoder finds that out by
itself: to it, a place is a number like another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloister.partition.assess.tables import MOST_VALUES

__all__ = ["Places", "are_codes", "point"]

Array = npt.NDArray[Any]

# Fewer numbers than so are no list of places. Where a grid had so many times more places than the
# list or the image has, they are codes rather than places.
_LEAST: Final = 4
_MOST_TIMES: Final = 16
_MOST_NUMBERS: Final = 2**16  # laid out for one example
# Of the numbers of one example, so many differ at least, on average: each place once, or nearly.
_DIFFERENT: Final = 0.9
_LOOKED_AT: Final = 16  # examples
_SAMPLED: Final = 2**16  # numbers


@dataclass(frozen=True, slots=True)
class _Pointing:
    """Numbers of one tensor that are places, and where values lie that belong to them.

    It is sure where they are all of the tensor, and no example has a place twice.
    """

    tensor: int
    columns: Array
    size: int
    values: tuple[tuple[int, Array], ...]
    sure: bool


class Places:
    """Lays out, on the grid that places are of, what belongs to them."""

    def __init__(self, tensors: Sequence[Array], *, pixels: int) -> None:
        """Find what is places in what crosses for a set of images; it may be nothing."""
        pointing = {i: found for i, t in enumerate(tensors) if len(found := _pointing(_rows(t)))}
        self._found: list[_Pointing] = []
        for i, columns in pointing.items():
            rows = _rows(tensors[i])
            size = int(rows[:, columns].max()) + 1
            if size > _MOST_TIMES * max(len(columns), pixels):
                continue
            others = [
                (j, np.arange(_rows(t).shape[1]))
                for j, t in enumerate(tensors)
                if j not in pointing
            ]
            others.append((i, np.setdiff1d(np.arange(rows.shape[1]), columns)))
            values = tuple((j, own) for j, own in others if len(own) == len(columns))
            sure = len(columns) == rows.shape[1] and bool((_different(rows) == len(columns)).all())
            self._found.append(_Pointing(i, columns, size, values, sure))
        numbers = sum(each.size * (2 + len(each.values)) for each in self._found)
        if numbers > _MOST_NUMBERS:
            self._found = []

    @property
    def tensors(self) -> frozenset[int]:
        """Which tensors are nothing but places that are laid out: codes stand twice sometimes."""
        return frozenset(each.tensor for each in self._found if each.sure)

    def __call__(self, tensors: Sequence[Array]) -> list[Array]:
        """Return for each list of places vectors (n, size), float32.

        They are the values at their places, for each tensor that has as many; how far down the list
        each place stands; and which places are on it. 0 is where nothing is put.
        """
        made: list[Array] = []
        for each in self._found:
            rows = _rows(tensors[each.tensor])[:, each.columns]
            at = np.clip(rows, 0, each.size - 1).astype(np.int64)
            put = [_rows(tensors[j])[:, own] for j, own in each.values]
            ranks = np.arange(1, at.shape[1] + 1, dtype=np.float32) / at.shape[1]
            put += [np.broadcast_to(ranks, at.shape), np.ones(at.shape, np.float32)]
            for values in put:
                grid = np.zeros((len(at), each.size), np.float32)
                np.put_along_axis(grid, at, values.astype(np.float32), axis=1)
                made.append(grid)
        return made


def point(tensors: Sequence[Array]) -> bool:
    """Tell whether some of the numbers may be places, of a grid of any size.

    Of those that some runtimes give, each example has its own stretch in the batch.
    """
    return any(len(_pointing(_rows(t))) for t in tensors)


def are_codes(tensor: Array) -> bool:
    """Tell whether a tensor's numbers may stand for something rather than measure it.

    They are whole numbers, or there are few different ones, though more than two. Numbers of one
    byte are quantised measures where there are many.
    """
    rows = _rows(tensor)
    sampled = rows.reshape(-1)[:: max(1, rows.size // _SAMPLED)]
    different = len(np.unique(sampled))
    if different <= MOST_VALUES:
        return different > 2  # noqa: PLR2004  # a function of two values is a straight line
    wide = tensor.dtype.kind in "iu" and tensor.dtype.itemsize > 1
    return wide or (tensor.dtype.kind == "f" and bool((sampled == np.rint(sampled)).all()))


def _pointing(rows: Array) -> Array:
    """Return which numbers are whole, not below 0, and nearly all different in each example."""
    columns: Array = np.arange(rows.shape[1])
    for some in (rows[:_LOOKED_AT], rows):
        part = some[:, columns]
        whole = (part >= 0) & (part == np.rint(part))
        columns = columns[whole.all(axis=0)]
        if len(columns) < _LEAST:
            return columns[:0]
    if rows.dtype.kind == "f":
        numbers = rows[:, columns]
        columns = columns[(numbers != numbers[:1]).any(axis=0)]
        if len(columns) < _LEAST:
            return columns[:0]
    listed = _different(rows[:, columns]).mean() >= _DIFFERENT * len(columns)
    return columns if listed else columns[:0]


def _different(rows: Array) -> Array:
    """Return how many different numbers each example has."""
    ascending = np.sort(rows, axis=1)
    counts: Array = 1 + (ascending[:, 1:] > ascending[:, :-1]).sum(axis=1)
    return counts


def _rows(tensor: Array) -> Array:
    rows: Array = tensor.reshape(len(tensor), -1)
    return rows
