"""What a person decides before a private training, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.errors import ConfigError

__all__ = ["LEAST_NOISE", "MAX_EXAMPLES", "MAX_STEPS", "MOST_NOISE", "PrivacyParameters"]

MAX_EXAMPLES: Final = 2**40
MAX_STEPS: Final = 2**22
LEAST_NOISE: Final = 0.3  # below, accountants' tables grow, and nothing is protected
MOST_NOISE: Final = 1e3
_MOST_CLIP: Final = 1e6
_LEAST_DELTA: Final = 1e-20
_LEAST_EPSILON: Final = 1e-3
_MOST_EPSILON: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyParameters:
    """The plan of one training by DP-SGD with Poisson sampling.

    The promise is between data sets that differ by one example more or less.

    Args:
        examples: How many examples the data has; this number itself is taken as public.
        batch: How many examples take part in a step on average: each does with probability
            `batch / examples`, drawn anew for each step.
        epochs: How many times `round(examples / batch)` steps are planned. More are refused.
        clip: The L2 norm over all weights that no example's gradient exceeds.
        delta: The chance with which the promise may fail; below 1 / `examples`.
        epsilon: The promise. The noise that keeps it is computed. This or `noise_multiplier`.
        noise_multiplier: The noise's standard deviation, in units of `clip`.
        microbatch: How many gradients of single examples are in memory at one time. It changes
            memory and speed, and nothing else.
        show_metrics: Whether loss and metrics on the training data appear in logs. They are
            computed without noise, and no epsilon covers them.

    Raises:
        ConfigError: `config.value`: a number that cannot be meant.
    """

    examples: int
    batch: int
    epochs: int
    clip: float
    delta: float
    epsilon: float | None = None
    noise_multiplier: float | None = None
    microbatch: int = 64
    show_metrics: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        _whole("examples", self.examples, 1, MAX_EXAMPLES)
        _whole("batch", self.batch, 1, self.examples)
        _whole("epochs", self.epochs, 1, MAX_STEPS)
        _whole("microbatch", self.microbatch, 1, 2**20)
        _whole("the number of steps", self.steps, 1, MAX_STEPS)
        _between("clip", self.clip, 1 / _MOST_CLIP, _MOST_CLIP)
        _between("delta", self.delta, _LEAST_DELTA, 1)
        if not isinstance(self.show_metrics, bool):
            raise _refusal("show_metrics is True or False")
        if self.delta * self.examples >= 1:
            raise _refusal(
                f"delta is {self.delta:g}, and must be below 1/{self.examples}: with more, to"
                " publish one example whole would keep the promise"
            )
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise _refusal("say either epsilon or noise_multiplier")
        if self.epsilon is not None:
            _between("epsilon", self.epsilon, _LEAST_EPSILON, _MOST_EPSILON)
        if self.noise_multiplier is not None:
            _between("noise_multiplier", self.noise_multiplier, LEAST_NOISE, MOST_NOISE)

    @property
    def rate(self) -> float:
        """The probability with which an example takes part in a step."""
        return self.batch / self.examples

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which each example takes part about once on average."""
        return max(1, round(self.examples / self.batch))

    @property
    def steps(self) -> int:
        """Steps that are planned, and after which no more is done."""
        return self.epochs * self.steps_per_epoch


def _whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _refusal(f"{name} is a whole number from {least} to {most}, not {value!r}")


def _between(name: str, value: object, least: float, most: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most:  # type: ignore[operator]  # a number, as shown
        raise _refusal(f"{name} is a number from {least:g} to {most:g}, not {value!r}")


def _refusal(public: str) -> ConfigError:
    return ConfigError(public, code="config.value")
