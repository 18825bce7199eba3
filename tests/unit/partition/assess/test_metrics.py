"""Metrics of images: against another implementation, and at the ends of the scale."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cloister.partition.assess.metrics import (
    different,
    found,
    gain,
    mse,
    psnr,
    share_interval,
    spread,
    ssim,
)


# scikit-image 0.26, structural_similarity(gaussian_weights=True, sigma=1.5,
# use_sample_covariance=False, data_range=1, full=True), the mean of the map without its border of
# 5 pixels, on these same numbers.
@pytest.mark.parametrize(
    ("shapes", "value"),
    [
        ([(32, 24, 1)], 0.8047343415317466),
        ([(32, 24, 1), (16, 16, 3)], 0.8399594487608558),
        ([(32, 24, 1), (16, 16, 3), (11, 11, 1)], 0.8467893299498389),
    ],
)
def test_ssim_is_that_of_another_implementation(
    shapes: list[tuple[int, ...]], value: float
) -> None:
    random = np.random.default_rng(20260101)
    for shape in shapes:
        a = random.random(shape)
        b = np.clip(a + 0.2 * random.standard_normal(shape), 0, 1)
    assert ssim(b[None], a[None])[0] == pytest.approx(value, abs=1e-12)


def test_each_image_has_its_own_number() -> None:
    images = np.random.default_rng(1).random((3, 8, 8, 2))
    other = images.copy()
    other[1] = 1 - other[1]
    assert ssim(images, images) == pytest.approx(np.ones(3))
    alike = ssim(other, images)
    assert alike[[0, 2]] == pytest.approx(np.ones(2))
    assert alike[1] < 0
    assert mse(other, images)[[0, 2]] == pytest.approx(np.zeros(2))
    assert psnr(images, images) == pytest.approx(np.full(3, 100.0))
    assert psnr(np.zeros((1, 8, 8, 1)), np.full((1, 8, 8, 1), 0.1)) == pytest.approx([20.0])


def test_gain_is_the_way_from_the_mean_image_to_the_original() -> None:
    of_the_mean = np.array([0.2, 0.2, 0.2, 0.2, 1.0])
    alike = np.array([0.2, 1.0, 0.6, -1.0, 1.0])
    assert gain(alike, of_the_mean) == pytest.approx([0, 1, 0.5, -1, 0])


def test_found_is_who_is_most_like_the_own_original() -> None:
    originals = np.random.default_rng(2).random((20, 12, 12, 1))
    near = np.clip(
        originals + 0.1 * np.random.default_rng(3).standard_normal(originals.shape), 0, 1
    )
    assert found(near, originals) == pytest.approx(np.ones(20))
    assert found(near[::-1], originals) == pytest.approx(np.zeros(20))


def test_nobody_is_found_by_a_picture_that_is_the_same_for_all() -> None:
    originals = np.random.default_rng(4).random((20, 12, 12, 1))
    mean = np.broadcast_to(originals.mean(axis=0), originals.shape)
    assert found(mean, originals).sum() <= 1
    grey = np.full((10, 12, 12, 1), 0.5)
    assert found(originals[:10], grey).sum() == 0


def test_who_finds_a_copy_has_found_the_original() -> None:
    """Images that stand twice do not make an attack look as if it had failed."""
    twins = np.repeat(np.random.default_rng(4).random((10, 12, 12, 1)), 2, axis=0)
    near = np.clip(twins + 0.05 * np.random.default_rng(5).standard_normal(twins.shape), 0, 1)
    assert found(near, twins) == pytest.approx(np.ones(20))
    assert different(twins) == 10


def test_large_images_are_compared_at_a_size_that_is_affordable() -> None:
    originals = np.random.default_rng(5).random((4, 100, 70, 3))
    assert found(originals, originals) == pytest.approx(np.ones(4))


def test_the_worst_tenth_is_the_one_that_gave_away_most() -> None:
    values = np.arange(100.0)
    upper = spread(values, lower_is_worse=False, seed=1)
    assert upper.worst_decile == pytest.approx(94.5)
    assert upper.mean == pytest.approx(49.5)
    assert upper.low < 94.5 < upper.high < 99
    lower = spread(values, lower_is_worse=True, seed=1)
    assert lower.worst_decile == pytest.approx(4.5)
    assert lower.low < 4.5 < lower.high
    assert spread(values, lower_is_worse=True, seed=1) == lower


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(6)
    # Of the standard normal, the mean of the upper tenth.
    truth = 1.75498
    held = 0
    for seed in range(60):
        s = spread(random.standard_normal(300), lower_is_worse=False, seed=seed)
        held += s.low <= truth <= s.high
    # 95 % of 60 is 57; fewer than 50 would come once in a thousand times.
    assert 50 <= held <= 60


def test_nothing_found_is_zero_and_not_below() -> None:
    s = spread(np.zeros(30), lower_is_worse=False, seed=0)
    assert [math.copysign(1, v) for v in (s.worst_decile, s.low, s.high)] == [1, 1, 1]


def test_one_example_is_a_worst_tenth() -> None:
    s = spread(np.array([0.3]), lower_is_worse=False, seed=0)
    assert (s.worst_decile, s.low, s.high) == pytest.approx((0.3, 0.3, 0.3))


def test_shares_have_wilsons_interval() -> None:
    # Wilson (1927): 0 of 10 and 5 of 10, as statsmodels' proportion_confint gives them.
    assert share_interval(0.0, 10) == pytest.approx((0.0, 0.27753), abs=1e-4)
    assert share_interval(0.5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-4)
