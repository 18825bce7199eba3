"""The model of a room: which part the recipe has in an answer, and what is no model."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.description import ModelDescription
from cloister.cleanroom.model_file import TrainedModel
from cloister.cleanroom.plan import plan_bytes
from cloister.cleanroom.query_cells import FreshCells
from cloister.cleanroom.query_model import RoomModel
from cloister.cleanroom.questions import Plan
from cloister.cleanroom.terms import PrivacyTerms, Terms
from cloister.errors import CloisterError, ConfigError
from cloister.testing.cleanroom import sample_terms

pytestmark = pytest.mark.frameworks("torch")
PRIVATE = PrivacyTerms(
    clip=Decimal(1), noise_multiplier=Decimal(1), delta=Decimal("0.00001"), epsilon_max=Decimal(8)
)


class Recipe:
    """Doubles what it sees."""

    def __init__(self) -> None:
        self.asked = 0

    def features(self, _state: Any, x: Any, **_: Any) -> Any:
        """Twice the first ten."""
        self.asked += 1
        return 2 * x.reshape(len(x), -1)[:, :10]

    def predict(self, _state: Any, parameters: Any, x: Any, **_: Any) -> Any:
        """The first ten, and parameters."""
        self.asked += 1
        return x.reshape(len(x), -1)[:, :10] + parameters[:10]


@pytest.fixture
def recipe() -> Recipe:
    return Recipe()


@pytest.fixture
def cells(recipe: Recipe) -> Iterator[FreshCells]:
    """Each is the same recipe."""
    with FreshCells(lambda _: contextlib.nullcontext(recipe)) as found:  # type: ignore[arg-type]  # as much of one as is used
        yield found


def terms(privacy: PrivacyTerms | None, by: Any = "trainer") -> Terms:
    """Of a room."""
    base = sample_terms(privacy="none")
    training = dataclasses.replace(base.training, by=by, frameworks=("torch", "torch"))
    return dataclasses.replace(base, privacy=privacy, training=training)


def trained(shape: list[int], *, described: bool = True) -> TrainedModel:
    """A model whose outputs are the first ten of what it sees."""
    flat = int(np.prod(shape))
    layers: list[dict[str, Any]] = [
        {"kind": "flatten", "name": "flat", "inputs": ["input"]},
        {"kind": "dense", "name": "out", "inputs": ["flat"], "units": 10},
    ]
    if len(shape) == 1:
        layers = [layers[1] | {"inputs": ["input"]}]
    model = ModelDescription.from_fields(
        {
            "version": 1, "input_shape": shape, "classes": 10, "layers": layers,
            "optimizer": {"kind": "sgd", "rate": 0.1}, "loss": "mse", "batch": 32,
        }
    )  # fmt: skip
    flat_parameters = np.concatenate([np.eye(flat, 10).reshape(-1), np.zeros(10)])
    plan = Plan(model if described else None, None, {})
    return TrainedModel(plan_bytes(plan), flat_parameters.astype(np.float32), 1, {})


RECORD = np.arange(64, dtype=np.float32).reshape(8, 8)
FIRST = np.arange(10, dtype=np.float32)


def asked(model: RoomModel) -> Any:
    """The scores of the record."""
    deadline = time.monotonic() + 10
    model.prepare(deadline=deadline)
    return model.predict(RECORD, deadline=deadline)


@pytest.mark.spec("CQ-35")
def test_the_recipe_makes_features(cells: FreshCells, recipe: Recipe) -> None:
    """What it says is what the model sees."""
    model = RoomModel(terms(None), trained([10]), cells)
    assert np.allclose(asked(model), 2 * FIRST)
    assert recipe.asked == 1


@pytest.mark.spec("CQ-35")
def test_nobody_forgets_cells_or_has_too_many(cells: FreshCells) -> None:
    """Neither does a recipe get by without a cell, nor has one a part where privacy is promised."""
    for each, given in ((None, None), (PRIVATE, cells)):
        with pytest.raises(ConfigError) as caught:
            RoomModel(terms(each), trained([8, 8]), given)
        assert caught.value.code == "config.value"


@pytest.mark.spec("CQ-35", "TR-73")
def test_with_privacy_no_recipe_is_asked() -> None:
    """The model takes records as they are, as it did when it was trained."""
    model = RoomModel(terms(PRIVATE), trained([8, 8]), None)
    assert np.allclose(asked(model), FIRST)
    with pytest.raises(CloisterError) as caught:
        asked(RoomModel(terms(PRIVATE), trained([10]), None))
    assert caught.value.code == "recipe.malformed"


@pytest.mark.spec("CQ-35")
def test_the_recipe_predicts(cells: FreshCells, recipe: Recipe) -> None:
    """Where it trained by itself."""
    model = RoomModel(terms(None, by="recipe"), trained([10], described=False), cells)
    assert np.allclose(asked(model), FIRST + trained([10]).parameters[:10])
    assert recipe.asked == 1


@pytest.mark.spec("CQ-36")
@pytest.mark.parametrize(
    "change",
    [
        {"plan": b"", "parameters": np.zeros(0, np.float32)},
        {"plan": b"nonsense"},
        {"parameters": np.zeros(3, np.float32)},
        {"parameters": np.full(110, np.nan, np.float32)},
    ],
    ids=["none", "plan", "few", "nan"],
)
def test_no_model_gives_no_answer(cells: FreshCells, change: Any) -> None:
    """A training that came to nothing is an error of each query, and of nothing else."""
    model = RoomModel(terms(None), dataclasses.replace(trained([10]), **change), cells)
    with pytest.raises(CloisterError):
        asked(model)


def test_a_recipe_needs_cells() -> None:
    """To leave them out is an error, and not a weaker check."""
    with pytest.raises(ConfigError):
        RoomModel(terms(None), trained([10]), None)
