"""Decoders in closed form, and the features that they read."""

from __future__ import annotations

import numpy as np
import pytest

from cloister.partition.assess.features import Standard, shaped
from cloister.partition.assess.ridge import fit


def test_a_rotation_of_all_pixels_is_undone() -> None:
    random = np.random.default_rng(1)
    images = random.random((300, 64))
    numbers = images @ np.linalg.qr(random.standard_normal((64, 64)))[0]
    ridge = fit(numbers[:200], images[:200], apart=(numbers[200:250], images[200:250]))
    assert ridge(numbers[250:]) == pytest.approx(images[250:], abs=1e-3)


@pytest.mark.parametrize("part", [1e-4, 1e-5, 1e-6])
def test_what_is_a_small_part_of_what_all_numbers_share_is_read(part: float) -> None:
    """Each number is the image's mean, and little more of one pixel than float32 can hold."""
    random = np.random.default_rng(1)
    images = random.integers(0, 17, (400, 64)) / 16
    crossing = (images @ (np.ones((64, 64)) / 64 + part * np.eye(64))).astype(np.float32)
    (numbers,) = Standard([crossing[:300]])([crossing])
    ridge = fit(numbers[:300], images[:300], apart=(numbers[300:350], images[300:350]))
    assert ridge(numbers[350:]) == pytest.approx(images[350:], abs=0.2 if part < 1e-5 else 0.05)


@pytest.mark.parametrize("part", [1e-7, 1e-10])
def test_of_doubles_all_digits_are_read(part: float) -> None:
    random = np.random.default_rng(1)
    images = random.random((400, 64))
    crossing = images @ (np.ones((64, 64)) / 64 + part * np.eye(64))
    (numbers,) = Standard([crossing[:300]])(shaped([crossing]))
    ridge = fit(numbers[:300], images[:300], apart=(numbers[300:350], images[300:350]))
    assert ridge(numbers[350:]) == pytest.approx(images[350:], abs=1e-3)


def test_whole_numbers_are_read_to_their_last_digit() -> None:
    random = np.random.default_rng(1)
    images = random.integers(0, 17, (400, 64))
    crossing = images + 2**20 * images.sum(axis=1, keepdims=True)
    (numbers,) = Standard(shaped([crossing[:300]]))(shaped([crossing]))
    ridge = fit(numbers[:300], images[:300], apart=(numbers[300:350], images[300:350]))
    assert ridge(numbers[350:]) == pytest.approx(images[350:], abs=0.05)


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


def test_numbers_that_are_none_give_no_decoder() -> None:
    numbers = np.full((40, 3), np.nan)
    with pytest.raises(np.linalg.LinAlgError):
        fit(numbers[:30], np.ones((30, 4)), apart=(numbers[30:], np.ones((10, 4))))
