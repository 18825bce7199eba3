"""Tables: a number is read whatever function of a pixel it is, and wherever it stands."""

from __future__ import annotations

import numpy as np
import pytest

from cloister.partition.assess import tables as module
from cloister.partition.assess.tables import MOST_VALUES, Bins, affordable, fit_tables

RANDOM = np.random.default_rng(4)
IMAGES = RANDOM.integers(0, 17, (500, 36)).astype(np.float32) / 16
ORDER = RANDOM.permutation(36)


@pytest.mark.parametrize("work", [2**36, 1])
def test_a_substitution_of_levels_is_undone(monkeypatch: pytest.MonkeyPatch, work: int) -> None:
    """However few examples the numbers are searched with."""
    monkeypatch.setattr(module, "_MOST_WORK", work)
    other = RANDOM.permutation(17).astype(np.float32)
    numbers = other[np.rint(16 * IMAGES[:, ORDER]).astype(int)]
    tables = fit_tables(numbers[:400], IMAGES[:400], Bins.of(numbers[:400]))
    assert tables(numbers[400:]) == pytest.approx(IMAGES[400:], abs=0.1)


def test_what_has_many_values_is_read_by_its_ranks() -> None:
    images = RANDOM.random((500, 36)).astype(np.float32)
    numbers = np.abs(images - 0.3)[:, ORDER] ** 5
    tables = fit_tables(numbers[:400], images[:400], Bins.of(numbers[:400]))
    # Below 0.6 a number is that of two levels, and their mean is made of it.
    high = images[400:] > 0.65
    assert np.abs(tables(numbers[400:]) - images[400:])[high].mean() < 0.03


def test_parts_are_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = IMAGES[:, ORDER] ** 2
    whole = fit_tables(numbers, IMAGES, Bins.of(numbers))
    monkeypatch.setattr(module, "_AT_ONCE", 5000)
    parts = fit_tables(numbers, IMAGES, Bins.of(numbers))
    assert np.array_equal(parts.chosen, whole.chosen)
    assert parts.means == pytest.approx(whole.means)


def test_each_of_few_values_is_a_bin() -> None:
    """Values that are in no example are the next lower one."""
    numbers = np.array([[3.0, 1.0], [-1.0, 1.0], [3.0, 1.0], [7.0, 1.0]])
    bins = Bins.of(numbers)
    assert bins.count == 3
    assert bins(numbers).tolist() == [[1, 0], [0, 0], [1, 0], [2, 0]]
    assert bins(np.array([[-5.0, 0.0], [4.0, 9.0]])).tolist() == [[0, 0], [1, 0]]
    assert bins.flags(numbers[:1]).tolist() == [[0, 1, 0, 1, 0, 0]]


def test_many_values_are_bins_of_about_as_many_examples() -> None:
    numbers = RANDOM.standard_normal((960, 1)) ** 3
    counts = np.bincount(Bins.of(numbers)(numbers)[:, 0])
    assert counts.tolist() == [30] * 32
    assert Bins.of(numbers[:MOST_VALUES]).count == MOST_VALUES


def test_of_noise_nearly_the_mean_is_made() -> None:
    numbers = RANDOM.standard_normal((500, 50)).astype(np.float32)
    tables = fit_tables(numbers[:400], IMAGES[:400], Bins.of(numbers[:400]))
    assert np.mean((tables(numbers[400:]) - IMAGES[400:]) ** 2) < 1.3 * np.var(IMAGES)


def test_what_would_take_hours_is_left_out() -> None:
    assert affordable(1024, 784)
    assert not affordable(100_000, 3 * 224 * 224)
