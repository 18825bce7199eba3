"""Defences at one cut: what each costs in accuracy, and what the decoder makes of it then.

Three are tried. *Noise*: Gaussian, on every crossing number, as much of it as costs no more
accuracy than is allowed. *Decorrelation*: the secret front is trained further, with a penalty on
what it says of the image. *Side adapters*: front and exposed backbone stay as they are, and small
networks in the enclave change what crosses and complete the answer.

A defence is scored by the attacker who knows of it: the decoder is trained anew on what crosses
with the defence in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from cloister.partition.assess.attack import Array, Budget, Front, Outcome, Target
from cloister.partition.assess.decoder import Decoder
from cloister.partition.assess.decorrelation import adapted, train
from cloister.partition.assess.fresh import copied
from cloister.partition.assess.gradients import outputs
from cloister.partition.assess.networks import probabilities
from cloister.partition.assess.representation import FisherLeakage
from cloister.partition.assess.surrogate import in_batches
from cloister.partition.report import DefenceReport

__all__ = ["DEFENCES", "Defended", "try_defence"]

DEFENCES: Final = ("noise", "decorrelation", "side-adapters")
LOSS_ALLOWED: Final = 0.02
_PENALTY: Final = 5.0
_HALVINGS: Final = 12
_LEAST_SHARE: Final = 1e-7


@dataclass(frozen=True, slots=True)
class Defended:
    """A defence's numbers, and what goes with them on a page.

    Attributes:
        report: For the report.
        outcomes: The attacks' own, with their examples.
    """

    report: DefenceReport
    outcomes: tuple[Outcome, ...]


def try_defence(
    name: str,
    target: Target,
    *,
    position: int,
    rest: Callable[[tuple[Array, ...]], Array],
    labels: tuple[Array, Array],
    budget: Budget,
    seed: int,
    progress: Callable[[float], None],
) -> Defended | None:
    """Put a defence in place and attack it.

    Args:
        name: One of `DEFENCES`.
        target: The cut without it.
        position: Its position.
        rest: From what crosses to scores: the exposed part.
        labels: Classes of the held-out and of the public images.
        budget: Of training and of each attack.
        seed: Of everything random.
        progress: Hears numbers that rise from 0 to 1.

    Returns:
        None where the model gives no gradients, which all but noise need.
    """
    private_labels, proxy_labels = labels
    plain = in_batches(target.front, target.private, budget.batch)
    before = _accuracy(rest(plain.tensors), private_labels)
    if name == "noise":
        parameter = _calibrated(target, rest, proxy_labels, budget, seed)
        defended = replace(target, front=_noisy(target.front, parameter, seed), noise=parameter)
        after = rest(in_batches(defended.front, target.private, budget.batch).tensors)
        attacks: tuple[Any, ...] = (Decoder(knows="queries"), FisherLeakage())
    else:
        if target.model is None or target.exposed is None:
            return None
        made = _trained(
            name, target, proxy_labels, budget, seed=seed, progress=lambda p: progress(0.5 * p)
        )
        defended, side, parameter = made
        after = rest(in_batches(defended.front, target.private, budget.batch).tensors)
        if side is not None:
            after = np.log(np.clip(probabilities(after), _LEAST_SHARE, 1)) + _of(
                side, target.private, budget.batch
            )
        attacks = (Decoder(knows="queries"),)
    found = tuple(
        outcome
        for attack in attacks
        for outcome in attack.run(
            defended, budget=budget, seed=seed, progress=lambda p: progress(0.5 + 0.5 * p)
        )
    )
    report = DefenceReport(
        position=position,
        name=name,
        parameter=parameter,
        accuracy_before=before,
        accuracy_after=_accuracy(after, private_labels),
        measures=tuple(each.measure for each in found),
    )
    return Defended(report, found)


def _trained(
    name: str,
    target: Target,
    labels: Array,
    budget: Budget,
    *,
    seed: int,
    progress: Callable[[float], None],
) -> tuple[Target, Any | None, float]:
    """Return the cut with a trained secret side, its side network, and the penalty's weight."""
    front, side = copied(target.model), None
    exposed = target.exposed
    if name == "side-adapters":
        front, side = adapted(
            front,
            classes=_classes(exposed),
            image=target.proxy.shape[1:],
            seed=seed,
        )
    train(
        front,
        exposed,
        target,
        labels,
        weight=_PENALTY,
        side=side,
        budget=budget,
        seed=seed,
        progress=progress,
    )
    made = replace(target, front=lambda images: outputs(front, images, batch=64), model=front)
    return made, side, _PENALTY


def _calibrated(
    target: Target,
    rest: Callable[[tuple[Array, ...]], Array],
    labels: Array,
    budget: Budget,
    seed: int,
) -> float:
    """Return the largest deviation of noise that public images allow, by halving an interval."""
    clean = in_batches(target.front, target.proxy, budget.batch).tensors
    wanted = _accuracy(rest(clean), labels) - LOSS_ALLOWED
    scale = max(float(np.std(tensor, dtype=np.float64)) for tensor in clean)
    low, high = (
        -10.0,
        5.0,
    )  # of the base-two logarithm of the deviation, in deviations of what crosses
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        noisy = _with_noise(clean, scale * 2.0**middle, np.random.default_rng(seed))
        if _accuracy(rest(noisy), labels) >= wanted:
            low = middle
        else:
            high = middle
    return float(scale * 2.0**low)


def _noisy(front: Front, deviation: float, seed: int) -> Front:
    random = np.random.default_rng(seed)
    return lambda images: _with_noise(front(images), deviation, random)


def _with_noise(
    tensors: tuple[Array, ...], deviation: float, random: np.random.Generator
) -> tuple[Array, ...]:
    return tuple(
        t + (deviation * random.standard_normal(t.shape, np.float32)).astype(t.dtype)
        for t in tensors
    )


def _accuracy(scores: Array, labels: Array) -> float:
    return float((scores.argmax(axis=1) == labels).mean())


def _classes(exposed: Any) -> int:
    shape = exposed.output_shape
    return int(shape[0][-1] if isinstance(shape, list) else shape[-1])


def _of(side: Any, images: Array, batch: int) -> Array:
    return outputs(side, images, batch=batch)[0]
