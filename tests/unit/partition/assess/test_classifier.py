"""The small classifier learns what is there, also where no line parts it, and nothing where not."""

from __future__ import annotations

import numpy as np
import pytest

from cloister.partition.assess.classifier import Classifier


def _share(numbers: np.ndarray, classes: np.ndarray, split: int) -> float:
    made = Classifier(numbers[:split], classes[:split], seed=1)
    told = made.classes[made.scores(numbers[split:]).argmax(axis=1)]
    return float((told == classes[split:]).mean())


@pytest.mark.parametrize("size", [20, 700])
def test_a_plane_is_learnt(size: int) -> None:
    """Classes parted by a plane, in few numbers and in more than are projected."""
    random = np.random.default_rng(0)
    numbers = random.standard_normal((900, size))
    classes = (numbers[:, :5].sum(axis=1) > 0).astype(int) * 3 + 4
    assert _share(numbers, classes, 700) > (0.85 if size == 20 else 0.6)


def test_what_no_plane_parts_is_learnt() -> None:
    """Inside and outside of a circle."""
    random = np.random.default_rng(0)
    numbers = random.standard_normal((900, 2))
    classes = ((numbers**2).sum(axis=1) > 1.4).astype(int)
    assert _share(numbers, classes, 700) > 0.9


def test_noise_is_not() -> None:
    """Classes that have nothing to do with the numbers are told as by chance."""
    random = np.random.default_rng(0)
    assert (
        0.35 < _share(random.standard_normal((900, 30)), random.integers(2, size=900), 600) < 0.65
    )


def test_a_number_that_never_changes_harms_nothing() -> None:
    """A constant column does not divide by zero."""
    random = np.random.default_rng(0)
    numbers = np.concatenate([np.ones((200, 1)), random.standard_normal((200, 3))], axis=1)
    assert _share(numbers, (numbers[:, 1] > 0).astype(int), 150) > 0.85


def test_scale_hides_nothing() -> None:
    """Tiny and huge numbers are told as well as plain ones."""
    random = np.random.default_rng(0)
    numbers = random.standard_normal((900, 4))
    classes = (numbers[:, 0] + numbers[:, 1] > 0).astype(int)
    for scale in (1e-30, 1e30):
        assert _share((numbers * scale).astype(np.float32), classes, 700) > 0.9
