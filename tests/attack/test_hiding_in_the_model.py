"""A recipe that puts records into the model: canaries measure it, and privacy bounds it.

The trusted trainer and its engine are the real ones; server and cell are played. The labels have
nothing to do with the records, so that all that a model can learn of them is by heart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.canaries import BY_CHANCE
from cloister.cleanroom.description import ModelDescription, parameters
from cloister.cleanroom.learning import Learner
from cloister.cleanroom.questions import Plan
from cloister.cleanroom.records import Records
from cloister.cleanroom.schedule import Schedule
from cloister.cleanroom.terms import PrivacyTerms
from cloister.errors import UnavailableError
from cloister.testing.cleanroom import sample_terms

ROUNDS = 24
SCHEDULE = Schedule(tick_ms=10, prepare_ticks=1, round_ticks=3, rounds=ROUNDS, closing_ticks=2)
SOURCE = np.random.default_rng(11)
X = SOURCE.random((60, 8, 8), np.float32)
Y = SOURCE.integers(0, 10, 60).astype(np.int32)
GREEDY = ModelDescription.from_fields(
    {
        "version": 1,
        "input_shape": [8, 8],
        "classes": 10,
        "layers": [
            {"kind": "flatten", "name": "flat", "inputs": ["input"]},
            {"kind": "dense", "name": "wide", "inputs": ["flat"], "units": 256},
            {"kind": "activation", "name": "bent", "inputs": ["wide"], "function": "relu"},
            {"kind": "dense", "name": "out", "inputs": ["bent"], "units": 10},
        ],
        "optimizer": {"kind": "adam", "rate": 0.006},
        "batch": 8,
    }
)


class Greedy:
    """Wants a model that has room for every record, and sees what it is shown."""

    def __init__(self) -> None:
        self.shown = 0

    def build(self, spec: Any, x: Any, y: Any, *, by_recipe: bool, most_bytes: int) -> Plan:
        """Want it."""
        assert most_bytes > 0
        assert len(x) == len(y)
        assert (spec["private"], by_recipe) == (not len(x), False)
        self.shown = len(x)
        return Plan(GREEDY, None, {})

    def features(self, state: Any, x: Any, *, shape: tuple[int, ...]) -> Any:
        """Leave records as they are."""
        assert not state
        return x.reshape(len(x), *shape)


class Played:
    """An exchange whose server adds what comes, and whose time goes on by being asked."""

    def __init__(self) -> None:
        self.tick = 0
        self.flat: Any = None
        self.longest = 0.0
        self.told: dict[str, float] = {}

    def publish_plan(self, plan: bytes, initial: Any) -> None:
        """Take the first parameters."""
        assert plan
        self.flat = np.array(initial)

    def await_plan(self, timeout_s: float) -> bytes:
        """Never have another's."""
        raise AssertionError(timeout_s)

    def await_tick(self, tick: int) -> bool:
        """Be there."""
        self.tick = tick
        return True

    def pull(self, *, newer_than: int = -1, timeout_s: float = 0.0) -> tuple[int, Any]:
        """Give the parameters."""
        assert timeout_s >= 0
        if self.flat is None:
            raise UnavailableError("none yet", code="server.unreachable")
        return max(0, newer_than + 1), self.flat

    def push(self, difference: Any, based_on: int) -> bool:
        """Add a difference."""
        assert based_on >= 0
        self.flat = self.flat + difference
        self.longest = max(self.longest, float(np.linalg.norm(difference)))
        return True

    def metrics(self, number: int, values: Mapping[str, float]) -> None:
        """Keep the last."""
        assert number <= ROUNDS
        self.told.update(values)


def train(privacy: PrivacyTerms | None) -> tuple[Greedy, Played]:
    """Train on all records, and on canaries among them."""
    terms = sample_terms(privacy="none", rounds=str(ROUNDS))
    terms = dataclasses.replace(
        terms,
        privacy=privacy,
        canaries=16,
        training=dataclasses.replace(terms.training, frameworks=("torch",), batch=8),
        release=dataclasses.replace(
            terms.release, metrics=("exposure", "epsilon"), digits=3, every_rounds=ROUNDS
        ),
    )
    recipe, exchange = Greedy(), Played()
    Learner(
        terms=terms,
        room=bytes(32),
        index=0,
        schedule=SCHEDULE,
        exchange=exchange,
        records=Records(X, Y),
        preparation_s=lambda: 1.0,
    ).learn(recipe)  # type: ignore[arg-type]  # as much of one as is used
    assert exchange.flat.size == parameters(GREEDY)
    return recipe, exchange


@pytest.mark.jobs
@pytest.mark.frameworks("torch", "dp_accounting")
def test_what_a_recipe_hides_is_measured_and_with_privacy_it_is_not_there() -> None:
    """Bits of exposure: many where nothing bounds it, and those of chance where noise does."""
    recipe, open_ = train(None)
    assert recipe.shown > 0
    assert open_.told["exposure"] > BY_CHANCE + 1.7
    private = PrivacyTerms(
        clip=Decimal(1),
        noise_multiplier=Decimal(4),
        delta=Decimal("0.0001"),
        epsilon_max=Decimal(100),
    )
    recipe, bounded = train(private)
    assert recipe.shown == 0
    assert bounded.told["exposure"] < BY_CHANCE + 1.3
    assert 0 < bounded.told["epsilon"] < 100
    assert max(open_.longest, bounded.longest) <= 10  # the terms' norm
