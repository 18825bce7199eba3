"""What is known of a cut without reconstructing anything: a statistic, and a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from cloister.partition.assess.attack import Array, Budget, Outcome, Target
from cloister.partition.assess.bounds import error_bounds, squared_jacobians
from cloister.partition.assess.clock import Deadline
from cloister.partition.assess.features import flat
from cloister.partition.assess.showing import measure
from cloister.partition.assess.statistics import distance_correlation, interval
from cloister.partition.assess.surrogate import in_batches
from cloister.partition.report import Measure

__all__ = ["DistanceCorrelation", "FisherLeakage"]

_EXAMPLES: Final = 400
_LEAST_EXAMPLES: Final = 8


class DistanceCorrelation:
    """Distance correlation of held-out images with all that crosses, by 400 of them at most.

    Each tensor is divided by its deviation first, so that none counts for its scale alone. The
    statistic is of the sample: `worst_decile` and `mean` are the same number.
    """

    name: Final = "distance-correlation"

    def run(
        self, target: Target, *, budget: Budget, seed: int, progress: Callable[[float], None]
    ) -> tuple[Outcome, ...]:
        """Compare the images with what crosses; nothing for fewer than 8. A step is an image."""
        images = target.private[:_EXAMPLES]
        if len(images) < _LEAST_EXAMPLES:
            return ()
        crossing = in_batches(target.front, images, budget.batch)
        seen = flat([t / (float(np.std(t, dtype=np.float64)) or 1.0) for t in crossing.tensors])
        shown = flat([target.unit(images)])
        value = distance_correlation(shown, seen)
        progress(0.2)
        low, high = interval(shown, seen, seed=seed)
        progress(1.0)
        return (
            Outcome(
                Measure(
                    attack=self.name,
                    knows="representation",
                    metric="correlation",
                    worst_decile=value,
                    mean=value,
                    low=min(low, value),
                    high=max(high, value),
                    examples=len(images),
                    steps=len(images),
                    complete=crossing.finite,
                )
            ),
        )


class FisherLeakage:
    """1 / dFIL of held-out images: a bound on unbiased attackers, where the cut adds noise."""

    name: Final = "dfil"

    def __init__(self, *, probes: int = 8) -> None:
        """Choose how many random directions estimate each image's Jacobian."""
        self._probes = probes

    def run(
        self, target: Target, *, budget: Budget, seed: int, progress: Callable[[float], None]
    ) -> tuple[Outcome, ...]:
        """Bound the error for every held-out image there is time for. A step is an image.

        Nothing with noise and without `target.model`. Without noise the answer needs no model.
        """
        pixels = int(np.prod(target.private.shape[1:]))
        if target.noise == 0:
            bounds = error_bounds(np.ones(len(target.private)), noise=0.0, pixels=pixels)
            notes: tuple[str, ...] = (
                "nothing random is added, so the Fisher information of what crosses is infinite "
                "and bounds nobody",
            )
        elif target.model is None:
            return ()
        else:
            bounds = self._bounds(target, pixels, budget, seed, progress)
            notes = ("the bound holds for attackers without prior knowledge of images",)
        progress(1.0)
        made = measure(
            bounds,
            attack=self.name,
            knows="weights",
            metric="bound-mse",
            steps=len(bounds),
            complete=len(bounds) == len(target.private),
            seed=seed,
        )
        return (Outcome(made, None, notes),)

    def _bounds(
        self,
        target: Target,
        pixels: int,
        budget: Budget,
        seed: int,
        progress: Callable[[float], None],
    ) -> Array:
        deadline = Deadline(budget.seconds)
        shapes = [t.shape[1:] for t in target.front(target.private[:1])]
        traces: list[Array] = []
        for start in range(0, len(target.private), budget.batch):
            if start and deadline.over:
                break
            part = target.private[start : start + budget.batch]
            traces.append(
                squared_jacobians(
                    target.model,
                    part,
                    shapes,
                    probes=self._probes,
                    batch=budget.batch,
                    seed=seed + start,
                )
            )
            progress((start + len(part)) / len(target.private))
        # From derivatives by the model's scale to those by pixels in [0, 1].
        by_pixels = np.concatenate(traces) * (target.high - target.low) ** 2
        return error_bounds(by_pixels, noise=target.noise, pixels=pixels)
