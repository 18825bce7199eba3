"""What the places of a convolution's kernel read, added up for each position of the output.

Of a folded convolution only a few channels are left, so nothing here is in proportion to the
model's own channels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from cloister.partition.linear_step import Array, LinearStep

__all__ = ["Gather"]


class Gather:
    """Adds up for inputs of one size. Positions are flat, row after row, in all arrays."""

    def __init__(self, step: LinearStep, spatial: Sequence[int]) -> None:
        """Work out which position reads what."""
        self._step: Final = step
        pads = step.pads(spatial)
        self._sizes: Final = step.sizes_out(spatial)
        self.thinned: Final = (
            math.prod(step.kernel) == 1
            and max(step.strides) > 1
            and not any(before or after for before, after in pads)
        )
        self._given: Final = self._sizes if self.thinned else tuple(spatial)
        strides = (1,) * len(self._given) if self.thinned else step.strides
        self._strides: Final = strides
        # Where a place of the kernel reads, seen from the position of the output times the stride.
        self._offsets: Final = tuple(
            tuple(place * dilation - before for place in range(size))
            for size, dilation, (before, _) in zip(step.kernel, step.dilation, pads, strict=True)
        )
        self._same: Final = self._given == self._sizes and max(strides) == 1

        self._edges: Final[list[Any]] = []
        self._shifts: Final[list[tuple[slice, slice]]] = []
        if self._same:
            for number, offsets in enumerate(itertools.product(*self._offsets)):
                self._shift(number, offsets)
        self._reaches: Final = tuple(
            tuple(self._reach(axis, offset) for offset in offsets)
            for axis, offsets in enumerate(self._offsets)
        )

    def _shift(self, number: int, offsets: tuple[int, ...]) -> None:
        """Note what one place reads where rows lie flat, one after another."""
        at = 0
        for axis, (offset, size) in enumerate(zip(offsets, self._given, strict=True)):
            at = at * size + offset
            # What would be read over the end of a row is in the next one; the first axis just ends.
            if offset and axis:
                edge = slice(0, offset) if offset > 0 else slice(offset, None)
                after = (slice(None),) * (len(offsets) - axis - 1)
                before = (slice(None),) * axis
                self._edges.append((slice(None), slice(None), number, *before, edge, *after))
        self._shifts.append(
            (slice(0, -at or None), slice(at, None))
            if at >= 0
            else (slice(-at, None), slice(0, at))
        )

    def thinning(self, *, first: bool) -> tuple[slice, ...]:
        """Return which positions a kernel of size one reads, where it leaves some out."""
        inner = tuple(slice(None, None, stride) for stride in self._step.strides)
        outer = (slice(None),) * (2 if first else 1)
        return (*outer, *inner)

    def taps(self, maps: Array) -> Array:
        """Add up (batch, rows, kernel, positions in) to (batch, rows, positions out).

        The maps are the caller's own, and are changed.
        """
        if maps.shape[2] == 1 and self._same and not any(map(any, self._offsets)):
            return np.asarray(maps[:, :, 0])
        if not self._same:
            return self._windows(maps)
        total = np.zeros((*maps.shape[:2], maps.shape[3]), np.float32)
        grid = maps.reshape(*maps.shape[:3], *self._given)
        for edge in self._edges:
            grid[edge] = 0
        for number, (out, given) in enumerate(self._shifts):
            part = total[:, :, out]
            np.add(part, maps[:, :, number, given], out=part)
        return total

    def box(self, values: Array) -> Array:
        """Add up (batch, positions in) over all places of the kernel: (batch, positions out)."""
        grid = values.reshape(values.shape[0], *self._given)
        for axis, offsets in enumerate(self._offsets):
            if offsets == (0,) and self._strides[axis] == 1:
                continue
            shape = list(grid.shape)
            shape[axis + 1] = self._sizes[axis]
            total = np.zeros(shape, np.float32)
            before = (slice(None),) * (axis + 1)
            for out, given in self._reaches[axis]:
                total[(*before, out)] += grid[(*before, given)]
            grid = total
        return grid.reshape(values.shape[0], -1)

    def _windows(self, maps: Array) -> Array:
        grid = maps.reshape(*maps.shape[:3], *self._given)
        total = np.zeros((*maps.shape[:2], *self._sizes), np.float32)
        for number, offsets in enumerate(itertools.product(*self._offsets)):
            reach = [self._reach(axis, offset) for axis, offset in enumerate(offsets)]
            out: Any = tuple(pair[0] for pair in reach)
            given: Any = tuple(pair[1] for pair in reach)
            total[(slice(None), slice(None), *out)] += grid[
                (slice(None), slice(None), number, *given)
            ]
        return total.reshape(*maps.shape[:2], -1)

    def _reach(self, axis: int, offset: int) -> tuple[slice, slice]:
        """Return which positions of the output read inside of the input, and what they read."""
        stride, given, made = self._strides[axis], self._given[axis], self._sizes[axis]
        low = max(-(offset // stride), 0)
        high = min((given - 1 - offset) // stride + 1, made)
        if high <= low:
            return slice(0, 0), slice(0, 0)
        start = low * stride + offset
        return slice(low, high), slice(start, start + (high - low - 1) * stride + 1, stride)
