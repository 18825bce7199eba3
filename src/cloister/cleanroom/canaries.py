"""Records that were planted to be looked for: did the model learn single records by heart?

Some records are made up and added to a trainer's own; others are made up in the same way and kept
aside. A model that remembers no single record finds the planted ones as likely as the others. How
far up a planted one stands among those kept aside is its exposure, in bits (Carlini et al., 2019):
0 for the least likely of them, log2 of their number for the most likely; 1.44 on average by chance.

What it shows: that something was remembered. What it cannot show: that nothing was. A recipe that
recognises planted records and leaves them out is not seen by this; so they are made to look like
records (two of these, blended, with the label of a third), from a seed that the recipe is not told.
Where privacy is accounted for, they have nothing of any record in them: a blend would let one
record count as several.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from cloister.errors import ConfigError

__all__ = [
    "BY_CHANCE",
    "MAX_TENTHS",
    "REFERENCES",
    "Exposure",
    "Planted",
    "exposure",
    "exposure_tenths",
    "plant",
    "rank_exposure",
]

REFERENCES: Final = 1023  # kept aside, so that exposure has ten bits at most
BY_CHANCE: Final = 1.4427  # bits on average, where nothing is remembered
MAX_CANARIES: Final = 1024
MAX_TENTHS: Final = 100  # log2(1 + REFERENCES) bits
_TRIALS: Final = 1023

Array = np.ndarray[Any, Any]


class Judge(Protocol):
    """A model that says how unlikely it finds examples. An `Engine` is one."""

    def losses(self, x: Any, y: Any) -> Array:
        """Return each example's loss."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A trainer's records and the planted ones, and those kept aside.

    Attributes:
        x: All records, the planted ones last.
        y: Their labels.
        count: How many are planted.
        aside_x: Records that nothing was trained on.
        aside_y: Their labels.
    """

    x: Array
    y: Array
    count: int
    aside_x: Array
    aside_y: Array


@dataclass(frozen=True, slots=True)
class Exposure:
    """What was found.

    Attributes:
        canaries: How many were planted.
        references: With how many they were compared.
        mean_bits: Their exposure on average.
        most_bits: The greatest exposure.
        chance: How often a mean as great comes about where nothing is remembered.
    """

    canaries: int
    references: int
    mean_bits: float
    most_bits: float
    chance: float

    def record(self) -> dict[str, Any]:
        """Return what a receipt says; numbers that are no integers are decimal texts."""
        return {
            "canaries": self.canaries,
            "references": self.references,
            "mean_bits": f"{self.mean_bits:.2f}",
            "most_bits": f"{self.most_bits:.2f}",
            "chance": f"{self.chance:.4f}",
        }


def plant(x: Array, y: Array, *, count: int, seed: int, classes: int, apart: bool) -> Planted:
    """Add records that are made up.

    Args:
        x: A trainer's records, as they were sealed.
        y: Their labels.
        count: How many to add; the terms say it.
        seed: Secret, fresh from the kernel: whoever knows it knows the planted ones.
        classes: How many labels there are.
        apart: Whether they are independent of all records, as an accounting of privacy needs. Then
            they are noise, and easier to recognise.

    Raises:
        ConfigError: `config.value`: a number out of range, or nothing to blend.
    """
    if type(count) is not int or not 0 <= count <= MAX_CANARIES:
        raise ConfigError(f"canaries are 0 to {MAX_CANARIES}", code="config.value")
    if len(x) != len(y) or (len(x) == 0 and not apart):
        raise ConfigError("canaries need records, each with its label", code="config.value")
    source = np.random.Generator(np.random.Philox(seed))
    total = count + REFERENCES
    if apart:
        made_x = _noise(x, total, source)
        made_y = np.asarray(source.integers(0, classes, total), y.dtype)
    else:
        made_x, made_y = _blends(x, total, source), y[source.integers(0, len(y), total)]
    return Planted(
        x=np.concatenate([x, made_x[:count]]),
        y=np.concatenate([y, made_y[:count]]),
        count=count,
        aside_x=made_x[count:],
        aside_y=made_y[count:],
    )


def exposure(
    engine: Judge, planted: Planted, *, features: Callable[[Array], Array] | None
) -> Exposure | None:
    """Measure a trained model; None where nothing was planted.

    Args:
        engine: The model.
        planted: What `plant` has returned; the model was trained on its `x`.
        features: From records to what the model takes; None where it takes records.
    """
    if planted.count == 0:
        return None
    found = []
    for x, y in (
        (planted.x[-planted.count :], planted.y[-planted.count :]),
        (planted.aside_x, planted.aside_y),
    ):
        found.append(engine.losses(x if features is None else features(x), y))
    return rank_exposure(*found)


def rank_exposure(planted: Array, aside: Array) -> Exposure:
    """Compare the losses of planted records with those of records kept aside.

    A loss that is no number counts as the greatest. Among equal losses, a rank is the middle one.
    """
    planted, aside = _numbers(planted), np.sort(_numbers(aside))
    below = np.searchsorted(aside, planted, "left")
    equal = np.searchsorted(aside, planted, "right") - below
    bits = _bits(1 + below + equal / 2, len(aside))
    return Exposure(
        canaries=len(planted),
        references=len(aside),
        mean_bits=float(bits.mean()),
        most_bits=float(bits.max()),
        chance=_chance(float(bits.mean()), len(planted), len(aside)),
    )


def exposure_tenths(mean_bits: float | None) -> int:
    """Return an exposure as a receipt says it: in tenths of bits, rounded up, 1 to 100.

    0 says that nobody measured. The trainers' mean has been rounded, so that 1.4 is 14 and not 15.

    Args:
        mean_bits: On average over all trainers that measured; None where none did.
    """
    if mean_bits is None or not math.isfinite(mean_bits):
        return 0
    return min(max(1, math.ceil(round(10 * mean_bits, 6))), MAX_TENTHS)


def _chance(mean: float, count: int, references: int) -> float:
    """Return how often `count` of all, drawn at random, are exposed as much on average."""
    source = np.random.Generator(np.random.Philox(0))
    reached = 0
    for _ in range(_TRIALS):
        places = np.sort(source.choice(count + references, count, replace=False))
        reached += bool(_bits(1 + places - np.arange(count), references).mean() >= mean)
    return (1 + reached) / (1 + _TRIALS)


def _bits(ranks: Any, references: int) -> Any:
    return np.log2(1 + references) - np.log2(ranks)


def _numbers(losses: Array) -> Any:
    return np.nan_to_num(np.asarray(losses, np.float64), nan=np.inf, posinf=np.inf)


def _blends(x: Array, count: int, source: np.random.Generator) -> Array:
    one, other = source.integers(0, len(x), (2, count))
    share = source.uniform(0.25, 0.75, (count, *(1,) * (x.ndim - 1)))
    blended = x[one] * share + x[other] * (1 - share)
    return np.asarray(np.rint(blended) if x.dtype.kind in "iu" else blended, x.dtype)


def _noise(x: Array, count: int, source: np.random.Generator) -> Array:
    shape = (count, *x.shape[1:])
    if x.dtype.kind in "iu":
        return np.asarray(source.integers(0, 1 + min(255, np.iinfo(x.dtype).max), shape), x.dtype)
    return np.asarray(source.random(shape), x.dtype)
