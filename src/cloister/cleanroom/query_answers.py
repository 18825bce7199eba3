"""From scores to what the terms let an answer say. Pure.

What two scores have in common after rounding, their order has in common too: equal ones stand in
the order of their labels, so that an order says no more than the scores do.

Spec: cleanroom-query-v1, clauses CQ-30 to CQ-33.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cloister.cleanroom.query_message import MAX_SCORE, QueryRules
from cloister.errors import MalformedError

__all__ = ["answer_of"]


def answer_of(
    scores: npt.NDArray[Any], rules: QueryRules
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return labels, and scores in units of the last digit; zeros where the terms give none.

    Raises:
        MalformedError: `recipe.malformed`: not one finite score for each label.
    """
    if scores.shape != (rules.classes,) or not np.isfinite(scores).all():
        raise MalformedError("not one score for each label", code="recipe.malformed")
    values = np.clip(scores.astype(np.float64), -MAX_SCORE, MAX_SCORE)
    if rules.kind == "rounded":
        values = np.rint(values * 10**rules.digits)
    order = np.lexsort((np.arange(rules.classes), -values))[: rules.top_k]
    labels = tuple(int(label) for label in order)
    if rules.kind == "label":
        return labels, (0,) * len(labels)
    return labels, tuple(int(values[label]) for label in order)
