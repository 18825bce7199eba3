"""Whether a principal's queries look like records, or like somebody copying the model. Pure.

After PRADA (Juuti, Szyller, Marchal, Asokan, 2019). Records that come from the world lie at
distances from those before them that are spread like a bell. Queries that are made to learn a
model, by changing others a little or by walking along its borders, pile up at few distances. How
much like a bell the distances are is one number, the statistic of Shapiro and Francia: the squared
correlation of the sorted distances with what as many draws of a normal distribution are expected
to be.

It is a signal and no proof: a copier who mixes in enough natural records, or comes under many
names, is not noticed, and a principal who asks the same again and again is.

Spec: cleanroom-query-v1, clauses CQ-40 to CQ-46.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST", "MOST", "Watch", "bell"]

LEAST: Final = 100
"""Distances before anything is said."""
MOST: Final = 500
"""The last so many distances of a principal count."""

_KEPT: Final = 1024  # records kept for a principal, to compare others with
_NUMBERS: Final = 1024  # of a record; longer ones are folded
_OUTLIER: Final = 3.0  # standard deviations

Floats = npt.NDArray[np.float64]


def bell(distances: npt.ArrayLike) -> float:
    """Return how normally numbers are distributed: 1 for a bell, towards 0 for anything else.

    Those further than three standard deviations from the mean are left out first. Numbers that are
    all the same, or fewer than three, are no bell: 0.
    """
    values: Floats = np.sort(np.asarray(distances, np.float64))
    values = _without_outliers(values)
    if len(values) < 3 or values[-1] - values[0] <= 1e-12 * abs(values[-1]):  # noqa: PLR2004  # no bell
        return 0.0
    expected = _expected(len(values))
    centred = values - values.mean()
    product = float(expected @ centred)
    return min(1.0, product * product / float((expected @ expected) * (centred @ centred)))


class Watch:
    """What is remembered of one principal's queries; bounded, whatever comes."""

    def __init__(self, *, numbers: int, seed: int) -> None:
        """Begin with nothing.

        Args:
            numbers: Of a record.
            seed: Of how long records are folded; a secret, so that nobody can hide in it.
        """
        self._fold = None if numbers <= _NUMBERS else _Fold(numbers, seed)
        self._kept = _Kept(min(numbers, _NUMBERS))
        self._thresholds: dict[int, float] = {}
        self._distances: deque[float] = deque(maxlen=MOST)
        self._of_label: dict[int, deque[float]] = {}

    def see(self, record: npt.NDArray[Any], label: int) -> float:
        """Take a query that is answered; return the signal: 1 until there are enough to say.

        Args:
            record: Of the query.
            label: What the model says that it is.
        """
        point = np.asarray(record, np.float64).reshape(-1)
        if self._fold is not None:
            point = self._fold(point)
        nearest = self._kept.nearest(point, label)
        if nearest is None:
            self._kept.add(point, label)
            return self.signal
        self._distances.append(nearest)
        # A record is kept where it is new: those that are made from it are not.
        among = self._of_label.setdefault(label, deque(maxlen=MOST))
        among.append(nearest)
        threshold = max(self._thresholds.get(label, 0.0), float(np.mean(among) - np.std(among)))
        self._thresholds[label] = threshold
        if nearest > threshold or len(among) == 1:
            self._kept.add(point, label)
        return self.signal

    @property
    def knows(self) -> bool:
        """Whether there are enough distances to say anything."""
        return len(self._distances) >= LEAST

    @property
    def signal(self) -> float:
        """How much like a bell the distances are."""
        return bell(self._distances) if self.knows else 1.0


class _Kept:
    """Records with their labels; the oldest make room."""

    def __init__(self, numbers: int) -> None:
        self._points: npt.NDArray[np.float32] = np.empty((0, numbers), np.float32)
        self._labels = np.full(_KEPT, -1, np.int64)
        self._count = 0

    def __len__(self) -> int:
        return min(self._count, _KEPT)

    def nearest(self, point: Floats, label: int) -> float | None:
        """Return how far the nearest of a label is; None where there is none."""
        same = self._points[self._labels[: len(self._points)] == label]
        if not len(same):
            return None
        return float(np.sqrt(np.square(same - point.astype(np.float32)).sum(1).min()))

    def add(self, point: Floats, label: int) -> None:
        """Keep one."""
        place = self._count % _KEPT
        if place >= len(self._points):  # memory is taken as it is needed
            more = np.zeros((min(max(place, 16), _KEPT - place), self._points.shape[1]), np.float32)
            self._points = np.concatenate([self._points, more])
        self._points[place], self._labels[place] = point, label
        self._count += 1


class _Fold:
    """Adds a long record's numbers up in few, with random signs: distances stay about the same."""

    def __init__(self, numbers: int, seed: int) -> None:
        generator = np.random.Generator(np.random.Philox(seed))
        self._places = generator.integers(0, _NUMBERS, numbers)
        self._signs = generator.choice(np.array([-1.0, 1.0]), numbers)

    def __call__(self, record: Floats) -> Floats:
        return np.asarray(np.bincount(self._places, self._signs * record, _NUMBERS), np.float64)


def _without_outliers(values: Floats) -> Floats:
    if not len(values):
        return values
    near: Floats = values[np.abs(values - values.mean()) <= _OUTLIER * values.std() + 1e-300]
    return near


@lru_cache(maxsize=MOST)
def _expected(count: int) -> Floats:
    """Return about what the sorted draws of a normal distribution are (Blom's scores)."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((i - 0.375) / (count + 0.25)) for i in range(1, count + 1)])
