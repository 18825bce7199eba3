from __future__ import annotations

from typing import Any

import pytest

from cloister.cleanroom.engine.network import network_of
from cloister.cleanroom.engine.privacy import Privacy, require_separate
from cloister.errors import ConfigError
from cloister.training.privacy.accounting import epsilon_of
from unit.cleanroom.engine.networks import everything, mixing

pytest.importorskip("dp_accounting")


def plan(**changed: Any) -> Privacy:
    values: dict[str, Any] = {
        "examples": 1000, "batch": 100, "clip": 1.0, "noise_multiplier": 2.0, "delta": 1e-4,
        "epsilon_max": 3.0, "steps": 50,
    }  # fmt: skip
    return Privacy(**values | changed)


def test_a_statement_counts_the_steps_that_were_done() -> None:
    statement = plan().statement(20)
    assert statement.mechanisms == (plan().mechanism(20),)
    assert statement.epsilon == epsilon_of([plan().mechanism(20)], delta=1e-4)
    statement.verify()
    assert plan().statement(0).epsilon == 0


@pytest.mark.parametrize(
    "changed", [{"steps": 5000}, {"epsilon_max": 0.5}, {"noise_multiplier": 0.5}, {"batch": 900}]
)
def test_a_plan_that_costs_more_than_is_agreed_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="is agreed") as caught:
        plan(**changed)
    assert caught.value.code == "privacy.refused"


@pytest.mark.parametrize(
    "changed",
    [
        {"examples": 0}, {"batch": 1001}, {"clip": 0}, {"noise_multiplier": 0.0}, {"delta": 0.01},
        {"steps": 0}, {"steps": True}, {"epsilon_max": 0}, {"epsilon_max": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_numbers_that_cannot_be_meant_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(**changed)
    assert caught.value.code == "config.value"


def test_layers_that_mix_examples_are_refused() -> None:
    require_separate(network_of(everything()))
    with pytest.raises(ConfigError, match="batch_norm") as caught:
        require_separate(network_of(mixing()))
    assert caught.value.code == "privacy.refused"
