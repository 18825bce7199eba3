"""Answers that are right or wrong: the surest tenth, the interval, the area under a curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cloister.partition.assess.judged import area, judged
from cloister.partition.report import Measure


def _judged(right: Any, sure: Any) -> Measure:
    return judged(
        np.asarray(right),
        np.asarray(sure),
        attack="membership",
        knows="representation",
        metric="accuracy",
        steps=7,
        complete=True,
        seed=3,
    )


def test_the_surest_tenth_is_the_worst() -> None:
    """Right wherever it is sure and wrong elsewhere: 1 for the worst tenth, 0.1 on average."""
    right = np.zeros(200)
    right[50:70] = 1
    sure = np.where(right == 1, 5.0, 1.0) + np.linspace(0, 0.1, 200)
    found = _judged(right, sure)
    assert found.worst_decile == 1.0
    assert found.mean == pytest.approx(0.1)
    assert found.low < 1.0 <= found.high
    assert (found.examples, found.steps, found.complete) == (200, 7, True)


def test_being_sure_of_what_is_wrong_is_no_leak() -> None:
    """Sure and wrong gives a worst tenth below the mean: the order is the attacker's own."""
    right = np.repeat([0, 1], [100, 100])
    found = _judged(right, np.linspace(1, 0, 200))
    assert found.worst_decile == 0.0
    assert found.mean == 0.5


def test_the_same_seed_gives_the_same_interval() -> None:
    """The bootstrap is drawn by the seed alone."""
    random = np.random.default_rng(0)
    right, sure = random.integers(2, size=90), random.random(90)
    assert _judged(right, sure) == _judged(right, sure)


def test_one_answer_is_enough() -> None:
    """A single example has a measure."""
    found = _judged([1], [0.3])
    assert (found.worst_decile, found.low, found.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("scores", "truth", "wanted"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0),
        ([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 1], 0.5),
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),
    ],
)
def test_area(scores: list[float], truth: list[int], wanted: float) -> None:
    """The probability that a true one scores above a false one; ties are half."""
    assert area(np.asarray(scores), np.asarray(truth)) == pytest.approx(wanted)
