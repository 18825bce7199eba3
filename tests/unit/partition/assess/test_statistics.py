"""Distance correlation: where it is known, and without bias where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from cloister.partition.assess.statistics import distance_correlation, interval


def test_it_is_one_for_what_was_moved_turned_and_scaled() -> None:
    random = np.random.default_rng(1)
    x = random.standard_normal((60, 5))
    turn = np.linalg.qr(random.standard_normal((5, 5)))[0]
    assert distance_correlation(x, 3 * x @ turn + 7) == pytest.approx(1)


def test_it_is_about_nothing_for_what_is_independent_however_many_numbers_cross() -> None:
    random = np.random.default_rng(2)
    # The biased estimate would be near 1 here: there are ten times as many numbers as examples.
    x, y = random.standard_normal((100, 1000)), random.standard_normal((100, 1000))
    assert distance_correlation(x, y) < 0.2


def test_it_sees_what_a_straight_line_does_not() -> None:
    x = np.random.default_rng(3).uniform(-1, 1, (300, 1))
    assert abs(np.corrcoef(x[:, 0], x[:, 0] ** 2)[0, 1]) < 0.2
    assert distance_correlation(x, x**2) > 0.4


def test_the_centred_distances_are_those_of_the_definition() -> None:
    random = np.random.default_rng(4)
    x, y = random.random((6, 2)), random.random((6, 1))
    n = 6

    def centred(z: np.ndarray) -> np.ndarray:
        d = np.array([[np.linalg.norm(a - b) for b in z] for a in z])
        return np.array(
            [
                [
                    0.0
                    if i == j
                    else d[i, j]
                    - d[i].sum() / (n - 2)
                    - d[j].sum() / (n - 2)
                    + d.sum() / ((n - 1) * (n - 2))
                    for j in range(n)
                ]
                for i in range(n)
            ]
        )

    a, b = centred(x), centred(y)
    squared = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    assert distance_correlation(x, y) == pytest.approx(np.sqrt(max(squared, 0)))


def test_what_never_changes_depends_on_nothing() -> None:
    x = np.random.default_rng(5).random((10, 3))
    assert distance_correlation(x, np.ones((10, 2))) == 0


def test_the_interval_has_the_estimate_in_it() -> None:
    random = np.random.default_rng(6)
    x = random.standard_normal((80, 3))
    y = x + random.standard_normal((80, 3))
    low, high = interval(x, y, seed=1)
    assert low < distance_correlation(x, y) < high
    assert interval(x, y, seed=1) == (low, high)
