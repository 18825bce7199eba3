"""Membership inference: was the model trained with this input, judged by what crosses?

No shadow models: the adversary knows of some inputs whether they were in the training set, half of
each kind here, and tells it of the others. He tries a threshold on how sure the exposed part is of
what crosses, and a small classifier on what crosses and what the exposed part makes of it; the one
that does better on the inputs that he knows is measured on the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from cloister.partition.assess.attack import Array, Budget, Outcome, Target
from cloister.partition.assess.classifier import Classifier
from cloister.partition.assess.features import flat
from cloister.partition.assess.judged import area, judged
from cloister.partition.assess.surrogate import in_batches

__all__ = ["LEAST_MEMBERS", "MembershipInference"]

LEAST_MEMBERS: Final = 16
_LEAST_SHARE: Final = 1e-9


class MembershipInference:
    """How often it is told rightly; half is chance, since there are as many of either kind."""

    name: Final = "membership"

    def __init__(self, members: Array, rest: Callable[[tuple[Array, ...]], Array]) -> None:
        """Take inputs of the training set, and the exposed part.

        Args:
            members: Images that the model was trained with.
            rest: From what crosses to probabilities of classes.
        """
        self._members = members
        self._rest = rest

    def run(
        self, target: Target, *, budget: Budget, seed: int, progress: Callable[[float], None]
    ) -> tuple[Outcome, ...]:
        """Learn from half of the members and held-out images, tell of the rest; a step is an image.

        Nothing for fewer than `LEAST_MEMBERS` of either.
        """
        count = min(len(self._members), len(target.private))
        if count < LEAST_MEMBERS:
            return ()
        random = np.random.default_rng(seed)
        inside = self._members[random.permutation(len(self._members))[:count]]
        outside = target.private[random.permutation(len(target.private))[:count]]
        images = np.concatenate([inside, outside])
        truth = np.repeat([1, 0], count)
        crossing = in_batches(target.front, images, budget.batch)
        progress(0.4)
        said = self._rest(crossing.tensors)
        progress(0.6)
        order = random.permutation(len(images))
        known, asked = order[: len(order) // 2], order[len(order) // 2 :]
        sure = _sureness(said)
        numbers = np.concatenate(
            [flat(crossing.tensors), np.sort(said, axis=1), sure[:, None]], axis=1
        )
        scores = {
            "a threshold on the exposed part's sureness": _threshold(sure, truth, known),
            "a classifier": _classified(numbers, truth, known, seed),
        }
        # What a classifier says of inputs that it learnt is no evidence: a third judges the two.
        best = max(scores, key=lambda name: area(scores[name][1], truth[scores[name][0]]))
        values = scores[best][2][asked]
        right = (values > 0) == (truth[asked] == 1)
        made = judged(
            right,
            np.abs(values),
            attack=self.name,
            knows="representation",
            metric="accuracy",
            steps=len(known),
            complete=crossing.finite,
            seed=seed,
        )
        curve = area(values, truth[asked]) if len(np.unique(truth[asked])) > 1 else 0.5
        progress(1.0)
        note = f"membership was told by {best}; the area under the ROC curve is {curve:.2f}"
        return (Outcome(made, None, (note,)),)


# Indexes that judge, what is said of them, and what is said of every input.
_Told = tuple[Array, Array, Array]


def _threshold(sure: Array, truth: Array, known: Array) -> _Told:
    """Tell members by being above the threshold that parts the known inputs best."""
    learned, judging = _parted(known, truth)
    levels = np.unique(sure[learned])
    said = sure[learned][:, None] > levels
    best = levels[(said == (truth[learned][:, None] == 1)).mean(axis=0).argmax()]
    return judging, sure[judging], sure - best


def _classified(numbers: Array, truth: Array, known: Array, seed: int) -> _Told:
    learned, judging = _parted(known, truth)
    scores = Classifier(numbers[learned], truth[learned], seed=seed).scores(numbers)
    told = scores[:, 1] - scores[:, 0]
    return judging, told[judging], told


def _parted(known: Array, truth: Array) -> tuple[Array, Array]:
    """Split the known inputs in two thirds and one, both kinds in either."""
    learned, judging = [], []
    for kind in (0, 1):
        of_kind = known[truth[known] == kind]
        cut = max(1, 2 * len(of_kind) // 3)
        learned.append(of_kind[:cut])
        judging.append(of_kind[cut:] if len(of_kind) > cut else of_kind)
    return np.concatenate(learned), np.concatenate(judging)


def _sureness(said: Array) -> Array:
    """Return minus the entropy of each row of probabilities."""
    shares = np.clip(said, _LEAST_SHARE, 1)
    result: Array = (shares * np.log(shares)).sum(axis=1)
    return result
