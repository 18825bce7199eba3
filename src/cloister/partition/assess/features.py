"""Crossing tensors as the inputs of a decoder: grids and vectors, standardised; no framework."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Standard", "flat", "shaped"]

Array = npt.NDArray[Any]

_LEAST_DEVIATION = 1e-6


def shaped(tensors: Sequence[Array]) -> list[Array]:
    """Return tensors as grids (n, h, w, c) and vectors (n, d), float32; nothing is left out.

    Tokens (n, t, d) become a grid where t is a square, and a grid and a vector where t - 1 is one:
    that is how models of images lay out patches, and a class token in front.
    """
    made: list[Array] = []
    for tensor in tensors:
        values = np.asarray(tensor, np.float32)
        count = len(values)
        if values.ndim == 3:  # noqa: PLR2004  # batch, tokens, width
            made += _tokens(values)
        elif values.ndim == 4:  # noqa: PLR2004  # batch, height, width, channels
            made.append(values)
        else:
            made.append(values.reshape(count, -1))
    return made


def flat(tensors: Sequence[Array]) -> Array:
    """Return all numbers of each example side by side (n, numbers), float32."""
    return np.concatenate([np.asarray(t, np.float32).reshape(len(t), -1) for t in tensors], axis=1)


class Standard:
    """Takes off the mean and divides by the deviation of each channel, as one set has them."""

    def __init__(self, tensors: Sequence[Array]) -> None:
        """Measure a set: the adversary's own, never the held-out images'."""
        self._of = [
            (t.mean(axis=(axes := tuple(range(t.ndim - 1))), keepdims=True), t.std(axis=axes))
            for t in tensors
        ]

    def __call__(self, tensors: Sequence[Array]) -> list[Array]:
        """Return other tensors on that scale."""
        return [
            ((t - mean) / np.maximum(deviation, _LEAST_DEVIATION)).astype(np.float32)
            for t, (mean, deviation) in zip(tensors, self._of, strict=True)
        ]


def _tokens(values: Array) -> list[Array]:
    count, tokens, width = values.shape
    for skipped in (0, 1):
        side = math.isqrt(tokens - skipped)
        if side > 1 and side * side == tokens - skipped:
            grid = values[:, skipped:].reshape(count, side, side, width)
            return [grid, values[:, 0]] if skipped else [grid]
    return [values.reshape(count, -1)]
