"""How much two samples depend on each other, without saying how: unbiased distance correlation.

Székely and Rizzo (2014). Distances of all pairs are centred so that their product is an unbiased
estimate of squared distance covariance; 0 in expectation where the samples are independent, 1 where
one is the other moved, turned and scaled. Square roots are taken of what is above 0.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST_EXAMPLES", "distance_correlation", "interval"]

Array = npt.NDArray[Any]

# The unbiased estimate divides by n - 3.
LEAST_EXAMPLES: Final = 4
_HALVES: Final = 200


def distance_correlation(x: Array, y: Array) -> float:
    """Return the correlation of examples (n, p) with examples (n, q), in 0..1; n is 4 or more."""
    return _correlation(_distances(x), _distances(y))


def interval(x: Array, y: Array, *, seed: int) -> tuple[float, float]:
    """Return a 95 % interval by estimates on random halves; n is 8 or more.

    A bootstrap would draw examples twice, and equal examples are a dependence of its own. Halves
    spread wider than the whole, by the square root of two at first order: the interval is careful.
    """
    a, b = _distances(x), _distances(y)
    random = np.random.default_rng(seed)
    values = []
    for _ in range(_HALVES):
        half = random.choice(len(a), len(a) // 2, replace=False)
        values.append(_correlation(a[np.ix_(half, half)], b[np.ix_(half, half)]))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _correlation(a: Array, b: Array) -> float:
    a, b = _centred(a), _centred(b)
    both, of_a, of_b = (a * b).sum(), (a * a).sum(), (b * b).sum()
    if of_a <= 0 or of_b <= 0:
        return 0.0  # all examples of one are the same: nothing depends on anything
    return float(np.sqrt(np.clip(both / np.sqrt(of_a * of_b), 0, 1)))


def _distances(x: Array) -> Array:
    x = np.asarray(x, np.float64)
    x = x - x.mean(axis=0)
    squares = (x**2).sum(axis=1)
    distances: Array = np.sqrt(np.maximum(squares[:, None] + squares - 2 * (x @ x.T), 0))
    np.fill_diagonal(distances, 0)
    return distances


def _centred(distances: Array) -> Array:
    """Return U-centred distances."""
    n = len(distances)
    rows = distances.sum(axis=1) / (n - 2)
    centred: Array = distances - rows[:, None] - rows[None] + distances.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    return centred
