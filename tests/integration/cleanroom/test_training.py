"""A room trains: real cells, the real server and engine, without the shield around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloister.cleanroom.engine import build_engine
from cloister.cleanroom.plan import read_plan
from integration.cleanroom.room import make_room

pytestmark = [pytest.mark.frameworks("torch", "sklearn"), pytest.mark.jobs]


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits, mixed."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  # optional

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order].reshape(-1, 8, 8) * 15.9).astype(np.uint8), y[order]


@pytest.mark.parametrize("trainers", [1, 2])
def test_digits_are_learned(tmp_path: Path, trainers: int) -> None:
    """To what the same steps reach without a room."""
    x, y = digits()
    seen, held = (x[:1400], y[:1400]), (x[1400:], y[1400:])
    shards = [(seen[0][i::trainers], seen[1][i::trainers]) for i in range(trainers)]
    model = make_room(tmp_path, shards, frameworks=["torch"] * trainers).run()
    assert [each["added"] for each in model.outcome["trainers"]] == [6] * trainers
    plan = read_plan(model.plan, by_recipe=False, most=65536)
    assert plan.model is not None
    engine = build_engine(plan.model, framework="torch", seed=0, privacy=None)
    engine.set(model.parameters)
    import sys  # noqa: PLC0415

    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples/cleanroom/digits"))
    import recipe  # noqa: PLC0415

    features = recipe.features(plan.state, held[0].astype(np.float32) / 255)
    assert engine.evaluate(features.astype(np.float32), held[1]).accuracy > 0.9
