"""Images searched for by gradients: the one whose crossing tensors are what was observed.

`minimise ||F(x) - z||^2 + weight * TV(x)`: regularised maximum likelihood, with total variation as
the prior of natural images. With the front's weights F is the front itself; blind, it is a
surrogate (`surrogate.py`). Every image is searched for from several starts, and the one with the
lowest objective counts: that choice needs nothing that the adversary has not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from cloister.partition.assess.attack import Array, Budget, Outcome, Target
from cloister.partition.assess.clock import Deadline
from cloister.partition.assess.features import Crossing, divisors
from cloister.partition.assess.frameworks import frameworks
from cloister.partition.assess.gradients import optimizer, stepper
from cloister.partition.assess.showing import mean_image, outcomes
from cloister.partition.assess.surrogate import Trainer, in_batches, train_surrogate

__all__ = ["Optimisation"]

_RATE: Final = 0.05
_VARIATION_WEIGHT: Final = 0.01
_SURROGATE_PART: Final = 0.4
# A number that varies less than this part of its tensor is brought up to it: scale hides nothing.
_LEAST_PART: Final = 0.3


class Optimisation:
    """rMLE on the first held-out images; `examples` of them, since each costs all steps."""

    def __init__(
        self, *, blind: bool = False, examples: int = 64, surrogates: Trainer = train_surrogate
    ) -> None:
        """Choose whether the adversary has the weights, and how many images are searched for.

        `surrogates` makes what he has instead of the weights.
        """
        self._blind = blind
        self._examples = examples
        self._surrogates = surrogates

    @property
    def name(self) -> str:
        """`optimisation`, or `optimisation-blind` without the weights."""
        return "optimisation-blind" if self._blind else "optimisation"

    def run(
        self, target: Target, *, budget: Budget, seed: int, progress: Callable[[float], None]
    ) -> tuple[Outcome, ...]:
        """Search, from every start, for all images of a batch at once.

        Nothing without `target.model`: there is no gradient. Incomplete when time ran out, where
        what crosses is not all finite, and where a search ended at no finite number; the starts and
        batches that ran count.
        """
        if target.model is None and not self._blind:
            return ()
        deadline = Deadline(budget.seconds)
        front, complete, notes, done = target.model, True, [], 0.0
        if self._blind:
            done = _SURROGATE_PART
            made = self._surrogates(
                target,
                budget=budget,
                deadline=Deadline(_SURROGATE_PART * budget.seconds),
                seed=seed,
                progress=lambda part: progress(_SURROGATE_PART * part),
            )
            front, complete = made.model, made.complete
            notes.append(made.how)
        images = target.private[: self._examples]
        crossing = in_batches(target.front, images, budget.batch)
        search = _Search(target, front, crossing, budget=budget, deadline=deadline, seed=seed)
        found, ran, finished = search.run(lambda part: progress(done + (1 - done) * part))
        return outcomes(
            target,
            found,
            attack=self.name,
            knows="representation" if self._blind else "weights",
            steps=ran,
            complete=complete and finished,
            seed=seed,
            notes=tuple(notes),
        )


class _Search:
    """Descents from several starts, batch by batch."""

    def __init__(
        self,
        target: Target,
        front: Any,
        crossing: Crossing,
        *,
        budget: Budget,
        deadline: Deadline,
        seed: int,
    ) -> None:
        self._crossing = crossing.tensors
        self._good = crossing.finite
        self._budget = budget
        self._deadline = deadline
        self._random = np.random.default_rng(seed)
        self._guess = mean_image(target)
        self._count = len(crossing.tensors[0])
        self._size = min(budget.batch, self._count)
        keras = frameworks().keras
        ops = keras.ops
        shape = (self._size, *self._guess.shape[1:])
        self._images = keras.Variable(np.zeros(shape, np.float32))
        scales = [(1 / divisors(t, least=_LEAST_PART)).astype(np.float32) for t in crossing.tensors]
        span = target.high - target.low

        def objectives(*seen: Any) -> Any:
            x = ops.clip(self._images.value, 0, 1)
            made = front(x * span + target.low, training=False)
            made = list(made) if isinstance(made, list | tuple) else [made]
            apart = [
                ops.mean(ops.reshape(((m - s) * scale) ** 2, (self._size, -1)), axis=1)
                for m, s, scale in zip(made, seen, scales, strict=True)
            ]
            # Beyond black and white the clipped image has no gradient; this brings it back.
            outside = ops.mean((self._images.value - x) ** 2, axis=(1, 2, 3))
            return sum(apart) / len(apart) + _VARIATION_WEIGHT * _variation(x) + outside

        self._objectives = objectives
        self._descends = optimizer(rate=_RATE, steps=budget.steps)
        self._step = stepper(
            lambda *seen: ops.sum(objectives(*seen)), [self._images], self._descends
        )

    def run(self, progress: Callable[[float], None]) -> tuple[Array, int, bool]:
        """Return the images found, the steps that ran, and whether that was all, and all good."""
        found = np.repeat(self._guess, self._count, axis=0)
        starts = list(range(0, self._count, self._size))
        ran, planned = 0, len(starts) * self._budget.restarts * self._budget.steps
        for start in starts:
            # The last batch reaches back, so that all have one size and are compiled once.
            first = min(start, self._count - self._size)
            at = slice(first, first + self._size)
            seen = [t[at] for t in self._crossing]
            best = np.full(self._size, np.inf)
            for restart in range(self._budget.restarts):
                self._begin(restart)
                for _ in range(self._budget.steps):
                    if self._deadline.over:
                        break
                    self._step(*seen)
                    ran += 1
                    progress(ran / planned)
                scores = np.asarray(self._objectives(*seen))
                self._good = self._good and bool(np.isfinite(scores).all())
                better = scores < best
                found[at][better] = np.clip(np.asarray(self._images.value), 0, 1)[better]
                best = np.minimum(scores, best)
        return found, ran, self._good and ran == planned

    def _begin(self, restart: int) -> None:
        """Start from the mean image the first time, then from noise around grey."""
        start = np.repeat(self._guess, self._size, axis=0)
        if restart:
            start = 0.5 + 0.2 * self._random.standard_normal(start.shape)
        self._images.assign(start.astype(np.float32))
        for variable in self._descends.variables:
            variable.assign(np.zeros(tuple(variable.shape), variable.dtype))


def _variation(x: Any) -> Any:
    """Return the total variation of each image, for each pixel."""
    ops = frameworks().keras.ops
    down = ops.mean(ops.abs(x[:, 1:] - x[:, :-1]), axis=(1, 2, 3))
    return down + ops.mean(ops.abs(x[:, :, 1:] - x[:, :, :-1]), axis=(1, 2, 3))
