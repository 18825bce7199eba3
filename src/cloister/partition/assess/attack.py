"""What an attack on a cut is given, what it may spend, and what it says.

An attack runs on the owner's side and is given everything; each declares what its adversary would
know (`Measure.knows`) and keeps to it: a decoder that claims to know queries only does not look at
`Target.model`.

Images are float32, batch first and channels last, in whatever scale the model takes; `Target.low`
and `Target.high` are the ends of that scale. Crossing tensors with two spatial axes have their
channels last too. Metrics are of images brought to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from cloister.partition.graph import TensorInfo
from cloister.partition.report import Measure

__all__ = ["SHOWN", "Array", "Attack", "Budget", "Examples", "Front", "Outcome", "Target"]

Array = npt.NDArray[Any]
Front = Callable[[Array], tuple[Array, ...]]

# Examples of each attack that a page shows: the ones that fare worst come first.
SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Budget:
    """What one attack may spend; whichever ends first ends it, and then it is not complete.

    Attributes:
        steps: Steps of the optimiser, for each restart.
        seconds: Wall-clock time of the whole attack.
        restarts: How many times it starts anew from other random values; the best counts.
        batch: Examples of one step.
    """

    steps: int
    seconds: float
    restarts: int = 1
    batch: int = 64


@dataclass(frozen=True, slots=True)
class Target:
    """One cut, and what an owner has beside it to try it with.

    Attributes:
        front: The secret part: a batch of images in, the crossing tensors out, in the order of
            `tensors`. With whatever noise the cut adds.
        tensors: What crosses; the first axis is the batch.
        private: Images that the adversary must not see: held out, in no set that he trains on.
        proxy: Images of the same kind that are public.
        low: The model's black.
        high: The model's white.
        private_labels: Classes of `private`, whole numbers, where they are known.
        proxy_labels: Classes of `proxy`.
        model: The same front as a `keras.Model` without the noise, from images to the crossing
            tensor, or a list of them, where there is one; attacks by gradients need it.
        exposed: The part that lies outside as a `keras.Model`, from the crossing tensors to the
            network's outputs, where there is one and the cut leaves it whole.
        noise: Standard deviation of the Gaussian noise that the cut adds to every crossing number.
    """

    front: Front
    tensors: tuple[TensorInfo, ...]
    private: Array
    proxy: Array
    low: float
    high: float
    private_labels: Array | None = None
    proxy_labels: Array | None = None
    model: Any | None = None
    exposed: Any | None = None
    noise: float = 0.0

    def unit(self, images: Array) -> Array:
        """Return images of the model's scale in [0, 1], float32."""
        scaled = (np.asarray(images, np.float32) - self.low) / (self.high - self.low)
        clipped: Array = np.clip(scaled, 0.0, 1.0)
        return clipped

    def scaled(self, images: Array) -> Array:
        """Return images of [0, 1] in the model's scale, float32."""
        return np.asarray(images, np.float32) * (self.high - self.low) + self.low


@dataclass(frozen=True, slots=True)
class Examples:
    """Originals beside what an attack made of them, uint8, (n, height, width, channels)."""

    originals: Array
    reconstructions: Array


@dataclass(frozen=True, slots=True)
class Outcome:
    """One measure, and examples for the page where the attack gives images.

    Attributes:
        measure: The number, as the report has it.
        examples: Those that fare worst, `SHOWN` at most; the measures of one attack share them.
        notes: Sentences for the reader, such as what was left out for lack of time.
    """

    measure: Measure
    examples: Examples | None = None
    notes: tuple[str, ...] = field(default=())


class Attack(Protocol):
    """Something that tries to learn of `Target.private` what it should not."""

    @property
    def name(self) -> str:
        """The attack's word in the report."""
        ...

    def run(
        self,
        target: Target,
        *,
        budget: Budget,
        seed: int,
        progress: Callable[[float], None],
    ) -> tuple[Outcome, ...]:
        """Attack, within the budget, and return what came of it.

        `progress` hears numbers that rise from 0 to 1. The same seed on the same machine gives the
        same numbers, unless time ran out. An attack that the target gives it no means for (no
        `model`, no labels) returns nothing: what is missing is for the verdict to notice.
        """
        ...
