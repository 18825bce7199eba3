"""Crossing tensors as decoders see them: whole, finite, on a scale where every number counts."""

from __future__ import annotations

import numpy as np
import pytest

from cloister.partition.assess.features import Standard, divisors, finite, flat, shaped

RANDOM = np.random.default_rng(4)
PLAIN = RANDOM.standard_normal((500, 4, 4, 2)).astype(np.float32)


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


def test_digits_that_float32_has_not_are_kept() -> None:
    """Of doubles and of large whole numbers, which differ where float32 says they are equal."""
    whole = np.array([[2**40], [2**40 + 1]])
    for tensor in (whole, np.array([[1.0], [1.0 + 1e-12]]), np.array([[1e-60], [2e-60]])):
        (made,) = shaped([tensor])
        assert Standard([made])([made])[0].ravel() == pytest.approx([-1.0, 1.0])
    assert shaped([np.zeros((2, 3), np.int8)])[0].dtype == np.float32


def test_features_are_scaled_as_the_adversarys_own_set_has_them() -> None:
    mine = [5 + 3 * RANDOM.standard_normal((500, 4, 4, 2)), np.ones((500, 3))]
    standard = Standard(mine)
    grid, constant = standard(mine)
    assert grid.mean(axis=(0, 1, 2)) == pytest.approx(np.zeros(2), abs=1e-5)
    assert grid.std(axis=(0, 1, 2)) == pytest.approx(np.ones(2), abs=1e-5)
    assert np.all(constant == 0)
    theirs = standard([np.full((1, 4, 4, 2), 8.0), np.ones((1, 3))])[0]
    assert theirs == pytest.approx(np.ones((1, 4, 4, 2)), abs=0.1)


@pytest.mark.parametrize("scale", [1e-37, 1e-12, 1e-7, 1e6, 1e37])
def test_scale_is_taken_off_whatever_it_is(scale: float) -> None:
    """Squares of such numbers vanish or overflow in their own precision."""
    (plain,) = Standard([PLAIN])([PLAIN])
    scaled = PLAIN * np.float32(scale)
    (made,) = Standard([scaled])([scaled])
    assert made == pytest.approx(plain, abs=1e-4)
    assert 1 / divisors(scaled, least=0.3) * scale == pytest.approx(
        1 / divisors(PLAIN, least=0.3), rel=1e-4
    )


def test_channels_and_places_have_scales_of_their_own() -> None:
    """What varies a billionth of its neighbours counts beside them, where it lies far off too."""
    by = np.ones((4, 4, 2), np.float64)
    by[..., 1] = 1e-20
    by[2:, :, 0] = 1e-9
    scaled = PLAIN * by
    scaled[:, 3, 3, 0] += 0.5
    (made,) = Standard([scaled])([scaled])
    assert made[..., 1].std() == pytest.approx(1, abs=1e-4)
    assert made[:, 2:, :, 0].std(axis=0) == pytest.approx(np.full((2, 4), 0.1), rel=1e-3)
    for place in ((0, 0, 0), (2, 2, 0), (3, 3, 0), (2, 2, 1)):
        seen = made[(slice(None), *place)]
        assert np.corrcoef(seen, PLAIN[(slice(None), *place)])[0, 1] > 0.999
    weights = 1 / divisors(scaled, least=0.3)
    assert (scaled.std(axis=0) * weights).min() > 0.29


def test_what_varies_little_stays_as_it_is_to_a_tenth() -> None:
    """Between a tenth of a channel's deviation and all of it, no number is moved."""
    by = np.array([1.0, 0.12, 0.5, 1.0], np.float32)[:, None, None]
    tensor = PLAIN * by
    channel = tensor.std(axis=(0, 1, 2))
    (made,) = Standard([tensor])([tensor])
    assert made == pytest.approx((tensor - tensor.mean(axis=(0, 1, 2))) / channel, abs=1e-5)


def test_a_number_that_never_moved_says_nothing_alone() -> None:
    """In other images it may be anywhere; decoders do not become decoders of that number."""
    mine = PLAIN.copy()
    mine[:, 0, 0, 0] = 7
    standard = Standard([mine])
    assert np.isfinite(standard([mine])[0]).all()
    nearly = mine.copy()
    nearly[0, 0, 0, 0] = 7.000001
    theirs = mine.copy()
    theirs[:, 0, 0, 0] = 1e6
    far = Standard([nearly])([theirs])[0]
    assert np.abs(far).max() <= 4 * np.abs(Standard([nearly])([nearly])[0]).max() + 1e-6


def test_parts_are_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many examples are looked at together."""
    whole, weights = Standard([PLAIN])([PLAIN])[0], divisors(PLAIN, least=0.1)
    monkeypatch.setattr("cloister.partition.assess.features._AT_ONCE", 33)
    assert Standard([PLAIN])([PLAIN])[0] == pytest.approx(whole, abs=1e-6)
    assert divisors(PLAIN, least=0.1) == pytest.approx(weights)


def test_what_is_the_same_everywhere_is_divided_by_one() -> None:
    assert np.array_equal(divisors(np.full((9, 3), 0.1, np.float32), least=0.1), np.ones(3))


def test_what_is_not_finite_does_not_hide_the_rest() -> None:
    """Infinities become the ends of what else there is, and it is said that they were there."""
    tensor = PLAIN.copy()
    tensor[0, 0, 0, 0], tensor[1, 0, 0, 0], tensor[2, 0, 0, 0] = np.inf, -np.inf, np.nan
    made = finite([tensor, PLAIN])
    assert not made.finite
    kept = np.isfinite(tensor)
    assert np.array_equal(made.tensors[0][kept], tensor[kept])
    assert made.tensors[0][0, 0, 0, 0] == tensor[kept].max()
    assert made.tensors[0][1, 0, 0, 0] == tensor[kept].min()
    assert made.tensors[0][2, 0, 0, 0] == 0
    nothing = finite([np.full((2, 2), np.nan), np.array([[np.inf], [0.0]])])
    assert [t.ravel().tolist() for t in nothing.tensors] == [[0, 0, 0, 0], [1, 0]]
    assert finite([PLAIN, np.zeros((2, 2), np.int32)]).finite


@pytest.mark.parametrize("shape", [(500, 4, 4, 2), (500, 32)])
@pytest.mark.parametrize("far", [1e3, 1e38])
def test_a_few_that_are_far_off_do_not_hide_the_others(shape: tuple[int, ...], far: float) -> None:
    """A tenth of the numbers is huge, and the others would be one and the same beside them."""
    plain = PLAIN.reshape(shape)
    huge = RANDOM.random(shape) < 0.1
    tensor = np.where(huge, np.float32(far), plain)
    (made,) = Standard([tensor])([tensor])
    assert np.corrcoef(made[~huge], plain[~huge])[0, 1] > 0.95
    assert made[huge].min() > made[~huge].max() - 0.1
    assert 0.5 < made[~huge].std() < 1.5
    other = np.where(huge, np.float32(far), -plain)
    assert np.corrcoef(Standard([tensor])([other])[0][~huge], -plain[~huge])[0, 1] > 0.95


def test_what_is_mostly_nothing_keeps_its_size() -> None:
    """Rectified numbers, of which most are 0 and few are close to it, are no such case."""
    sparse = np.maximum(PLAIN - 1, 0)
    scaled = (sparse - sparse.mean(axis=(0, 1, 2))) / sparse.std(axis=(0, 1, 2))
    assert Standard([sparse])([sparse])[0] == pytest.approx(scaled, rel=1e-3, abs=1e-4)
