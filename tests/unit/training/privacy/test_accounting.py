"""What steps cost, and the noise that keeps a promise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.errors import ConfigError
from cloister.training.privacy.accounting import (
    Mechanism,
    epsilon_of,
    mechanism_of,
    steps_within,
)
from cloister.training.privacy.parameters import PrivacyParameters

pytestmark = pytest.mark.frameworks("dp_accounting")
DELTA = 1e-5
PLAN = PrivacyParameters(examples=1000, batch=100, epochs=4, clip=1.0, delta=DELTA, epsilon=2.0)
STEP = Mechanism(examples=1000, batch=100, clip=1.0, noise_multiplier=1.5, steps=1)


def gaussian_delta(epsilon: float, noise: float) -> float:
    """Return the delta of one Gaussian mechanism, in closed form (Balle and Wang, 2018)."""

    def normal(value: float) -> float:
        return 0.5 * math.erfc(-value / math.sqrt(2))

    half, other = 1 / (2 * noise), epsilon * noise
    return normal(half - other) - math.exp(epsilon) * normal(-half - other)


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (4.0, 1), (8.0, 16)])
def test_without_sampling_it_is_the_gaussian_mechanism(noise: float, steps: int) -> None:
    """Steps of the whole data are one with less noise, whose curve is known exactly."""
    whole = replace(STEP, batch=1000, noise_multiplier=noise, steps=steps)
    epsilon = epsilon_of([whole], delta=DELTA)
    single = noise / math.sqrt(steps)
    assert gaussian_delta(epsilon, single) <= DELTA
    assert gaussian_delta(epsilon * 0.99, single) > DELTA


def test_nothing_costs_nothing() -> None:
    """No step has an epsilon of zero."""
    assert epsilon_of([], delta=DELTA) == 0
    assert epsilon_of([replace(STEP, steps=0)], delta=DELTA) == 0


@settings(max_examples=8)
@given(st.integers(1, 400), st.floats(0.8, 5), st.integers(10, 500))
def test_cost_grows_with_steps_and_rate_and_shrinks_with_noise(
    steps: int, noise: float, batch: int
) -> None:
    """Each of the three moves epsilon the way that it must."""
    some = replace(STEP, batch=batch, noise_multiplier=noise, steps=steps)
    cost = cost_of(some)
    assert 0 <= cost <= cost_of(replace(some, steps=steps + 100))
    assert cost <= cost_of(replace(some, batch=2 * batch))
    assert cost >= cost_of(replace(some, noise_multiplier=noise + 1))


def cost_of(mechanism: Mechanism) -> float:
    """Epsilon, endless where it is refused for having no bound that means anything."""
    try:
        return epsilon_of([mechanism], delta=DELTA)
    except ConfigError as e:
        if "no bound on epsilon" not in str(e):
            raise
        return math.inf


def test_several_trainings_compose() -> None:
    """The same mechanism in two parts costs what it costs in one; another adds to it."""
    whole = epsilon_of([replace(STEP, steps=50)], delta=DELTA)
    parts = [replace(STEP, steps=20), replace(STEP, steps=30)]
    assert epsilon_of(parts, delta=DELTA) == pytest.approx(whole, rel=1e-3)
    other = replace(STEP, noise_multiplier=3.0, steps=10)
    assert epsilon_of([*parts, other], delta=DELTA) > whole


@pytest.mark.parametrize("epsilon", [0.1, 2.0, 20.0])
def test_the_noise_is_the_least_that_keeps_the_promise(epsilon: float) -> None:
    """A little less would break it."""
    plan = replace(PLAN, epsilon=epsilon)
    planned = mechanism_of(plan)
    assert planned.steps == plan.steps
    assert epsilon_of([planned], delta=DELTA) <= epsilon
    less = replace(planned, noise_multiplier=planned.noise_multiplier * 0.995)
    assert epsilon_of([less], delta=DELTA) > epsilon


def test_what_was_spent_before_leaves_less() -> None:
    """Earlier trainings count towards the promise; where nothing is left, no noise keeps it."""
    before = replace(STEP, steps=10)
    spent = epsilon_of([before], delta=DELTA)
    planned = mechanism_of(PLAN, [before])
    assert planned.noise_multiplier > mechanism_of(PLAN).noise_multiplier
    assert epsilon_of([before, planned], delta=DELTA) <= 2.0
    with pytest.raises(ConfigError, match="no noise keeps") as caught:
        mechanism_of(replace(PLAN, epsilon=spent * 0.9), [before])
    assert caught.value.code == "config.value"


def test_noise_that_is_given_is_kept() -> None:
    """Without a promise the plan's noise stands."""
    assert mechanism_of(replace(PLAN, epsilon=None, noise_multiplier=2.5)).noise_multiplier == 2.5


def test_steps_within_a_budget_are_the_most_that_fit() -> None:
    """One more would cost too much."""
    plan = replace(STEP, steps=100)
    steps = steps_within(plan, [], epsilon=1.5, delta=DELTA)
    assert 0 < steps < 100
    assert epsilon_of([replace(plan, steps=steps)], delta=DELTA) <= 1.5
    assert epsilon_of([replace(plan, steps=steps + 1)], delta=DELTA) > 1.5
    assert steps_within(plan, [], epsilon=50, delta=DELTA) == 100
    assert steps_within(plan, [plan], epsilon=1.5, delta=DELTA) == 0
