"""The papers' score: by hand, at its ends, and where it fails."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cloister.partition.assess.divergence import deltas, divergence, even_divergence


def test_by_hand() -> None:
    p = np.array([[0.5, 0.25, 0.25]])
    q = np.array([[[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]]])
    first = 0.5 * math.log(2) - 0.25 * math.log(2)
    assert divergence(p, q) == pytest.approx(np.array([[first, 0]]))
    even = 0.5 * math.log(1.5) + 0.5 * math.log(0.75)
    assert even_divergence(p) == pytest.approx([even])
    assert deltas(p, q) == pytest.approx([0])
    assert deltas(p, q[:, :1]) == pytest.approx([first / even])


def test_an_even_guess_scores_one() -> None:
    p = np.array([[0.9, 0.1], [0.3, 0.7]])
    assert deltas(p, np.full((2, 3, 2), 0.5)) == pytest.approx([1, 1])


def test_the_worst_map_counts() -> None:
    p = np.array([[0.9, 0.1]])
    q = np.array([[[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]]])
    assert deltas(p, q) == pytest.approx([0])


def test_being_sure_of_something_wrong_scores_more_than_knowing_nothing() -> None:
    p = np.array([[1 - 9e-6, *[1e-6] * 9]])
    wrong = np.roll(p, 1, axis=1)[:, None]
    assert even_divergence(p)[0] < math.log(10)
    assert deltas(p, wrong)[0] > 5


def test_zeros_and_certainty_are_numbers() -> None:
    p = np.array([[1.0, 0.0], [0.5, 0.5]])
    q = np.array([[[0.0, 1.0]], [[0.5, 0.5]]])
    assert np.isfinite(deltas(p, q)).all()
