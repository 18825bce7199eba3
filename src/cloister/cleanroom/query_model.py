"""The model of a room, for one query after another: a fresh cell for each, which dies with it.

The trusted part has parameters and plan; the recipe gets one record, says what the model sees of
it (or, where it trained by itself, what the scores are), and is gone. Where the terms promise
privacy the model takes records as they are, in training and here, and no recipe runs at all.

Spec: cleanroom-query-v1, clauses CQ-34 to CQ-37.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final

import numpy as np

from cloister.cleanroom.cells import recipe_in
from cloister.cleanroom.encoding import Array
from cloister.cleanroom.engine import Engine, build_engine
from cloister.cleanroom.model_file import TrainedModel
from cloister.cleanroom.plan import read_plan
from cloister.cleanroom.query_cells import Cells, FreshCells
from cloister.cleanroom.query_message import Record
from cloister.cleanroom.questions import Plan, Questions
from cloister.cleanroom.terms import Terms
from cloister.confinement.cell import Warm
from cloister.errors import (
    CloisterError,
    ConfigError,
    LocalProtocolError,
    MalformedError,
    UnavailableError,
)

__all__ = ["RoomModel", "asks_recipe", "cells_of"]

_LOG: Final = logging.getLogger("cloister.cleanroom")
_SEED: Final = 0  # parameters are set; nothing is drawn


def asks_recipe(terms: Terms) -> bool:
    """Tell whether the recipe has a part in answers: where privacy is promised, it has none."""
    return terms.privacy is None


def cells_of(warm: Warm, files: Mapping[str, bytes]) -> Cells:
    """Return what makes cells with a recipe in them.

    Args:
        warm: Started.
        files: The recipe's, checked against the terms.
    """
    return lambda left: recipe_in(warm, files, deadline=left)


class RoomModel:
    """What a training came to; a `Predictor`."""

    def __init__(self, terms: Terms, trained: TrainedModel, cells: FreshCells | None) -> None:
        """Make the model of what the server wrote.

        Args:
            terms: Of the room.
            trained: From `load_model`.
            cells: Where one stands by; None where the recipe has no part in an answer.

        Raises:
            ConfigError: There are no cells, and the recipe has a part, or the other way about
                (`config.value`).
        """
        if (cells is not None) != asks_recipe(terms):
            raise ConfigError(
                "a recipe has cells where it has a part in answers, and only there",
                code="config.value",
            )
        self._classes = terms.data.classes
        self._parameters = np.asarray(trained.parameters, np.float32)
        self._cells = cells
        self._plan: Plan | None = None
        self._engine: Engine | None = None
        try:
            self._load(terms, trained)
        except CloisterError as e:
            _LOG.debug("no model: %s", e.code)
            self._plan = self._engine = None

    def _load(self, terms: Terms, trained: TrainedModel) -> None:
        """Make the model, or leave it out: what a training came to is not seen from outside."""
        if not trained.plan:
            return
        by_recipe = terms.training.by == "recipe"
        most = terms.training.plan_max_bytes
        plan = read_plan(trained.plan, by_recipe=by_recipe, most=most)
        if plan.model is not None:
            framework = terms.training.frameworks[0]
            engine = build_engine(plan.model, framework=framework, seed=_SEED, privacy=None)
            engine.set(self._parameters)
            # What a framework compiles, it compiles now.
            engine.predict(np.zeros((1, *plan.model.input_shape), np.float32))
            self._engine = engine
        self._plan = plan

    def prepare(self, *, deadline: float) -> None:
        """Return when a cell stands by, as `Predictor` says.

        Raises:
            UnavailableError: None does in time (`query.late`).
        """
        if self._cells is not None:
            self._cells.wait(deadline)

    def predict(self, record: Record, *, deadline: float) -> Array:
        """Return a score for each label, as `Predictor` says.

        Raises:
            CloisterError: The recipe failed, was late, or answered what is no answer; or there is
                no model.
        """
        plan = self._plan
        if plan is None:
            raise UnavailableError("this room has no model", code="server.unreachable")
        x = record[np.newaxis]
        if self._engine is None or plan.model is None:
            with self._cell(deadline) as recipe:
                scores = recipe.predict(plan.state, self._parameters, x, classes=self._classes)
            return np.asarray(scores[0])
        shape = plan.model.input_shape
        if self._cells is not None:
            with self._cell(deadline) as recipe:
                x = recipe.features(plan.state, x, shape=shape)
        elif record.shape != shape:
            raise MalformedError("the model does not take records", code="recipe.malformed")
        return np.asarray(self._engine.predict(x)[0])

    def _cell(self, deadline: float) -> AbstractContextManager[Questions]:
        if self._cells is None:
            raise LocalProtocolError("there are no cells", code="protocol.local")
        return self._cells.use(deadline)
