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
from cloister.partition.assess.projection import maps_of, project
from cloister.partition.assess.showing import measure, shown

__all__ = ["ProjectionKL"]

_PICTURES_AT_ONCE: Final = 512


class ProjectionKL:
    """`delta_i = min_j KL_ij / KL_u` of every held-out image, its worst decile and mean."""

    name: Final = "projection-kl"

    def __init__(self, judge: Callable[[Array], Array]) -> None:
        """Take a judge: images of the target's scale in, probabilities of classes out."""
        self._judge = judge

    def run(
        self, target: Target, *, budget: Budget, seed: int, progress: Callable[[float], None]
    ) -> tuple[Outcome, ...]:
        """Judge the maps of held-out images, as many as there is time for, at least one batch.

        A step is one image; the budget's steps do not count. The examples are each image's most
        telling map.
        """
        deadline = Deadline(budget.seconds)
        images = target.private
        _, height, width, channels = images.shape
        scores, best = [], []
        for start in range(0, len(images), budget.batch):
            if start and deadline.over:
                break
            batch = images[start : start + budget.batch]
            pictures = np.concatenate(
                [
                    project(maps_of(t), height=height, width=width, channels=channels)
                    for t in target.front(batch)
                ],
                axis=1,
            )
            said = self._of_pictures(target, pictures)
            own = self._judge(batch)
            each = np.stack([deltas(own, said[:, j : j + 1]) for j in range(said.shape[1])], axis=1)
            scores.append(each.min(axis=1))
            best.append(pictures[np.arange(len(batch)), each.argmin(axis=1)] / 255.0)
            progress((start + len(batch)) / len(images))
        values = np.concatenate(scores)
        made = measure(
            values,
            attack=self.name,
            knows="representation",
            metric="kl-ratio",
            steps=len(values),
            complete=len(values) == len(target.private),
            seed=seed,
        )
        examples = shown(target.unit(images[: len(values)]), np.concatenate(best), order=values)
        return (Outcome(made, examples),)

    def _of_pictures(self, target: Target, pictures: Array) -> Array:
        """Return what the judge says of pictures (n, maps, h, w, c) in 0..255."""
        flat = pictures.reshape(-1, *pictures.shape[2:])
        scaled = target.scaled(flat / 255.0)
        said = np.concatenate(
            [
                self._judge(scaled[i : i + _PICTURES_AT_ONCE])
                for i in range(0, len(scaled), _PICTURES_AT_ONCE)
            ]
        )
        return said.reshape(*pictures.shape[:2], -1)
