"""What is said of answers that are right or wrong: no I/O, no framework.

The worst tenth of such answers is the tenth that the attacker is surest of: a copy that is right
wherever it is sure, or a guess at who was in the training set that is right for a few people, hurts
even where the average looks like chance.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from cloister.partition.assess.attack import Array
from cloister.partition.report import Measure

__all__ = ["area", "judged"]

_BOOTSTRAPS: Final = 1000


def judged(
    right: Array,
    sureness: Array,
    *,
    attack: str,
    knows: str,
    metric: str,
    steps: int,
    complete: bool,
    seed: int,
) -> Measure:
    """Return the measure of answers; there must be one at least.

    Args:
        right: Whether each is.
        sureness: How sure the attacker is of each, in any scale of his.
        attack: The attack's word.
        knows: What its adversary is given.
        metric: The metric's word.
        steps: How many steps he had.
        complete: Whether he came to the end.
        seed: Of the bootstrap.
    """
    count = len(right)
    ranked = np.asarray(right, np.float64)[np.argsort(-np.asarray(sureness), kind="stable")]
    tenth = max(1, math.ceil(count / 10))
    drawn = np.random.default_rng(seed).integers(count, size=(_BOOTSTRAPS, count), dtype=np.int32)
    surest = np.partition(drawn, tenth - 1, axis=1)[:, :tenth]
    low, high = np.quantile(ranked[surest].mean(axis=1), [0.025, 0.975])
    worst = float(ranked[:tenth].mean())
    return Measure(
        attack=attack,
        knows=knows,
        metric=metric,
        worst_decile=worst,
        mean=float(ranked.mean()),
        low=min(float(low), worst),
        high=max(float(high), worst),
        examples=count,
        steps=steps,
        complete=complete,
    )


def area(scores: Array, truth: Array) -> float:
    """Return the area under the ROC curve: 0.5 is chance, 1 tells the two apart without error.

    It is the probability that a true one scores above a false one, ties counting half; both kinds
    must be there.
    """
    values, places = np.unique(np.asarray(scores), return_inverse=True)
    counts = np.bincount(places, minlength=len(values))
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[places]
    true = np.asarray(truth, bool)
    positive, negative = int(true.sum()), int((~true).sum())
    excess = float(ranks[true].sum()) - positive * (positive + 1) / 2
    return excess / (positive * negative)
