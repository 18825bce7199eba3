"""Plans that can be meant, and others."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cloister.errors import ConfigError
from cloister.training.privacy.parameters import PrivacyParameters

GOOD: dict[str, Any] = {
    "examples": 1000, "batch": 100, "epochs": 3, "clip": 1.0, "delta": 1e-5, "epsilon": 2.0,
}  # fmt: skip


def test_steps_follow_from_the_plan() -> None:
    """An epoch has as many steps as batches of the average size fit the examples."""
    plan = PrivacyParameters(**GOOD)
    assert (plan.rate, plan.steps_per_epoch, plan.steps) == (0.1, 10, 30)
    assert PrivacyParameters(**GOOD | {"batch": 300}).steps_per_epoch == 3
    assert PrivacyParameters(**GOOD | {"batch": 1000}).steps_per_epoch == 1


@pytest.mark.parametrize("name", ["examples", "batch", "epochs", "clip", "delta"])
def test_nothing_has_a_default_that_weakens(name: str) -> None:
    """What decides the promise has to be said."""
    with pytest.raises(TypeError):
        PrivacyParameters(**{key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(
    "changed",
    [
        {"examples": 0}, {"examples": 1.5}, {"examples": True}, {"batch": 0}, {"batch": 1001},
        {"epochs": 0}, {"epochs": 2**33}, {"microbatch": 0}, {"clip": 0}, {"clip": -1.0},
        {"clip": math.inf}, {"clip": math.nan}, {"clip": "1"}, {"clip": 1e7}, {"delta": 0},
        {"delta": 1e-3}, {"delta": 1.0}, {"delta": math.nan}, {"epsilon": 0}, {"epsilon": math.inf},
        {"epsilon": None}, {"noise_multiplier": 1.0}, {"epsilon": None, "noise_multiplier": 0.01},
        {"epsilon": None, "noise_multiplier": math.nan}, {"show_metrics": "no"},
        {"epsilon": math.nan},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(changed: dict[str, Any]) -> None:
    """Numbers out of range, a delta that lets one example be published, no promise or two."""
    with pytest.raises(ConfigError) as caught:
        PrivacyParameters(**GOOD | changed)
    assert caught.value.code == "config.value"
