"""Class synthesis: an image made to please the exposed part, of a class whose name is secret.

The exposed part takes what crosses and not images, so the adversary searches through his copy of
the model (`knock_off.py`): the image that its anonymous output c likes best, with total variation
as the prior of natural images. What came of it is judged by what he has not: does the true model
see class c in it, and is it more like the mean image of that class than like those of the others?
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from cloister.partition.assess.attack import SHOWN, Array, Budget, Examples, Outcome
from cloister.partition.assess.clock import Deadline
from cloister.partition.assess.frameworks import frameworks
from cloister.partition.assess.gradients import optimizer, stepper
from cloister.partition.assess.judged import judged
from cloister.partition.assess.knock_off import Copy, Victim
from cloister.partition.assess.metrics import found, ssim
from cloister.partition.assess.networks import probabilities
from cloister.partition.assess.showing import measure

__all__ = ["Synthesis"]

_RATE: Final = 0.05
_VARIATION_WEIGHT: Final = 0.5
_LEAST_SHARE: Final = 1e-7


class Synthesis:
    """One image for each of the first `classes` anonymous outputs."""

    name: Final = "synthesis"

    def __init__(self, copy: Copy, *, classes: int = 16) -> None:
        """Take the adversary's copy of the model."""
        self._copy = copy
        self._classes = classes

    def run(
        self, victim: Victim, *, budget: Budget, seed: int, progress: Callable[[float], None]
    ) -> tuple[Outcome, ...]:
        """Search for all classes at once.

        The classes of held-out images are what the true model says of them, so that no labels are
        needed; a class that none of them has is left out of what needs its mean image.
        """
        said = probabilities(victim.scores(victim.private)).argmax(axis=1)
        count = min(self._classes, self._copy.model.output_shape[-1])
        images, ran, complete = self._searched(victim, count, budget, seed, progress)
        complete = complete and self._copy.complete
        scores = probabilities(victim.scores(_scaled(victim, images)))[:, :count]
        made = [
            judged(
                scores.argmax(axis=1) == np.arange(count),
                scores.max(axis=1),
                attack=self.name,
                knows="weights",
                metric="accuracy",
                steps=ran,
                complete=complete,
                seed=seed,
            )
        ]
        present = [c for c in range(count) if (said == c).any()]
        examples = None
        if present:
            unit = np.clip((victim.private - victim.low) / (victim.high - victim.low), 0, 1)
            means = np.stack([unit[said == c].mean(axis=0) for c in present])
            own = images[present]
            metrics = {"ssim": ssim(own, means)}
            if len(present) > 1:
                metrics["reidentified"] = found(own, means)
            made += [
                measure(
                    values,
                    attack=self.name,
                    knows="weights",
                    metric=metric,
                    steps=ran,
                    complete=complete,
                    seed=seed,
                )
                for metric, values in metrics.items()
            ]
            examples = Examples(_bytes(means[:SHOWN]), _bytes(own[:SHOWN]))
        note = "synthesis: originals are the mean held-out images of each class"
        return tuple(Outcome(each, examples, (note,)) for each in made)

    def _searched(
        self,
        victim: Victim,
        count: int,
        budget: Budget,
        seed: int,
        progress: Callable[[float], None],
    ) -> tuple[Array, int, bool]:
        """Return images in [0, 1], the steps that ran, and whether those were all."""
        keras = frameworks().keras
        ops = keras.ops
        deadline = Deadline(budget.seconds)
        random = np.random.default_rng(seed)
        start = 0.5 + 0.1 * random.standard_normal((count, *victim.private.shape[1:]))
        images = keras.Variable(start.astype(np.float32))
        wanted = np.eye(self._copy.model.output_shape[-1], dtype=np.float32)[:count]
        span = victim.high - victim.low

        def loss(target: Any) -> Any:
            x = ops.clip(images.value, 0, 1)
            said = self._copy.model(x * span + victim.low, training=False)
            liked = ops.sum(target * ops.log(ops.clip(said, _LEAST_SHARE, 1.0)), axis=1)
            down = ops.mean(ops.abs(x[:, 1:] - x[:, :-1]), axis=(1, 2, 3))
            along = ops.mean(ops.abs(x[:, :, 1:] - x[:, :, :-1]), axis=(1, 2, 3))
            outside = ops.mean((images.value - x) ** 2, axis=(1, 2, 3))
            return ops.sum(_VARIATION_WEIGHT * (down + along) + outside - liked)

        step = stepper(loss, [images], optimizer(rate=_RATE, steps=budget.steps))
        ran = 0
        while ran < budget.steps and not deadline.over and np.isfinite(step(wanted)):
            ran += 1
            progress(ran / budget.steps)
        made = np.asarray(images.value)
        good = ran == budget.steps and bool(np.isfinite(made).all())
        return np.clip(np.nan_to_num(made, nan=0.0), 0, 1), ran, good


def _scaled(victim: Victim, images: Array) -> Array:
    return np.asarray(images * (victim.high - victim.low) + victim.low, np.float32)


def _bytes(images: Array) -> Array:
    return np.asarray(np.rint(np.clip(images, 0, 1) * 255), np.uint8)
