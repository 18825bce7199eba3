"""What a trainer lets a recipe see, and what it lets out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.description import ModelDescription, parameters
from cloister.cleanroom.learning import Learner, bounded
from cloister.cleanroom.plan import plan_bytes
from cloister.cleanroom.questions import Plan
from cloister.cleanroom.records import Records
from cloister.cleanroom.schedule import Schedule
from cloister.errors import MalformedError, UnavailableError
from cloister.testing.cleanroom import sample_terms

X = np.random.default_rng(1).random((60, 8, 8), np.float32)
Y = np.arange(60, dtype=np.int32) % 10
SCHEDULE = Schedule(tick_ms=10, prepare_ticks=1, round_ticks=3, rounds=1, closing_ticks=1)


def model(shape: tuple[int, ...]) -> ModelDescription:
    """Return the description of a small model."""
    inputs = ["input"]
    flat = [{"kind": "flatten", "name": "flat", "inputs": ["input"]}] if len(shape) > 1 else []
    layers = [*flat, {"kind": "dense", "name": "out", "inputs": inputs, "units": 10}]
    if flat:
        layers[-1] = {"kind": "dense", "name": "out", "inputs": ["flat"], "units": 10}
    return ModelDescription.from_fields(
        {
            "version": 1,
            "input_shape": list(shape),
            "classes": 10,
            "layers": layers,
            "optimizer": {"kind": "sgd", "rate": 0.1},
            "batch": 32,
        }
    )


class Recipe:
    """Notes what it is shown, and wants one model."""

    def __init__(self, wanted: ModelDescription) -> None:
        self.wanted = wanted
        self.shown: list[int] = []
        self.asked = 0

    def build(self, spec: Any, x: Any, y: Any, *, by_recipe: bool, most_bytes: int) -> Plan:
        """Want it."""
        assert most_bytes == 65536 + 4 * 100_000
        assert not by_recipe
        assert spec["classes"] == 10
        assert len(x) == len(y)
        self.shown.append(len(x))
        return Plan(self.wanted, None, {})

    def features(self, state: Any, x: Any, *, shape: tuple[int, ...]) -> Any:
        """Take half of each record."""
        assert not state
        self.asked += 1
        return np.ascontiguousarray(x.reshape(len(x), -1)[:, : shape[0]])


class Exchange:
    """One round, and then the end."""

    def __init__(self) -> None:
        self.tick = 1
        self.flat: Any = None
        self.plan = b""
        self.pushed: list[Any] = []
        self.told: list[Any] = []

    def publish_plan(self, plan: bytes, initial: Any) -> None:
        """Take the first parameters."""
        assert plan
        self.flat = initial

    def await_plan(self, timeout_s: float) -> bytes:
        """Give the plan that there was before."""
        assert timeout_s > 0
        return self.plan

    def await_tick(self, tick: int) -> bool:
        """Be there."""
        return tick <= 1

    def pull(self, *, newer_than: int = -1, timeout_s: float = 0) -> tuple[int, Any]:
        """Give the first parameters."""
        assert newer_than < 0 or timeout_s >= 0
        if self.flat is None:
            raise UnavailableError("none yet", code="server.unreachable")
        return 0, self.flat

    def push(self, difference: Any, based_on: int) -> bool:
        """Take a difference."""
        assert based_on == 0
        self.pushed.append(difference)
        return True

    def metrics(self, number: int, values: Any) -> None:
        """Take numbers."""
        self.told.append((number, dict(values)))


def learn(recipe: Recipe, *, before: Exchange | None = None, **changes: str) -> Exchange:
    """Be a trainer for one round."""
    exchange = before or Exchange()
    terms = sample_terms(**changes)
    Learner(
        terms=terms,
        room=bytes(32),
        index=0,
        schedule=SCHEDULE,
        exchange=exchange,  # type: ignore[arg-type]  # as much of one as is used
        records=Records(X, Y),
        preparation_s=lambda: 1.0,
    ).learn(recipe)  # type: ignore[arg-type]  # the same
    return exchange


@pytest.mark.frameworks("tensorflow")
def test_without_privacy_a_recipe_sees_records_and_planted_ones() -> None:
    """All but those held out, and it makes the features of all."""
    recipe = Recipe(model((32,)))
    exchange = learn(recipe, privacy="none")
    assert recipe.shown == [54 + 10]
    assert recipe.asked >= 2
    assert len(exchange.pushed) == 1


@pytest.mark.spec("TR-73")
@pytest.mark.frameworks("tensorflow", "dp_accounting")
def test_with_privacy_a_recipe_sees_no_record() -> None:
    """Neither to choose a model nor to make features; the model takes records as they are."""
    privacy = '{clip: "1", noise_multiplier: "4", delta: "0.001", epsilon_max: "1000"}'
    recipe = Recipe(model((8, 8)))
    exchange = learn(recipe, privacy=privacy)
    assert recipe.shown == [0]
    assert recipe.asked == 0
    assert len(exchange.pushed) == 1
    with pytest.raises(MalformedError) as caught:
        learn(Recipe(model((32,))), privacy=privacy)
    assert caught.value.code == "recipe.malformed"


@pytest.mark.frameworks("tensorflow")
def test_a_trainer_that_is_started_again_keeps_to_the_plan() -> None:
    """Its recipe is not asked for another: the others train the first one's model."""
    before = Exchange()
    wanted = model((32,))
    before.plan = plan_bytes(Plan(wanted, None, {}))
    before.flat = np.zeros(parameters(wanted), np.float32)
    recipe = Recipe(model((16,)))
    learn(recipe, before=before, privacy="none")
    assert recipe.shown == []
    assert before.pushed[0].shape == before.flat.shape


class Waiting(Exchange):
    """Three rounds, of which the first difference has to wait: the one before it is on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = np.zeros(4, np.float32)
        self.offered = 0

    def await_tick(self, tick: int) -> bool:
        """Be there, at the tick that is asked for."""
        self.tick = tick
        return tick < 10

    def push(self, difference: Any, based_on: int) -> bool:
        """Take what is offered, but not at first."""
        self.offered += 1
        return self.offered > 1 and super().push(difference, based_on)


def test_what_waited_and_was_sent_is_built_on() -> None:
    """Where parameters are not pulled in each round, the next step begins behind all of them."""
    exchange = Waiting()
    terms = sample_terms(mode="bounded-stale", privacy="none")
    training = dataclasses.replace(terms.training, rounds=3, pull_every=3)
    learner = Learner(
        terms=dataclasses.replace(terms, training=training),
        room=bytes(32),
        index=0,
        schedule=dataclasses.replace(SCHEDULE, rounds=3),
        exchange=exchange,
        records=Records(X, Y),
        preparation_s=lambda: 1.0,
    )
    began: list[Any] = []

    def step(flat: Any, number: int) -> Any:
        began.append(flat.copy())
        return np.full(4, number + 1, np.float32)

    learner._rounds(step)
    assert [flat[0] for flat in began] == [0, 1, 3]
    assert [difference[0] for difference in exchange.pushed] == [1, 2, 3]


def test_differences_are_cut_to_the_norm_of_the_terms() -> None:
    """And what is not finite is nothing."""
    long = np.full(100, 3, np.float32)
    assert np.linalg.norm(bounded(long, 5)) <= 5
    np.testing.assert_allclose(bounded(long, 5) * 6, long, rtol=1e-5)
    assert bounded(long, 31) is long
    for odd in (np.nan, np.inf):
        long[7] = odd
        assert not bounded(long, 5).any()
    assert not bounded(np.full(4, 3e38, np.float32), 5)[0] > 5
