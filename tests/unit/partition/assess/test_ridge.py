"""Decoders in closed form, and the features that they read."""

from __future__ import annotations

import numpy as np
import pytest

from cloister.partition.assess.features import Standard, flat, shaped
from cloister.partition.assess.ridge import fit


def test_a_rotation_of_all_pixels_is_undone() -> None:
    random = np.random.default_rng(1)
    images = random.random((300, 64))
    numbers = images @ np.linalg.qr(random.standard_normal((64, 64)))[0]
    ridge = fit(numbers[:200], images[:200], apart=(numbers[200:250], images[200:250]))
    assert ridge(numbers[250:]) == pytest.approx(images[250:], abs=1e-3)


def test_a_picture_of_few_numbers_is_read_though_it_is_no_straight_line() -> None:
    random = np.random.default_rng(2)
    angles = random.uniform(0, 6, (400, 1))
    images = np.cos(angles * np.arange(1, 5))
    ridge = fit(angles[:300], images[:300], apart=(angles[300:350], images[300:350]))
    assert np.mean((ridge(angles[350:]) - images[350:]) ** 2) < 0.01
    assert ridge.width is not None


def test_of_noise_the_mean_is_made() -> None:
    random = np.random.default_rng(3)
    images = random.random((300, 16))
    numbers = random.standard_normal((300, 30))
    ridge = fit(numbers[:200], images[:200], apart=(numbers[200:250], images[200:250]))
    made = ridge(numbers[250:])
    assert np.mean((made - images[250:]) ** 2) < 1.1 * np.var(images)


def test_features_leave_nothing_out() -> None:
    tensors = [
        np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3),
        np.arange(2 * 9 * 5).reshape(2, 9, 5),
        np.arange(2 * 10 * 5).reshape(2, 10, 5),
        np.arange(2 * 7 * 5).reshape(2, 7, 5),
        np.arange(2 * 6).reshape(2, 6),
    ]
    made = shaped(tensors)
    assert [t.shape[1:] for t in made] == [(4, 4, 3), (3, 3, 5), (3, 3, 5), (5,), (35,), (6,)]
    assert flat(made).shape == (2, sum(t[0].size for t in tensors))
    assert sorted(flat(made)[1]) == sorted(flat(tensors)[1])


def test_features_are_scaled_as_the_adversarys_own_set_has_them() -> None:
    random = np.random.default_rng(4)
    mine = [5 + 3 * random.standard_normal((500, 4, 4, 2)), np.ones((500, 3))]
    standard = Standard(mine)
    grid, constant = standard(mine)
    assert grid.mean(axis=(0, 1, 2)) == pytest.approx(np.zeros(2), abs=1e-5)
    assert grid.std(axis=(0, 1, 2)) == pytest.approx(np.ones(2), abs=1e-5)
    assert np.all(constant == 0)
    theirs = standard([np.full((1, 4, 4, 2), 8.0), np.ones((1, 3))])[0]
    assert theirs == pytest.approx(np.ones((1, 4, 4, 2)), abs=0.1)
