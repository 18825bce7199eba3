"""The model of a room, for one query after another: a fresh cell for each, which dies with it.

The trusted part has parameters and plan; the recipe gets one record, says what the model sees of
it (or, where it trained by itself, what the scores are), and is gone before the answer leaves.

Spec: cleanroom-query-v1, clauses CQ-34 to CQ-37.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from cloister.cleanroom.cells import recipe_in
from cloister.cleanroom.encoding import Array
from cloister.cleanroom.engine import Engine, build_engine
from cloister.cleanroom.model_file import TrainedModel
from cloister.cleanroom.plan import read_plan
from cloister.cleanroom.query_cells import Cells, FreshCells
from cloister.cleanroom.query_message import Record
from cloister.cleanroom.questions import Plan
from cloister.cleanroom.terms import Terms
from cloister.confinement.cell import Warm
from cloister.errors import UnavailableError

__all__ = ["RoomModel", "cells_of"]

_SEED: Final = 0  # parameters are set; nothing is drawn


def cells_of(warm: Warm, files: Mapping[str, bytes]) -> Cells:
    """Return what makes cells with a recipe in them.

    Args:
        warm: Started.
        files: The recipe's, checked against the terms.
    """
    return lambda left: recipe_in(warm, files, deadline=left)


class RoomModel:
    """What a training came to; a `Predictor`."""

    def __init__(self, terms: Terms, trained: TrainedModel, cells: FreshCells) -> None:
        """Make the model of what the server wrote.

        Args:
            terms: Of the room.
            trained: From `load_model`.
            cells: Where one stands by.

        Raises:
            MalformedError: The plan is none, or the parameters are not those of its model.
        """
        self._classes = terms.data.classes
        self._parameters = np.asarray(trained.parameters, np.float32)
        self._cells = cells
        self._plan: Plan | None = None
        self._engine: Engine | None = None
        if not trained.plan:
            return  # the training came to nothing, which nobody sees from outside
        by_recipe = terms.training.by == "recipe"
        self._plan = read_plan(
            trained.plan, by_recipe=by_recipe, most=terms.training.plan_max_bytes
        )
        if self._plan.model is not None:
            self._engine = build_engine(
                self._plan.model,
                framework=terms.training.frameworks[0],
                seed=_SEED,
                privacy=None,
            )
            self._engine.set(self._parameters)
            # What a framework compiles, it compiles now.
            self._engine.predict(np.zeros((1, *self._plan.model.input_shape), np.float32))

    def prepare(self, *, deadline: float) -> None:
        """Return when a cell stands by, as `Predictor` says.

        Raises:
            UnavailableError: None does in time (`query.late`).
        """
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
        with self._cells.use(deadline) as recipe:
            if self._engine is None or plan.model is None:
                scores = recipe.predict(plan.state, self._parameters, x, classes=self._classes)
                return np.asarray(scores[0])
            seen = recipe.features(plan.state, x, shape=plan.model.input_shape)
        return np.asarray(self._engine.predict(seen)[0])
