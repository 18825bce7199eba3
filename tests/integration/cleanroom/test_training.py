"""A room trains: real cells, the real server and engine, without the shield around them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.engine import build_engine
from cloister.cleanroom.model_file import TrainedModel
from cloister.cleanroom.plan import read_plan
from cloister.cleanroom.terms import PrivacyTerms
from integration.cleanroom.room import DIGITS, make_room

pytestmark = [pytest.mark.frameworks("torch", "sklearn"), pytest.mark.jobs]
ROUNDS = 6
STEPS = 10


def digits() -> tuple[Any, Any]:
    """Return scikit-learn's digits, mixed."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  # optional

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order].reshape(-1, 8, 8) * 15.9).astype(np.uint8), y[order]


X, Y = digits() if importlib.util.find_spec("sklearn") else (np.zeros(0), np.zeros(0))
SEEN = 1400


def shards(count: int) -> list[tuple[Any, Any]]:
    """Return as many parts of the records."""
    return [(X[:SEEN][i::count], Y[:SEEN][i::count]) for i in range(count)]


def accuracy(model: TrainedModel) -> float:
    """Return what a model is worth on records that nobody trained on."""
    plan = read_plan(model.plan, by_recipe=False, most=65536)
    assert plan.model is not None
    engine = build_engine(plan.model, framework="torch", seed=0, privacy=None)
    engine.set(model.parameters)
    return float(engine.evaluate(seen_by(plan.state, X[SEEN:]), Y[SEEN:]).accuracy)


def seen_by(state: Any, x: Any) -> Any:
    """Return the digits recipe's features."""
    spec = importlib.util.spec_from_file_location("digits_recipe", DIGITS / "recipe.py")
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    return np.asarray(recipe.features(state, x.astype(np.float32) / 255), np.float32)


def unprotected(model: TrainedModel) -> float:
    """Return what as many steps on all records reach without a room."""
    plan = read_plan(model.plan, by_recipe=False, most=65536)
    assert plan.model is not None
    engine = build_engine(plan.model, framework="torch", seed=0, privacy=None)
    seen = seen_by(plan.state, X[:SEEN])
    for _ in range(ROUNDS * STEPS):
        engine.step_from(seen, Y[:SEEN])
    return float(engine.evaluate(seen_by(plan.state, X[SEEN:]), Y[SEEN:]).accuracy)


@pytest.mark.parametrize(
    "frameworks", [("torch",), ("torch", "jax"), ("torch", "torch", "jax", "tensorflow")]
)
def test_digits_are_learned(tmp_path: Path, frameworks: Sequence[str]) -> None:
    """To what the same steps reach without a room; trainers may differ in framework."""
    for name in frameworks:
        pytest.importorskip(name)
    small = make_room(tmp_path, shards(len(frameworks)), frameworks=frameworks)
    model = small.run()
    # A machine with other work may make a trainer late for a round; it loses that one and no more.
    assert min(each["added"] for each in model.outcome["trainers"]) >= ROUNDS - 2
    assert accuracy(model) > unprotected(model) - 0.05


def test_privacy_is_the_trainers(tmp_path: Path) -> None:
    """Noise and clipping are in what is learned, and both owners read what was spent."""
    privacy = PrivacyTerms(
        clip=Decimal(1),
        noise_multiplier=Decimal("0.8"),
        delta=Decimal("0.0001"),
        epsilon_max=Decimal(20),
    )
    release = {"metrics": ("loss", "accuracy", "epsilon", "exposure"), "digits": 3}
    small = make_room(
        tmp_path, shards(1), frameworks=["torch"], privacy=privacy, canaries=20, release=release
    )
    model = small.run()
    report = json.loads((tmp_path / "report-d" / "training.json").read_text())
    assert model.outcome["trainers"][0]["added"] >= 1
    numbers = model.outcome["trainers"][0]["metrics"]
    assert 0 < numbers["epsilon"] < 20
    assert "exposure" in numbers
    assert report


BY_ITSELF = """
import numpy as np

def build(spec, x, y):
    return {"parameters": np.zeros((64 + 1) * 10), "state": {"mean": x.mean(0)}}

def scores(state, parameters, x):
    weights = parameters.reshape(65, 10)
    flat = (x - state["mean"]).reshape(len(x), -1)
    return flat @ weights[:64] + weights[64]

def predict(state, parameters, x):
    return scores(state, parameters, x)

def train(state, parameters, x, y, round):
    before = parameters.copy()
    parameters = parameters.copy()
    flat = (x - state["mean"]).reshape(len(x), -1)
    for _ in range(30):
        raw = scores(state, parameters, x)
        p = np.exp(raw - raw.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(y)), y] -= 1
        step = np.concatenate([flat.T @ p, p.sum(0, keepdims=True)]) / len(x)
        parameters = parameters - 2.0 * step.reshape(-1).astype(np.float32)
    return parameters - before
"""


def test_a_recipe_trains_by_itself(tmp_path: Path) -> None:
    """In its cell, on what the trusted trainer gives it; its differences are averaged."""
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "recipe.py").write_text(BY_ITSELF)
    small = make_room(
        tmp_path,
        shards(2),
        recipe=recipe,
        frameworks=["torch", "torch"],
        training={"by": "recipe"},
    )
    model = small.run()
    assert min(each["added"] for each in model.outcome["trainers"]) >= ROUNDS - 2
    plan = read_plan(model.plan, by_recipe=True, most=65536)
    weights = model.parameters.reshape(65, 10)
    flat = (X[SEEN:].astype(np.float32) / 255 - plan.state["mean"]).reshape(-1, 64)
    assert np.mean((flat @ weights[:64] + weights[64]).argmax(1) == Y[SEEN:]) > 0.85


@pytest.mark.parametrize(
    "text",
    [
        "raise SystemExit(3)",
        "def build(spec, x, y):\n    while True: pass",
        "def build(spec, x, y):\n    import os\n    os._exit(5)",
        "def build(spec, x, y):\n    return {'model': {'version': 1}}",
    ],
    ids=["exits", "hangs", "dies", "nonsense"],
)
def test_a_recipe_that_fails_changes_nothing_outside(tmp_path: Path, text: str) -> None:
    """The room lasts as long, every message is sent, and trainers end with the same status."""
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "recipe.py").write_text(text)
    training = {"prepare_ticks": 100, "round_ticks": 4}
    small = make_room(tmp_path, shards(1), recipe=recipe, frameworks=["torch"], training=training)
    model = small.run()
    (counts,) = model.outcome["trainers"]
    assert counts["added"] == 0
    assert counts["heard"] + counts["late"] > 0.9 * (100 + 24)
    assert model.parameters.size == 0
