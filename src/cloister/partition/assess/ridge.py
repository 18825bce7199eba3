"""Decoders in closed form: kernel ridge regression from all crossing numbers to all pixels.

A network trained for a minute does not find the inverse of a random rotation; this does, exactly,
for whatever is linear and invertible, be its weakest direction a millionth of its strongest, and a
Gaussian kernel reads a picture from few numbers. Each costs one eigendecomposition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_NUMBERS", "Ridge", "fit"]

Array = npt.NDArray[Any]

# A kernel needs every number of every example at once; beyond this, networks alone are tried.
MAX_NUMBERS: Final = 2**17
_MAX_EXAMPLES: Final = 1500
_PENALTIES: Final = tuple(10.0**e for e in range(-8, 2))
# A linear kernel has the squares of what crosses, so a direction of a millionth has 1e-12 there.
# Below that lie the roundings of float32 numbers.
_SMALLEST: Final = (1e-14, 1e-12, 1e-10)
# Directions found without squares go as far as the roundings of float64.
_SMALLEST_OF_DOUBLES: Final = (1e-26, 1e-24, 1e-22, 1e-20, 1e-18, 1e-16)
# Directions of more numbers than so are found by their kernel only, which is less work.
_MOST_DIRECTIONS: Final = 4096


@dataclass(frozen=True, slots=True)
class Ridge:
    """A fitted decoder."""

    points: Array
    centre: Array
    weights: Array
    mean: Array
    width: float | None

    def __call__(self, numbers: Array) -> Array:
        """Return images (n, pixels) for standardised numbers (n, d)."""
        result: Array = _kernel(numbers - self.centre, self.points, self.width) @ self.weights
        return result + self.mean


def fit(
    numbers: Array,
    images: Array,
    *,
    apart: tuple[Array, Array],
    widths: Sequence[float | None] = (None, 1 / 2, 1 / 8),
) -> Ridge:
    """Return the decoder that does best on examples that it was not fitted to.

    Args:
        numbers: What crosses, standardised (n, d); the first 1500 examples count.
        images: Their pixels (n, p).
        apart: The same of other examples, by which kernel and penalty are chosen.
        widths: Of Gaussian kernels, in typical distances of two examples; None is a linear kernel.

    Raises:
        LinAlgError: No decoder gives finite numbers.
    """
    points, pixels = numbers[:_MAX_EXAMPLES].astype(np.float64), images[:_MAX_EXAMPLES]
    centre, mean = points.mean(axis=0), pixels.mean(axis=0)
    points = points - centre
    others = apart[0] - centre
    typical = float(np.sqrt(np.median(_squares(points, points)))) or 1.0
    best: tuple[float, Ridge] | None = None
    for width in (None if each is None else typical * each for each in widths):
        penalties = _PENALTIES if width else _SMALLEST + _PENALTIES
        if width is None and _needs_no_squares(numbers):
            basis, values, vectors, back = _directions(points)
            penalties = _SMALLEST_OF_DOUBLES + penalties
        else:
            basis, (values, vectors) = points, np.linalg.eigh(_kernel(points, points, width))
            back = vectors
        seen = vectors.T @ (pixels - mean)
        reach = _kernel(others, basis, width) @ back
        for penalty in penalties:
            scaled = seen / (np.maximum(values, 0) + penalty * len(points))[:, None]
            error = float(np.mean((reach @ scaled + mean - apart[1]) ** 2))
            if np.isfinite(error) and (best is None or error < best[0]):
                best = error, Ridge(basis, centre, back @ scaled, mean, width)
    if best is None:
        raise np.linalg.LinAlgError("no decoder gives finite numbers")
    return best[1]


def _needs_no_squares(numbers: Array) -> bool:
    """Tell whether numbers have digits that a linear kernel loses, and are not too many."""
    few = numbers.shape[1] <= _MOST_DIRECTIONS
    return numbers.dtype == np.float64 and few


def _directions(points: Array) -> tuple[Array, Array, Array, Array]:
    """Return what a linear kernel's decomposition is, found without its squares.

    These are the directions that examples go in, as points of a kernel; the kernel's values and its
    vectors; and by what each direction is multiplied on the way back.
    """
    left, strengths, right = np.linalg.svd(points / np.sqrt(points.shape[1]), full_matrices=False)
    values = strengths**2
    return right, values, left, np.diag(strengths * np.sqrt(points.shape[1]))


def _kernel(a: Array, b: Array, width: float | None) -> Array:
    if width is None:
        linear: Array = a @ b.T / a.shape[1]
        return linear
    gaussian: Array = np.exp(-_squares(a, b) / (2 * width**2))
    return gaussian


def _squares(a: Array, b: Array) -> Array:
    """Return squared distances of all pairs."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * (a @ b.T)
    positive: Array = np.maximum(squares, 0)
    return positive
