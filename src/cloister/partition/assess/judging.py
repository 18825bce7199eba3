"""The papers' measure as an attack: every crossing map, as a picture, before a judge.

The judge is a classifier of the same classes, usually the model itself. See `divergence.py` for why
what it says is compared and never decided by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from cloister.partition.assess.attack import Array, Budget, Outcome, Target
from cloister.partition.assess.clock import Deadline
from cloister.partition.assess.divergence import deltas
from cloister.partition.assess.features import finite
from cloister.partition.assess.projection import maps_of, project
from cloister.partition.assess.showing import measure, shown

__all__ = ["ProjectionKL"]

_PICTURES_AT_ONCE: Final = 512
# A picture of a large input has a million numbers, and a cut has thousands of maps of each image.
_NUMBERS_AT_ONCE: Final = 2**24


class ProjectionKL:
    """`delta_i = min_j KL_ij / KL_u` of the first held-out images, its worst decile and mean."""

    name: Final = "projection-kl"

    def __init__(self, judge: Callable[[Array], Array], *, examples: int = 64) -> None:
        """Take a judge: images of the target's scale in, probabilities of classes out.

        Args:
            judge: It is asked about every map of every image.
            examples: How many images.
        """
        self._judge = judge
        self._examples = examples

    def run(
        self, target: Target, *, budget: Budget, seed: int, progress: Callable[[float], None]
    ) -> tuple[Outcome, ...]:
        """Judge the maps of images, as many as there is time for, at least one batch.

        A step is one image; the budget's steps do not count. The examples are each image's most
        telling map.
        """
        deadline = Deadline(budget.seconds)
        images = target.private[: self._examples]
        scores, best, good = [], [], True
        for start in range(0, len(images), budget.batch):
            if start and deadline.over:
                break
            batch = images[start : start + budget.batch]
            crossing = finite(target.front(batch))
            good = good and crossing.finite
            values, pictures = self._most_telling(target, batch, crossing.tensors)
            scores.append(values)
            best.append(pictures)
            progress((start + len(batch)) / len(images))
        values = np.concatenate(scores)
        made = measure(
            values,
            attack=self.name,
            knows="representation",
            metric="kl-ratio",
            steps=len(values),
            complete=good and len(values) == len(images),
            seed=seed,
        )
        examples = shown(target.unit(images[: len(values)]), np.concatenate(best), order=values)
        return (Outcome(made, examples),)

    def _most_telling(
        self, target: Target, batch: Array, crossing: tuple[Array, ...]
    ) -> tuple[Array, Array]:
        """Return each image's delta, and the map that has it as a picture in [0, 1].

        A bounded number of maps is drawn at a time: all of them would not fit into any memory.
        """
        count, height, width, channels = batch.shape
        own = self._judge(batch)
        least, pictures = np.full(count, np.inf), np.zeros(batch.shape, np.float32)
        step = max(1, min(_PICTURES_AT_ONCE, _NUMBERS_AT_ONCE // (height * width * channels)))
        for tensor in crossing:
            maps = maps_of(tensor)
            of_each = maps.shape[1]
            flat = maps.reshape(-1, *maps.shape[2:])
            for start in range(0, len(flat), step):
                drawn = project(
                    flat[start : start + step], height=height, width=width, channels=channels
                )
                of = np.arange(start, start + len(drawn)) // of_each
                said = self._judge(target.scaled(drawn / 255.0))
                values = deltas(own[of], said[:, None])
                for image in np.unique(of):
                    mine = np.flatnonzero(of == image)
                    at = mine[values[mine].argmin()]
                    if not values[at] >= least[image]:
                        least[image], pictures[image] = values[at], drawn[at] / 255.0
        return least, pictures
