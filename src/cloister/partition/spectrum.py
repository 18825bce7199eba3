"""An upper bound of a matrix's largest singular value, for the bounds of rounding errors."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloister.crypto.kdf import random_bytes

__all__ = ["spectral_bound"]

_EXACT: Final = 1024
# Dixon (1983): after q products with A'A, from a random direction, the largest eigenvalue is more
# than THETA times what was found with probability at most 0.8 THETA**(-q/2) sqrt(n): here 1e-6.
_THETA: Final = 1.5
_PRODUCTS: Final = 100


def spectral_bound(matrix: npt.NDArray[Any], *, exact_to: int = _EXACT) -> float:
    """Return what the largest singular value does not exceed, at most 1.23 times too large.

    Args:
        matrix: Finite, of rank 2.
        exact_to: Where the smaller side is longer, the bound is found by products from a random
            direction, and holds but for one time in a million.
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    largest = float(np.abs(tall).max(initial=0.0))
    if largest == 0.0:
        return 0.0
    if tall.shape[1] <= exact_to:
        scaled = tall.astype(np.float64) / largest
        eigenvalue = float(np.linalg.eigvalsh(scaled.T @ scaled)[-1])
        return largest * math.sqrt(max(eigenvalue, 0.0)) * (1 + 1e-9)
    tall = tall / np.float32(largest)
    generator = np.random.default_rng(int.from_bytes(random_bytes(16), "little"))
    direction: Any = generator.standard_normal(tall.shape[1])
    direction /= np.linalg.norm(direction)
    logarithm = 0.0
    for _ in range(_PRODUCTS // 2):
        direction = tall.T @ (tall @ direction.astype(np.float32))
        norm = float(np.linalg.norm(direction))
        logarithm += math.log(norm)
        direction = direction / norm
    # The direction's product with A^q is the square of its length after q/2 products.
    return largest * math.sqrt(_THETA * math.exp(2 * logarithm / _PRODUCTS)) * (1 + 1e-3)
