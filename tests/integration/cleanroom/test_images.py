"""Rooms that train on images of CIFAR's shape: a small network to its accuracy, and Chiron's."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.engine import build_engine
from cloister.cleanroom.model_file import TrainedModel
from cloister.cleanroom.plan import Plan, read_plan
from integration.cleanroom.room import DIGITS, make_room

pytestmark = [pytest.mark.frameworks("torch"), pytest.mark.jobs]

EXAMPLES = DIGITS.parent
CLASSES = 10
SEEN = 800
ROUNDS = 6
STEPS = 8


@pytest.fixture(autouse=True)
def _one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainers share few processors: threads that wait for each other would take them all."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def images(count: int) -> tuple[Any, Any]:
    """Return pictures of a class each: its own faint pattern, brighter or darker, in much noise."""
    generator = np.random.default_rng(7)
    patterns = np.kron(generator.normal(0, 1, (CLASSES, 8, 8, 3)), np.ones((1, 4, 4, 1)))
    y = generator.integers(0, CLASSES, count)
    light = generator.normal(0, 12, (count, 1, 1, 1))
    x = 128 + 14 * patterns[y] + light + generator.normal(0, 40, (count, 32, 32, 3))
    return np.clip(x, 0, 255).astype(np.uint8), y


def plan_of(model: TrainedModel) -> Plan:
    """Return what the recipe wanted."""
    plan = read_plan(model.plan, by_recipe=False, most=65536)
    assert plan.model is not None
    return plan


def seen_by(plan: Plan, x: Any) -> Any:
    """Return the recipe's features."""
    found = (x.astype(np.float32) / 255 - plan.state["mean"]) * plan.state["scale"]
    return found.astype(np.float32)


def worth(plan: Plan, x: Any, y: Any, parameters: Any = None) -> float:
    """Return the accuracy on what nobody trained on: of these parameters, or of a run without room.

    The run does as many steps as each trainer, on all records.
    """
    assert plan.model is not None
    engine = build_engine(plan.model, framework="torch", seed=0, privacy=None)
    if parameters is not None:
        engine.set(parameters)
    else:
        seen = seen_by(plan, x[:SEEN])
        for _ in range(ROUNDS * STEPS):
            engine.step_from(seen, y[:SEEN])
    return float(engine.evaluate(seen_by(plan, x[SEEN:]), y[SEEN:]).accuracy)


@pytest.mark.parametrize("frameworks", [("torch",), ("torch", "jax"), ("torch",) * 4])
def test_colours_are_learned(tmp_path: Path, frameworks: Sequence[str]) -> None:
    """With 1, 2 and 4 trainers, to what the same steps reach without a room."""
    for name in frameworks:
        pytest.importorskip(name)
    x, y = images(SEEN + 400)
    count = len(frameworks)
    small = make_room(
        tmp_path,
        [(x[:SEEN][i::count], y[:SEEN][i::count]) for i in range(count)],
        recipe=EXAMPLES / "colours",
        frameworks=frameworks,
        training={
            "rounds": ROUNDS,
            "steps_per_round": STEPS,
            "parameters_max": 200_000,
            "round_ticks": 100,
        },
    )
    model = small.run()
    # A machine with other work may make a trainer late for a round; it loses that one and no more.
    assert min(each["added"] for each in model.outcome["trainers"]) >= ROUNDS - 2
    plan = plan_of(model)
    unprotected = worth(plan, x, y)
    assert unprotected > 0.7
    assert worth(plan, x, y, model.parameters) > unprotected - 0.05


def test_vgg9_takes_its_steps(tmp_path: Path) -> None:
    """Chiron's recipe: three million parameters in each message, and every round is added."""
    x, y = images(200)
    small = make_room(
        tmp_path,
        [(x, y)],
        recipe=EXAMPLES / "vgg9",
        frameworks=["torch"],
        training={
            "rounds": 2,
            "checkpoint_every": 1,
            "steps_per_round": 2,
            "batch": 16,
            "parameters_max": 3_600_000,
            "tick_ms": 500,
            "prepare_ticks": 60,
            "round_ticks": 16,
            "closing_ticks": 10,
            "norm_max": Decimal(1000),
        },
    )
    model = small.run()
    (counts,) = model.outcome["trainers"]
    assert counts["added"] == 2
    plan = plan_of(model)
    assert plan.model is not None
    kinds = [each.kind for each in plan.model.layers]
    assert (kinds.count("conv2d"), kinds.count("dense")) == (8, 1)
    engine = build_engine(plan.model, framework="torch", seed=0, privacy=None)
    assert engine.size == model.parameters.size
    begun = build_engine(
        plan.model, framework="torch", seed=int.from_bytes(small.room.digest[:7]), privacy=None
    ).get()
    assert (model.parameters != begun).mean() > 0.9
    engine.set(model.parameters)
    seen = (x / np.float32(255) - plan.state["mean"]).astype(np.float32)
    assert np.isfinite(engine.evaluate(seen, y).loss)
