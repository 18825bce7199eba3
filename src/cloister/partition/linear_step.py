"""One linear step of a model, whatever format it came in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "LinearStep", "plain_step"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class LinearStep:
    """One linear operator.

    Attributes:
        kind: `dense`, `conv` or `depthwise`.
        input: The name of the tensor that it reads.
        output: The name of the tensor that it makes.
        weights: (out, in) of a dense one; (out, in / groups, spatial...) of a convolution.
        bias: One number for each output channel, or None.
        strides: For each spatial axis.
        padding: What is put before and after each spatial axis; or `same-upper`, `same-lower`.
        dilation: For each spatial axis.
        groups: Groups of channels; 1 of a dense one.
        layout: Where channels are: `NCHW` (axis 1) or `NHWC` (the last axis).
    """

    kind: str
    input: str
    output: str
    weights: Array
    bias: Array | None
    strides: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] | str = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    layout: str = "NHWC"

    @property
    def channels(self) -> int:
        """How many numbers it makes at each position."""
        return int(self.weights.shape[0])

    @property
    def channels_in(self) -> int:
        """How many numbers it reads at each position."""
        return int(self.weights.shape[1]) * self.groups

    @property
    def kernel(self) -> tuple[int, ...]:
        """Sizes of the kernel; none of a dense step."""
        return tuple(int(size) for size in self.weights.shape[2:])

    @property
    def terms(self) -> int:
        """How many products are added for one number of the output."""
        return math.prod(self.weights.shape[1:])

    @property
    def gain(self) -> float:
        """How many times cheaper one folded channel is than the step itself."""
        return self.channels / self.groups

    def pads(self, spatial: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Return what is put around an input of these spatial sizes."""
        if not isinstance(self.padding, str):
            return self.padding
        found: list[tuple[int, int]] = []
        for size, kernel, stride, step in zip(
            spatial, self.kernel, self.strides, self.dilation, strict=True
        ):
            wanted = (-(-size // stride) - 1) * stride + (kernel - 1) * step + 1
            total = max(wanted - size, 0)
            less = total // 2
            upper = self.padding == "same-upper"
            found.append((less, total - less) if upper else (total - less, less))
        return tuple(found)

    def sizes_out(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial sizes of the output."""
        return tuple(
            (size + before + after - (kernel - 1) * step - 1) // stride + 1
            for size, (before, after), kernel, stride, step in zip(
                spatial, self.pads(spatial), self.kernel, self.strides, self.dilation, strict=True
            )
        )


def plain_step(
    kind: str, source: str, output: str, weights: Array, bias: Array | None, **rest: Any
) -> LinearStep | None:
    """Return a step, or None where its numbers are not finite float32, which nobody checks."""
    arrays = [weights] if bias is None else [weights, bias]
    if any(array.dtype != np.float32 for array in arrays) or weights.size == 0:
        return None
    if not all(bool(np.isfinite(array).all()) for array in arrays):
        return None
    return LinearStep(kind, source, output, np.ascontiguousarray(weights), bias, **rest)
