from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.canaries import (
    BY_CHANCE,
    MAX_CANARIES,
    REFERENCES,
    Exposure,
    Planted,
    exposure,
    exposure_tenths,
    plant,
    rank_exposure,
)
from cloister.errors import ConfigError

SUSPICIOUS = 1e-3


def records(count: int = 50, kind: str = "uint8") -> tuple[Any, Any]:
    source = np.random.default_rng(3)
    return source.integers(0, 200, (count, 4, 4, 1)).astype(kind), source.integers(0, 3, count)


def planted(**changed: Any) -> Planted:
    x, y = records()
    options: dict[str, Any] = {"count": 8, "seed": 5, "classes": 3, "apart": False}
    return plant(x, y, **options | changed)


class Remembers:
    """A model that knows some records by heart, and finds all others as likely as they are dark."""

    def __init__(self, known: Any) -> None:
        self.known = {each.tobytes() for each in known}

    def losses(self, x: Any, _y: Any) -> Any:
        light = x.reshape(len(x), -1).mean(1)
        known = [each.tobytes() in self.known for each in x]
        return np.where(known, 0, 1 + light)


@pytest.mark.spec("CT-47")
@pytest.mark.parametrize(
    ("bits", "tenths"),
    [
        (None, 0),
        (float("nan"), 0),
        (0.0, 1),
        (0.01, 1),
        (1.4, 14),
        (1.41, 15),
        (10.0, 100),
        (99.0, 100),
    ],
)
def test_a_receipt_says_tenths_of_bits_rounded_up(bits: float | None, tenths: int) -> None:
    """And nothing is 0 but what nobody measured; no number is outside of a hundred and one."""
    assert exposure_tenths(bits) == tenths


@pytest.mark.parametrize("apart", [False, True], ids=["blends", "apart"])
@pytest.mark.parametrize("kind", ["uint8", "int8", "float32"])
def test_records_stay_and_planted_ones_come_after(apart: Any, kind: str) -> None:
    x, y = records(kind=kind)
    found = plant(x, y, count=8, seed=5, classes=3, apart=apart)
    assert found.x.dtype == x.dtype
    assert found.y.dtype == y.dtype
    np.testing.assert_array_equal(found.x[:-8], x)
    np.testing.assert_array_equal(found.y[:-8], y)
    assert found.aside_x.shape == (REFERENCES, 4, 4, 1)
    assert set(found.y[-8:]) | set(found.aside_y) <= {0, 1, 2}


def test_blends_lie_between_two_records() -> None:
    x, y = records(2)
    found = plant(x, y, count=4, seed=1, classes=3, apart=False)
    low, high = x.min(0), x.max(0)
    assert ((found.x[-4:] >= low) & (found.x[-4:] <= high)).all()


def test_records_have_no_part_in_planted_ones_that_stand_apart() -> None:
    x, y = records()
    one = plant(x, y, count=8, seed=5, classes=3, apart=True)
    other = plant(255 - x[:20], 2 - y[:20], count=8, seed=5, classes=3, apart=True)
    np.testing.assert_array_equal(one.x[-8:], other.x[-8:])
    np.testing.assert_array_equal(one.y[-8:], other.y[-8:])
    np.testing.assert_array_equal(one.aside_x, other.aside_x)


def test_another_seed_plants_others() -> None:
    assert (planted().x[-8:] != planted(seed=6).x[-8:]).any()
    np.testing.assert_array_equal(planted().x, planted().x)


@pytest.mark.parametrize("count", [-1, MAX_CANARIES + 1, True, 1.0])
def test_a_count_that_cannot_be_meant_is_refused(count: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        planted(count=count)
    assert caught.value.code == "config.value"


def test_nothing_to_blend_is_refused() -> None:
    x, y = records()
    for some_x, some_y in ((x[:0], y[:0]), (x, y[:-1])):
        with pytest.raises(ConfigError):
            plant(some_x, some_y, count=1, seed=1, classes=3, apart=False)


def test_what_was_learnt_by_heart_is_seen() -> None:
    made = planted()
    found = exposure(Remembers(made.x[-8:]), made, features=None)
    assert found is not None
    assert found.mean_bits == found.most_bits == np.log2(1 + REFERENCES)
    assert found.chance < SUSPICIOUS


def test_one_that_was_learnt_by_heart_among_many_is_seen() -> None:
    made = planted()
    found = exposure(Remembers(made.x[-1:]), made, features=None)
    assert found is not None
    assert found.most_bits == np.log2(1 + REFERENCES)


def test_a_model_that_remembers_nothing_shows_what_chance_does() -> None:
    means, chances = [], []
    for seed in range(15):
        found = exposure(Remembers([]), planted(seed=seed), features=None)
        assert found is not None
        means.append(found.mean_bits)
        chances.append(found.chance)
    assert abs(np.mean(means) - BY_CHANCE) < 0.6
    assert min(chances) > SUSPICIOUS
    assert 0.25 < np.mean(chances) < 0.75


def test_nothing_planted_measures_nothing() -> None:
    assert exposure(Remembers([]), planted(count=0), features=None) is None


def test_the_model_sees_features() -> None:
    made = planted()
    seen: list[Any] = []

    class Sees:
        def losses(self, x: Any, _y: Any) -> Any:
            seen.append(x)
            return np.zeros(len(x))

    exposure(Sees(), made, features=lambda x: x / np.float32(2))
    np.testing.assert_array_equal(seen[0], made.x[-8:] / np.float32(2))
    np.testing.assert_array_equal(seen[1], made.aside_x / np.float32(2))


def test_equal_losses_stand_in_the_middle() -> None:
    found = rank_exposure(np.zeros(8), np.zeros(REFERENCES))
    assert found.mean_bits == pytest.approx(1, abs=0.01)
    assert found.chance > 0.1


def test_a_loss_that_is_no_number_is_no_exposure() -> None:
    found = rank_exposure(np.array([np.nan, np.inf]), np.arange(1023.0))
    assert found.most_bits == 0


def test_the_record_is_what_a_receipt_can_hold() -> None:
    found = Exposure(canaries=8, references=1023, mean_bits=1.444, most_bits=10.0, chance=0.5)
    assert found.record() == {
        "canaries": 8,
        "references": 1023,
        "mean_bits": "1.44",
        "most_bits": "10.00",
        "chance": "0.5000",
    }
