"""Knock-off: a copy of the model, by who has the exposed part's weights and some answers.

The adversary knows the architecture. He asks the service a few hundred public images and trains a
network whose secret parts start anew and whose exposed part starts with its weights: first only the
secret parts learn, then all. Of the two, and of a copy made without any weights, the one counts
that agrees best with answers that it was not trained on. Answers are whole vectors of scores: more
than a service gives that answers with labels.

Beside it stands the black-box end, the same without any weights. The white-box end needs no
training: who has all weights has the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from cloister.partition.assess.attack import Array, Budget, Outcome
from cloister.partition.assess.clock import Deadline
from cloister.partition.assess.frameworks import frameworks
from cloister.partition.assess.fresh import copied, fresh
from cloister.partition.assess.gradients import optimizer, outputs, stepper
from cloister.partition.assess.judged import judged
from cloister.partition.assess.networks import probabilities

__all__ = ["QUERIES", "Copy", "KnockOff", "Victim"]

QUERIES: Final = 300
_RATE: Final = 2e-3
_RATE_OF_ALL: Final = 3e-4
_LEAST_SHARE: Final = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class Victim:
    """A model cut in three, and what its owner tries the adversary with.

    Attributes:
        front: The secret part before, a `keras.Model` from images to a list of tensors.
        middle: The exposed part, from what crosses to what crosses behind it, or to the scores.
        back: The secret part behind, to the scores; None where the exposed part gives them.
        scores: The whole, from images to scores.
        private: Held-out images.
        proxy: Public images; `QUERIES` of them are asked.
        private_labels: Classes of the held-out images, where they are known.
        low: The model's black.
        high: The model's white.
    """

    front: Any
    middle: Any
    back: Any | None
    scores: Callable[[Array], Array]
    private: Array
    proxy: Array
    private_labels: Array | None
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """What the adversary made.

    Attributes:
        model: A `keras.Model` from images to probabilities.
        steps: How many steps it was trained.
        complete: Whether that was all of them.
        agreed: With what share of the answers that were kept apart it agrees.
    """

    model: Any
    steps: int
    complete: bool
    agreed: float


class KnockOff:
    """How often the copy says what the model says, and how often it is right."""

    name: Final = "knock-off"

    def __init__(self, *, queries: int = QUERIES) -> None:
        """Choose how many answers the adversary gets."""
        self._queries = queries
        self.copy: Copy | None = None

    def run(
        self, victim: Victim, *, budget: Budget, seed: int, progress: Callable[[float], None]
    ) -> tuple[Outcome, ...]:
        """Copy with the exposed weights (`weights`) and without any (`queries`).

        The copy of who has the weights stays in `copy`, for synthesis.
        """
        random = np.random.default_rng(seed)
        asked = victim.proxy[random.permutation(len(victim.proxy))[: self._queries]]
        answers = probabilities(victim.scores(asked)).astype(np.float32)
        said = probabilities(victim.scores(victim.private))
        copies: dict[str, Copy] = {}
        for i, knows in enumerate(("weights", "queries")):
            copies[knows] = _copy(
                victim,
                asked,
                answers,
                exposed=knows == "weights",
                budget=budget,
                deadline=Deadline(budget.seconds / 2),
                seed=seed,
                progress=lambda part, i=i: progress((i + part) / 2),  # type: ignore[misc]  # mypy knows no defaults of lambdas
            )
        # Who has the weights may do without them where that serves him better.
        if copies["queries"].agreed > copies["weights"].agreed:
            complete = copies["weights"].complete and copies["queries"].complete
            copies["weights"] = replace(copies["queries"], complete=complete)
        self.copy = copies["weights"]
        made: list[Outcome] = []
        for knows, copy in copies.items():
            made += self._outcomes(
                victim,
                copy,
                said,
                knows=knows,
                batch=budget.batch,
                seed=seed,
                queries=len(asked),
            )
        return tuple(made)

    def _outcomes(
        self,
        victim: Victim,
        copy: Copy,
        said: Array,
        *,
        knows: str,
        batch: int,
        seed: int,
        queries: int,
    ) -> list[Outcome]:
        own = outputs(copy.model, victim.private, batch=batch)[0]
        classes = own.argmax(axis=1)
        truths = {"fidelity": said.argmax(axis=1)}
        if victim.private_labels is not None:
            truths["accuracy"] = victim.private_labels
        note = f"the copies were trained on the answers to {queries} queries"
        return [
            Outcome(
                judged(
                    classes == truth,
                    own.max(axis=1),
                    attack=self.name,
                    knows=knows,
                    metric=metric,
                    steps=copy.steps,
                    complete=copy.complete,
                    seed=seed,
                ),
                None,
                (note,),
            )
            for metric, truth in truths.items()
        ]


def _copy(
    victim: Victim,
    asked: Array,
    answers: Array,
    *,
    exposed: bool,
    budget: Budget,
    deadline: Deadline,
    seed: int,
    progress: Callable[[float], None],
) -> Copy:
    """Train a copy, with the exposed part's weights or without."""
    secret = [fresh(victim.front, seed=seed)]
    if victim.back is not None:
        secret.append(fresh(victim.back, seed=seed + 1))
    middle = copied(victim.middle) if exposed else fresh(victim.middle, seed=seed + 2)
    parts = [secret[0], middle, *secret[1:]]
    model = _composed(parts, asked.shape[1:], normal=_are_normal(victim, asked))
    split = max(1, len(asked) // 8)
    apart, kept = slice(0, split), slice(split, None)
    own = [v for part in secret for v in part.trainable_variables]
    every = [v for part in parts for v in part.trainable_variables]
    phases = [(own, _RATE), (every, _RATE_OF_ALL)] if exposed and own else [(every, _RATE)]
    wanted = answers[apart].argmax(axis=1)
    best, best_weights, ran = -1.0, model.get_weights(), 0
    planned = budget.steps if any(variables for variables, _ in phases) else 0
    for i, (variables, rate) in enumerate(phases):
        steps = planned // len(phases) + (planned % len(phases) if i == 0 else 0)
        if variables:
            ran += _train(
                model,
                variables,
                asked[kept],
                answers[kept],
                rate=rate,
                steps=steps,
                budget=budget,
                deadline=deadline,
                seed=seed + i,
                progress=lambda done, ran=ran: progress((ran + done) / max(1, planned)),  # type: ignore[misc]  # mypy knows no defaults of lambdas
            )
        agreed = float(
            (outputs(model, asked[apart], batch=budget.batch)[0].argmax(axis=1) == wanted).mean()
        )
        if agreed >= best:
            best, best_weights = agreed, model.get_weights()
    model.set_weights(best_weights)
    finite = all(np.isfinite(weights).all() for weights in best_weights)
    return Copy(model, ran, finite and ran == planned, best)


def _train(
    model: Any,
    variables: list[Any],
    images: Array,
    answers: Array,
    *,
    rate: float,
    steps: int,
    budget: Budget,
    deadline: Deadline,
    seed: int,
    progress: Callable[[int], None],
) -> int:
    ops = frameworks().keras.ops

    def loss(given: Any, wanted: Any) -> Any:
        said = ops.clip(model(given, training=False), _LEAST_SHARE, 1.0)
        return -ops.mean(ops.sum(wanted * ops.log(said), axis=1))

    step = stepper(loss, variables, optimizer(rate=rate, steps=steps))
    random = np.random.default_rng(seed)
    size = min(budget.batch, len(images))
    ran = 0
    while ran < steps and not deadline.over:
        drawn = random.choice(len(images), size, replace=False)
        if not np.isfinite(step(images[drawn], answers[drawn])):
            break
        ran += 1
        progress(ran)
    return ran


def _composed(parts: list[Any], image: tuple[int, ...], *, normal: bool) -> Any:
    """Return parts one after the other, from images to probabilities."""
    keras = frameworks().keras
    inputs = keras.Input(image)
    values: Any = inputs
    for part in parts:
        values = part(values)
        if isinstance(values, list | tuple) and len(values) == 1:
            values = values[0]
    return keras.Model(inputs, values if normal else keras.layers.Softmax()(values))


def _are_normal(victim: Victim, images: Array) -> bool:
    said = np.asarray(victim.scores(images))
    return bool(np.allclose(probabilities(said), said, atol=1e-3))
