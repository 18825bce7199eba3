"""Each example's gradient, cut to a norm, and the sum of these.

The same rule as `training/privacy/clipping.py`, for any framework: what one example can add is at
most `clip` in L2 norm, whatever the weights and the example are. A gradient that is not finite, or
so large that its share has no digits, adds nothing: to stop the training there would tell of the
example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

__all__ = ["add_clipped"]

# Squares are summed in double precision, which cannot overflow. This covers what rounding of the
# scaled gradient to single precision may add to its norm.
_MARGIN: Final = 1 - 2.0**-20
_LEAST_SCALE: Final = 2.0**-126  # a smaller one has fewer digits than that covers


def add_clipped(
    total: np.ndarray[Any, np.dtype[np.float64]],
    gradients: Sequence[np.ndarray[Any, Any]],
    *,
    clip: float,
    takes_part: np.ndarray[Any, np.dtype[np.bool_]],
) -> None:
    """Add the clipped gradients of examples to their sum.

    Args:
        total: All weights as one vector; it is changed.
        gradients: For each weight, all examples' gradients; examples are the first axis.
        clip: The norm over all weights that no example exceeds.
        takes_part: For each example whether it does; others add nothing.
    """
    rows = [each.reshape(len(each), -1) for each in gradients]
    squares = np.zeros(len(takes_part))
    with np.errstate(all="ignore"):  # what is not finite is looked for, not stumbled upon
        for each in rows:
            squares += np.einsum("ij,ij->i", each, each, dtype=np.float64)
        norms = np.sqrt(squares)
        scales = np.where(norms > 0, np.minimum(1.0, clip * _MARGIN / norms), 1.0)
        counts = takes_part & np.isfinite(norms) & (scales >= _LEAST_SCALE)
    factors = scales[counts].astype(np.float32)
    start = 0
    for each in rows:
        total[start : start + each.shape[1]] += factors @ each[counts]
        start += each.shape[1]
