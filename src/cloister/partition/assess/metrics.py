"""How like two images are, and what is said of a hundred such numbers: no I/O, no framework.

Images are float arrays in [0, 1], (n, height, width, channels). Functions return one number for
each image. SSIM is that of Wang, Bovik, Sheikh and Simoncelli (2004): a Gaussian window of 11
pixels and standard deviation 1.5, K1 = 0.01, K2 = 0.03, windows that lie inside the image only.
Images with a side below 11 get the largest odd window that fits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "LOWER_IS_WORSE",
    "Spread",
    "different",
    "found",
    "gain",
    "mse",
    "psnr",
    "share_interval",
    "spread",
    "ssim",
]

Array = npt.NDArray[Any]

# Where a small number means that more was learnt; of all other metrics, a large one does.
LOWER_IS_WORSE: Final = frozenset({"mse", "kl-ratio", "bound-mse"})
# 100 dB: an error below a thousandth of a step of 8 bits is none.
_LEAST_MSE: Final = 1e-10
_WINDOW: Final = 11
_DEVIATION: Final = 1.5
_C1, _C2 = 0.01**2, 0.03**2
# Images are compared with all candidates at this side; more detail costs and finds no one else.
_FOUND_SIDE: Final = 32
_BOOTSTRAPS: Final = 1000
_PAIRS_AT_ONCE: Final = 2**24  # numbers
# 95 % of a normal distribution lie within this many standard deviations.
_Z: Final = 1.959964


@dataclass(frozen=True, slots=True)
class Spread:
    """What is said of many numbers.

    Attributes:
        worst_decile: Mean of the tenth that fares worst for privacy.
        mean: Mean of all.
        low: Lower end of the 95 % bootstrap interval of `worst_decile`.
        high: Upper end.
    """

    worst_decile: float
    mean: float
    low: float
    high: float


def mse(images: Array, originals: Array) -> Array:
    """Return mean squared errors."""
    difference = images.astype(np.float64) - originals
    errors: Array = np.mean(difference**2, axis=tuple(range(1, difference.ndim)))
    return errors


def psnr(images: Array, originals: Array) -> Array:
    """Return peak signal-to-noise ratios in dB, 100 at most."""
    return -10.0 * np.log10(np.maximum(mse(images, originals), _LEAST_MSE))


def ssim(images: Array, originals: Array) -> Array:
    """Return structural similarities, 1 for equal images."""
    return _Windowed.of(images).like(_Windowed.of(originals))


def gain(similarities: Array, of_the_mean: Array) -> Array:
    """Return how far reconstructions are on the way from the mean image to the original.

    0 is no better than always guessing the mean image, 1 is the original; below 0 is worse than
    that guess, cut off at -1.

    Args:
        similarities: SSIM of each reconstruction with its original.
        of_the_mean: SSIM of the mean image with each original.
    """
    room = np.maximum(1.0 - of_the_mean, 1e-6)
    return np.clip((similarities - of_the_mean) / room, -1.0, 1.0)


def found(images: Array, candidates: Array) -> Array:
    """Return 1 where image i is most like candidate i of all candidates, by SSIM, else 0.

    With n candidates, chance finds 1/n. A reconstruction that is equally like several is not found,
    unless these are the original again: who finds a copy has found it. Where all are one image,
    nothing is found.
    """
    small = _small(candidates)
    x, y = _Windowed.of(_small(images)), _Windowed.of(small)
    chunk = max(1, _PAIRS_AT_ONCE // y.planes.size)
    scores = np.concatenate(
        [x[i : i + chunk, None].like(y[None]) for i in range(0, len(x.planes), chunk)]
    )
    own = np.diagonal(scores)
    images_of = _numbered(small)
    others = np.where(images_of[:, None] == images_of, -np.inf, scores).max(axis=1)
    own_is_most: Array = (np.isfinite(others) & (own > others + 1e-9)).astype(np.float64)
    return own_is_most


def different(images: Array) -> int:
    """Return how many different images there are."""
    return int(_numbered(images).max(initial=-1)) + 1


def spread(values: Array, *, lower_is_worse: bool, seed: int) -> Spread:
    """Return worst decile, mean and interval of one number for each example; n must not be 0."""
    bad_first = np.sort(values if lower_is_worse else -values)
    tenth = max(1, math.ceil(len(bad_first) / 10))
    drawn = np.random.default_rng(seed).integers(
        len(bad_first), size=(_BOOTSTRAPS, len(bad_first)), dtype=np.int32
    )
    # Sorted values are drawn by sorted indexes: the first tenth of those is the worst.
    worst = bad_first[np.partition(drawn, tenth - 1, axis=1)[:, :tenth]].mean(axis=1)
    ends = np.quantile(worst, [0.025, 0.975])
    sign = 1.0 if lower_is_worse else -1.0
    # Adding 0 turns the -0 of a sign that was turned twice into 0.
    low, high = sorted(sign * float(end) + 0.0 for end in ends)
    worst_decile = sign * float(bad_first[:tenth].mean()) + 0.0
    return Spread(worst_decile, float(np.mean(values)), low, high)


def share_interval(share: float, examples: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share that was counted on so many examples."""
    z2 = _Z**2 / examples
    centre = (share + z2 / 2) / (1 + z2)
    half = _Z / (1 + z2) * math.sqrt(share * (1 - share) / examples + z2 / (4 * examples))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, slots=True)
