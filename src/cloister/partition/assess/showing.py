"""From reconstructions to measures and to what a page shows."""

from __future__ import annotations

from typing import Final

import numpy as np

from cloister.partition.assess.attack import SHOWN, Array, Examples, Outcome, Target
from cloister.partition.assess.metrics import (
    LOWER_IS_WORSE,
    found,
    gain,
    mse,
    psnr,
    spread,
    ssim,
)
from cloister.partition.report import Measure

__all__ = ["CANDIDATES", "ends", "mean_image", "measure", "outcomes", "shown", "similarities"]

# Re-identification is among so many held-out images at most: chance finds one in as many.
CANDIDATES: Final = 200


def mean_image(target: Target) -> Array:
    """Return the mean of the public images in [0, 1]: what is guessed by who knows nothing."""
    result: Array = target.unit(target.proxy).mean(axis=0, keepdims=True)
    return result


def similarities(reconstructions: Array, originals: Array, guess: Array) -> dict[str, Array]:
    """Return every metric of images in [0, 1], one number for each image.

    Args:
        reconstructions: What an attack made.
        originals: What it should not have.
        guess: The mean image.
    """
    alike = ssim(reconstructions, originals)
    of_the_mean = ssim(np.broadcast_to(guess, originals.shape), originals)
    count = min(len(originals), CANDIDATES)
    return {
        "mse": mse(reconstructions, originals),
        "psnr": psnr(reconstructions, originals),
        "ssim": alike,
        "ssim-gain": gain(alike, of_the_mean),
        "reidentified": found(reconstructions[:count], originals[:count]),
    }


def outcomes(
    target: Target,
    reconstructions: Array,
    *,
    attack: str,
    knows: str,
    steps: int,
    complete: bool,
    seed: int,
    notes: tuple[str, ...] = (),
) -> tuple[Outcome, ...]:
    """Return the measures of reconstructions, in [0, 1], of the first held-out images."""
    originals = target.unit(target.private[: len(reconstructions)])
    metrics = similarities(np.clip(reconstructions, 0, 1), originals, mean_image(target))
    examples = shown(originals, reconstructions, order=-metrics["ssim-gain"])
    return tuple(
        Outcome(
            measure(
                values,
                attack=attack,
                knows=knows,
                metric=metric,
                steps=steps,
                complete=complete,
                seed=seed,
            ),
            examples,
            notes,
        )
        for metric, values in metrics.items()
    )


def measure(
    values: Array, *, attack: str, knows: str, metric: str, steps: int, complete: bool, seed: int
) -> Measure:
    """Return the measure of one number for each example.

    Numbers that are not finite count as 0, and the measure as not complete.
    """
    finite = bool(np.isfinite(values).all())
    if not finite:
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    s = spread(values, lower_is_worse=metric in LOWER_IS_WORSE, seed=seed)
    return Measure(
        attack=attack,
        knows=knows,
        metric=metric,
        worst_decile=s.worst_decile,
        mean=s.mean,
        low=s.low,
        high=s.high,
        examples=len(values),
        steps=steps,
        complete=complete and finite,
    )


def ends(target: Target, *, seed: int) -> dict[str, dict[str, float]]:
    """Return the means of every metric at the ends of the scale, and of the guess between.

    `identity` is the original itself, `noise` white noise, `mean` the mean public image.
    """
    originals = target.unit(target.private)
    guess = mean_image(target)
    noise = np.random.default_rng(seed).random(originals.shape, np.float32)
    made = {
        "identity": originals,
        "noise": noise,
        "mean": np.broadcast_to(guess, originals.shape),
    }
    return {
        name: {
            metric: float(values.mean())
            for metric, values in similarities(images, originals, guess).items()
        }
        for name, images in made.items()
    }


def shown(originals: Array, made: Array, *, order: Array) -> Examples:
    """Return the examples with the least `order` as uint8, of images in [0, 1]."""
    first = np.argsort(order, kind="stable")[:SHOWN]
    return Examples(_bytes(originals[first]), _bytes(made[first]))


def _bytes(images: Array) -> Array:
    made: Array = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    return made
