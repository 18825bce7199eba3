"""What no unbiased attacker gets below, where a cut adds noise: diagonal Fisher leakage (dFIL).

With Gaussian noise of variance s^2 on every crossing number, the Fisher information of what
crosses about the d pixels is J'J / s^2, J being the front's Jacobian. dFIL is its trace over d, and
1 / dFIL bounds the mean squared error of every unbiased reconstruction of that input from below
(Cramér and Rao; Guo, Karrer, Chaudhuri and van der Maaten, 2022). Pixels are in [0, 1].

It bounds attackers without prior knowledge; one who knows what images look like is biased, and does
better. Without noise the information is infinite and the bound 0: a deterministic cut promises
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cloister.partition.assess.attack import Array
from cloister.partition.assess.gradients import pulled_back

__all__ = ["error_bounds", "squared_jacobians"]


def squared_jacobians(
    model: Any,
    images: Array,
    shapes: Sequence[tuple[int, ...]],
    *,
    probes: int,
    batch: int,
    seed: int,
) -> Array:
    """Return an unbiased estimate of the trace of J'J for each image.

    Args:
        model: The front without its noise.
        images: In the model's own scale, by which derivatives are taken.
        shapes: Of the crossing tensors, without the batch.
        probes: Random directions; the estimate's relative error is about sqrt(2 / probes) at worst.
        batch: Images at once.
        seed: Of the directions.
    """
    random = np.random.default_rng(seed)
    traces = np.zeros(len(images))
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        for _ in range(probes):
            signs = [
                random.integers(0, 2, (len(part), *shape)).astype(np.float32) * 2 - 1
                for shape in shapes
            ]
            pulled = pulled_back(model, part, signs).astype(np.float64)
            traces[start : start + batch] += (pulled**2).sum(axis=tuple(range(1, pulled.ndim)))
    return traces / probes


def error_bounds(traces: Array, *, noise: float, pixels: int) -> Array:
    """Return 1 / dFIL of each image, at most 1: pixels in [0, 1] have no larger error.

    Args:
        traces: Of J'J, by pixels in [0, 1].
        noise: Standard deviation of the noise on crossing numbers; 0 is none.
        pixels: How many an image has, channels counted.
    """
    if noise == 0:
        return np.zeros(len(traces))
    return np.minimum(noise**2 * pixels / np.maximum(traces, 1e-30), 1.0)