class _Windowed:
    """Planes (…, c, h, w) with the mean and variance of each window in each."""

    planes: Array
    means: Array
    variances: Array

    @classmethod
    def of(cls, images: Array) -> _Windowed:
        # In double precision: variances are differences of squares.
        planes = np.moveaxis(np.asarray(images, np.float64), -1, 1)
        means = _filtered(planes)
        return cls(planes, means, _filtered(planes**2) - means**2)

    def __getitem__(self, key: Any) -> _Windowed:
        return _Windowed(self.planes[key], self.means[key], self.variances[key])

    def like(self, other: _Windowed) -> Array:
        """Return the similarity of images of one with those of another, as they broadcast."""
        both = self.means * other.means
        covariances = _filtered(self.planes * other.planes) - both
        local = ((2 * both + _C1) * (2 * covariances + _C2)) / (
            (self.means**2 + other.means**2 + _C1) * (self.variances + other.variances + _C2)
        )
        result: Array = local.mean(axis=(-3, -2, -1))
        return result


@cache
def _windows(side: int) -> Array:
    """Return the matrix whose rows are the Gaussian windows that fit into a line of pixels."""
    size = min(_WINDOW, side if side % 2 else max(1, side - 1))
    offsets = np.arange(size) - size // 2
    weights = np.exp(-(offsets**2) / (2 * _DEVIATION**2))
    places = side - size + 1
    matrix = np.zeros((places, side))
    matrix[np.arange(places)[:, None], np.arange(places)[:, None] + np.arange(size)] = (
        weights / weights.sum()
    )
    return matrix


def _filtered(planes: Array) -> Array:
    """Return the mean of every window of planes (…, h, w)."""
    result: Array = _windows(planes.shape[-2]) @ planes @ _windows(planes.shape[-1]).T
    return result


def _numbered(images: Array) -> Array:
    """Return a number for each image, the same for equal ones, from 0 on."""
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    wholes = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
    numbers: Array = np.unique(wholes, return_inverse=True)[1]
    return numbers


def _small(images: Array) -> Array:
    """Shrink images by whole factors, by means of blocks, to about `_FOUND_SIDE`."""
    _, height, width, channels = images.shape
    by = max(1, min(height, width) // _FOUND_SIDE)
    if by == 1:
        return images
    height, width = height // by * by, width // by * by
    cut = np.asarray(images, np.float64)[:, :height, :width]
    blocks = cut.reshape(-1, height // by, by, width // by, by, channels)
    result: Array = blocks.mean(axis=(2, 4))
    return result
