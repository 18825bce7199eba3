"""Each example's gradient, cut to a norm, and the sum of these.

What one example can add to the sum is at most `clip` in L2 norm, whatever the weights and the
example are. A gradient that is not finite, or so large that its share has no digits, adds nothing:
to stop the training there would tell of the example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cloister.training.privacy.frameworks import tf

__all__ = ["clipped_sum"]

# Squares are summed in double precision, which cannot overflow. This covers what rounding of the
# scaled gradient to single precision may add to its norm.
_MARGIN: Final = 1 - 2.0**-20
_LEAST_SCALE: Final = 2.0**-126  # a smaller one has fewer digits than that covers


def clipped_sum(gradients: Sequence[Any], *, clip: float, takes_part: Any) -> list[Any]:
    """Return the sum over examples of their clipped gradients, one tensor for each weight.

    Args:
        gradients: For each weight, all examples' gradients; examples are the first axis.
        clip: The norm over all weights that no example exceeds.
        takes_part: For each example whether it does; others add nothing.
    """
    squares = [
        tf.reduce_sum(tf.square(tf.cast(_rows(each), tf.float64)), axis=1) for each in gradients
    ]
    norms = tf.sqrt(tf.add_n(squares))
    scales = tf.minimum(tf.ones_like(norms), clip * _MARGIN / norms)
    counts = takes_part & tf.math.is_finite(norms) & (scales >= _LEAST_SCALE)
    return [_weighted(each, scales, counts) for each in gradients]


def _weighted(gradient: Any, scales: Any, counts: Any) -> Any:
    """Sum `scales` times each row that counts; others may hold anything: zero times NaN is NaN."""
    rows = tf.boolean_mask(_rows(gradient), counts)
    total = tf.matmul(tf.cast(tf.boolean_mask(scales, counts), rows.dtype)[None], rows)
    return tf.reshape(total, tf.shape(gradient)[1:])


def _rows(gradient: Any) -> Any:
    return tf.reshape(gradient, (tf.shape(gradient)[0], -1))
