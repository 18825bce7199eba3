"""Which examples a step sees, and how they are changed before it does.

With privacy, each example takes part by a coin of its own, from the kernel's randomness: the
accounting holds for this and nothing else. Without, examples are shuffled by a seed, so that two
runs can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cloister.cleanroom.description import Augment
from cloister.cleanroom.engine.noise import generator

__all__ = ["Shuffled", "poisson", "targets_of", "varied"]

Rows = np.ndarray[Any, np.dtype[np.intp]]
Floats = np.ndarray[Any, np.dtype[np.float32]]


def poisson(examples: int, rate: float, seed: bytes) -> Rows:
    """Return which of the examples take part.

    Args:
        examples: How many there are.
        rate: With which probability each takes part.
        seed: Secret bytes, for this draw alone.
    """
    return np.flatnonzero(generator(seed).random(examples) < rate)


@dataclass(slots=True)
class Shuffled:
    """One batch after the other from a shuffled order, which is made anew when it is used up."""

    batch: int
    source: np.random.Generator
    order: Rows
    place: int = 0

    def draw(self, examples: int) -> Rows:
        """Return the next rows; fewer than a batch only where there are fewer examples."""
        batch = min(self.batch, examples)
        if len(self.order) != examples or self.place + batch > examples:
            self.order, self.place = self.source.permutation(examples), 0
        taken = self.order[self.place : self.place + batch]
        self.place += batch
        return taken


def varied(x: Floats, augment: Augment, source: np.random.Generator) -> Floats:
    """Return images that are moved and mirrored, each by numbers of its own."""
    count, rows, columns, _ = x.shape
    if augment.pad:
        edge = (augment.pad, augment.pad)
        padded = np.pad(x, ((0, 0), edge, edge, (0, 0)))
        down, right = source.integers(0, 2 * augment.pad + 1, (2, count, 1))
        places = (down + np.arange(rows))[:, :, None], (right + np.arange(columns))[:, None, :]
        x = padded[np.arange(count)[:, None, None], *places]
    if augment.flip:
        mirrored = source.integers(0, 2, count) == 1
        x = np.where(mirrored[:, None, None, None], x[:, :, ::-1], x)
    return x


def targets_of(labels: Any, classes: int) -> Floats:
    """Return for each label a row of zeros and a one.

    Raises:
        ValueError: They are no labels of this many classes.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels have the shape {labels.shape} and the type {labels.dtype}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"a label is not one of {classes} classes")
    rows = np.zeros((len(labels), classes), np.float32)
    rows[np.arange(len(labels)), labels.astype(np.intp)] = 1
    return rows
