"""Property inference: something private about an input, guessed from what crosses.

The adversary has queries: he gives the secret front public images whose property he knows, learns
to tell it from what crosses, and tells it of the held-out ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from cloister.partition.assess.attack import Array, Budget, Outcome, Target
from cloister.partition.assess.classifier import Classifier
from cloister.partition.assess.features import flat
from cloister.partition.assess.judged import judged
from cloister.partition.assess.surrogate import in_batches

__all__ = ["Property", "PropertyInference", "brightness"]


@dataclass(frozen=True, slots=True, eq=False)
class Property:
    """Something that every image either has or has not, or one of several kinds of it.

    Attributes:
        name: What people call it, such as `brighter than most`.
        private: Of the held-out images, whole numbers.
        proxy: Of the public ones.
    """

    name: str
    private: Array
    proxy: Array


def brightness(private: Array, proxy: Array) -> Property:
    """Return a property that every set of images has: to be brighter than half of the public."""
    axes = tuple(range(1, proxy.ndim))
    median = np.median(proxy.mean(axis=axes))
    return Property(
        "brighter than half of the public images",
        (private.mean(axis=axes) > median).astype(np.int64),
        (proxy.mean(axis=axes) > median).astype(np.int64),
    )


class PropertyInference:
    """How often the property is told rightly, beside a guess and beside the images themselves."""

    name: Final = "property"

    def __init__(self, wanted: Property) -> None:
        """Take the property."""
        self._property = wanted

    def run(
        self, target: Target, *, budget: Budget, seed: int, progress: Callable[[float], None]
    ) -> tuple[Outcome, ...]:
        """Learn on public images, tell of the held-out ones; a step is a public image.

        Nothing where all public images have the same property.
        """
        wanted = self._property
        if len(np.unique(wanted.proxy)) < 2:  # noqa: PLR2004  # nothing to tell apart
            return ()
        public = in_batches(target.front, target.proxy, budget.batch)
        learned = flat(public.tensors)
        progress(0.4)
        crossing = in_batches(target.front, target.private, budget.batch)
        seen = flat(crossing.tensors)
        progress(0.6)
        right, sure = _told(learned, wanted.proxy, seen, wanted.private, seed)
        progress(0.8)
        plain, _ = _told(
            flat([target.proxy]), wanted.proxy, flat([target.private]), wanted.private, seed
        )
        values, counts = np.unique(wanted.proxy, return_counts=True)
        guess = float((wanted.private == values[counts.argmax()]).mean())
        progress(1.0)
        made = judged(
            right,
            sure,
            attack=self.name,
            knows="queries",
            metric="accuracy",
            steps=len(learned),
            complete=public.finite and crossing.finite,
            seed=seed,
        )
        note = (
            f"property: {wanted.name}; guessing without looking is right for {guess:.2f}, the same "
            f"classifier on the images themselves for {plain.mean():.2f}"
        )
        return (Outcome(made, None, (note,)),)


def _told(
    learned: Array, known: Array, seen: Array, truth: Array, seed: int
) -> tuple[Array, Array]:
    classifier = Classifier(learned, known, seed=seed)
    scores = classifier.scores(seen)
    ranked = np.sort(scores, axis=1)
    return classifier.classes[scores.argmax(axis=1)] == truth, ranked[:, -1] - ranked[:, -2]
