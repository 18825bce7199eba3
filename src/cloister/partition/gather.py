"""What the places of a convolution's kernel read, added up for each position of the output.

Of a folded convolution only a few channels are left, so nothing here is in proportion to the
model's own channels.

Maps are put into grids with zeros around them. There, a place of the kernel reads at the same
distance from every position, and places of one axis lie at equal distances: so what all of them
read is one array with strides of its own, and adding it up is one pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from cloister.partition.linear_step import Array, LinearStep

__all__ = ["Gather"]


class Gather:
    """Adds up for inputs of one size. Positions are flat, row after row, in all arrays.

    Attributes:
        sizes: Of the output, for each axis.
        thinned: Whether the kernel has one place and leaves out positions; see `thinning`.
    """

    def __init__(self, step: LinearStep, spatial: Sequence[int]) -> None:
        """Work out which position reads what."""
        self._step: Final = step
        pads = step.pads(spatial)
        self.sizes: Final = step.sizes_out(spatial)
        self.thinned: Final = (
            math.prod(step.kernel) == 1
            and max(step.strides) > 1
            and not any(before or after for before, after in pads)
        )
        self._given: Final = self.sizes if self.thinned else tuple(spatial)
        strides = (1,) * len(self._given) if self.thinned else step.strides
        # The grid: as far as anything reads, and as far as the input lies.
        axes = list(zip(self._given, self.sizes, strides, step.kernel, step.dilation, strict=True))
        self._grid: Final = tuple(
            max(before + size, (made - 1) * stride + (kernel - 1) * dilation + 1)
            for (size, made, stride, kernel, dilation), (before, _) in zip(axes, pads, strict=True)
        )
        self._inside: Final = tuple(
            slice(before, before + size)
            for (before, _), size in zip(pads, self._given, strict=True)
        )
        self._alone: Final = math.prod(step.kernel) == 1 and self._grid == self._given == self.sizes
        apart = tuple(math.prod(self._grid[axis + 1 :]) for axis in range(len(self._grid)))
        self._places: Final = tuple(
            each * dilation for each, dilation in zip(apart, step.dilation, strict=True)
        )
        # Without strides, positions of all rows are one run; what lies behind a row is left out.
        self._runs: Final = max(strides) == 1
        self._read: Final = (self.sizes[0] * apart[0],) if self._runs else self.sizes
        self._steps: Final = (
            (1,)
            if self._runs
            else tuple(each * stride for each, stride in zip(apart, strides, strict=True))
        )
        furthest = sum(
            (size - 1) * each
            for size, each in zip(
                (*step.kernel, *self._read), (*self._places, *self._steps), strict=True
            )
        )
        self._cells: Final = math.prod(self._grid)
        self._numbers: Final = max(self._cells, furthest + 1)
        # Each place of the kernel reads its own map, or all read the one.
        planes = tuple(
            self._numbers * math.prod(step.kernel[axis + 1 :]) for axis in range(len(step.kernel))
        )
        self._of_planes: Final = tuple(map(sum, zip(self._places, planes, strict=True)))
        self._over: Final = tuple(range(1, 1 + len(step.kernel)))
        self._cut: Final = (slice(None), slice(None), *(slice(size) for size in self.sizes[1:]))

    def thinning(self, *, first: bool) -> tuple[slice, ...]:
        """Return which positions a kernel of size one reads, where it leaves some out."""
        inner = tuple(slice(None, None, stride) for stride in self._step.strides)
        outer = (slice(None),) * (2 if first else 1)
        return (*outer, *inner)

    def taps(self, maps: Array) -> Array:
        """Add up (batch, rows, kernel, positions in) to (batch, rows, positions out)."""
        batch, rows, kernel, positions = maps.shape
        if self._alone:
            return np.asarray(maps[:, :, 0])
        total = self._sum(maps.reshape(batch * rows, kernel, positions), planes=True)
        return total.reshape(batch, rows, -1)

    def box(self, values: Array) -> Array:
        """Add up (batch, positions in) over all places of the kernel: (batch, positions out)."""
        flat = values.reshape(len(values), -1)
        return flat if self._alone else self._sum(flat[:, None], planes=False)

    def _sum(self, maps: Array, *, planes: bool) -> Array:
        """Add up (outer, planes, positions), for each place of the kernel its own or the one."""
        outer, count, _ = maps.shape
        around = np.zeros((outer, count, self._numbers), maps.dtype)
        grid: Any = around[..., : self._cells].reshape(outer, count, *self._grid)
        grid[(..., *self._inside)] = maps.reshape(outer, count, *self._given)
        places = self._of_planes if planes else self._places
        steps = (count * self._numbers, *places, *self._steps)
        # An array over a buffer, which refuses what would reach beyond it.
        read: Any = np.ndarray(
            (outer, *self._step.kernel, *self._read),
            maps.dtype,
            around,
            strides=tuple([maps.itemsize * step for step in steps]),
        )
        total = np.add.reduce(read, axis=self._over)
        if self._runs:
            total = total.reshape(outer, self.sizes[0], *self._grid[1:])[self._cut]
        return np.asarray(total.reshape(outer, -1))
