"""A small classifier that needs no framework: regression on random features, in closed form.

Numbers are standardised, thrown onto at most `_PROJECTED` random directions where there are more,
and followed by random rectified features, so that what is no linear function of them can be learnt
too. Of three penalties the one that does best on examples kept apart is taken.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from cloister.partition.assess.attack import Array
from cloister.partition.assess.features import Standard

__all__ = ["Classifier"]

_PROJECTED: Final = 256
_RECTIFIED: Final = 512
_PENALTIES: Final = (1e-3, 1e-1, 1e1)


class Classifier:
    """Learns classes from numbers (n, d), and scores others."""

    def __init__(self, numbers: Array, classes: Array, *, seed: int) -> None:
        """Learn; `classes` are whole numbers, two examples at least."""
        random = np.random.default_rng(seed)
        self._standard = Standard([numbers])
        size = numbers.shape[1]
        self._directions = (
            None
            if size <= _PROJECTED
            else (random.standard_normal((size, _PROJECTED)) / np.sqrt(size)).astype(np.float32)
        )
        width = min(size, _PROJECTED)
        self._hidden = (random.standard_normal((width, _RECTIFIED)) / np.sqrt(width)).astype(
            np.float32
        )
        self._shift = random.uniform(-1, 1, _RECTIFIED).astype(np.float32)
        self.classes = np.unique(classes)
        wanted = (np.asarray(classes)[:, None] == self.classes).astype(np.float64)
        features = self._features(numbers)
        order = random.permutation(len(features))
        apart, kept = order[: len(order) // 5], order[len(order) // 5 :]
        found = [_fit(features[kept], wanted[kept], penalty) for penalty in _PENALTIES]
        scores = [
            float(((features[apart] @ w).argmax(1) == wanted[apart].argmax(1)).mean())
            if len(apart)
            else 0.0
            for w in found
        ]
        self._weights = _fit(features, wanted, _PENALTIES[int(np.argmax(scores))])

    def scores(self, numbers: Array) -> Array:
        """Return how much speaks for each of `classes`, (n, classes)."""
        result: Array = self._features(numbers) @ self._weights
        return result

    def _features(self, numbers: Array) -> Array:
        x = self._standard([numbers])[0]
        if self._directions is not None:
            x = x @ self._directions
        hidden = np.maximum(x @ self._hidden + self._shift, 0)
        return np.concatenate([x, hidden, np.ones((len(x), 1), np.float32)], axis=1).astype(
            np.float64
        )


def _fit(features: Array, wanted: Array, penalty: float) -> Array:
    """Return the ridge regression's weights, by whichever of the two systems is smaller."""
    count, size = features.shape
    if count < size:
        gram = features @ features.T
        gram[np.diag_indices(count)] += penalty * count
        result: Array = features.T @ np.linalg.solve(gram, wanted)
        return result
    gram = features.T @ features
    gram[np.diag_indices(size)] += penalty * count
    solved: Array = np.linalg.solve(gram, features.T @ wanted)
    return solved
