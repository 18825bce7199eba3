"""The papers' score of a layer: how much less than nothing a judge learns from its best map.

`KL_ij = sum_c P_c log(P_c / Q_ij,c)`, where P is what the judge says of the input and Q_ij what it
says of map j of input i; `KL_u = sum_c P_c log(P_c N)`, the same for an even guess over N classes;
`delta_i = min_j KL_ij / KL_u`. They call a layer safe at 1.

The score takes a judge that is sure of something wrong for one that knows nothing: KL_u is log N at
most, and KL to a wrong answer has no bound. It is reported for comparison and decides nothing.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["deltas", "divergence", "even_divergence"]

Array = npt.NDArray[Any]

# The least float32 that counts as a probability: a softmax that underflows says 0.
_LEAST: Final = 1e-30
# A judge that finds every class equally likely has KL_u = 0 and tells nothing of any map.
_LEAST_EVEN: Final = 1e-9


def divergence(of_input: Array, of_maps: Array) -> Array:
    """Return KL_ij (n, maps) in nats, for P (n, classes) and Q (n, maps, classes)."""
    p = np.asarray(of_input, np.float64)[:, None]
    q = np.maximum(np.asarray(of_maps, np.float64), _LEAST)
    nats: Array = np.sum(_xlogx(p) - p * np.log(q), axis=-1)
    return nats


def even_divergence(of_input: Array) -> Array:
    """Return KL_u (n) in nats."""
    p = np.asarray(of_input, np.float64)
    result: Array = np.sum(_xlogx(p) + p * np.log(p.shape[-1]), axis=-1)
    return result


def deltas(of_input: Array, of_maps: Array) -> Array:
    """Return delta_i (n): below 1, some map tells the judge more than an even guess would."""
    even = np.maximum(even_divergence(of_input), _LEAST_EVEN)
    result: Array = divergence(of_input, of_maps).min(axis=1) / even
    return result


def _xlogx(p: Array) -> Array:
    return p * np.log(np.maximum(p, _LEAST))
