"""What the terms demand of a private training, and what it has spent.

The promise is that of `training.privacy`: the parameters, after each step, are a differentially
private function of this trainer's examples, between sets that differ by one. It covers nothing that
was chosen by looking at the examples before: an architecture, features, a learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloister.cleanroom.engine.network import Network
from cloister.errors import ConfigError
from cloister.training.privacy.accounting import Mechanism, epsilon_of
from cloister.training.privacy.parameters import MAX_STEPS, PrivacyParameters
from cloister.training.privacy.statement import Statement

__all__ = ["Privacy", "refusal", "require_separate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """The plan of one trainer's steps, by DP-SGD with Poisson sampling.

    Args:
        examples: How many the trainer has, planted ones included; the number is public.
        batch: How many take part in a step on average.
        clip: The L2 norm over all weights that no example's gradient exceeds.
        noise_multiplier: The noise's standard deviation, in units of `clip`.
        delta: The chance with which the promise may fail; below 1 / `examples`.
        epsilon_max: What all steps together may cost.
        steps: How many there will be. More are refused.

    Raises:
        ConfigError: `config.value`: a number that cannot be meant, or no bound that could be
            computed; `privacy.refused`: so many steps cost more than `epsilon_max`.
        MissingExtraError: dp-accounting is not installed.
    """

    examples: int
    batch: int
    clip: float
    noise_multiplier: float
    delta: float
    epsilon_max: float
    steps: int

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, and what costs too much."""
        PrivacyParameters(
            examples=self.examples,
            batch=self.batch,
            epochs=1,
            clip=self.clip,
            delta=self.delta,
            noise_multiplier=self.noise_multiplier,
        )
        if type(self.steps) is not int or not 1 <= self.steps <= MAX_STEPS:
            raise ConfigError(f"steps are 1 to {MAX_STEPS}", code="config.value")
        if not self.epsilon_max > 0:
            raise ConfigError("epsilon_max is above 0", code="config.value")
        planned = epsilon_of([self.mechanism(self.steps)], delta=self.delta)
        if planned > self.epsilon_max:
            raise refusal(
                f"{self.steps} steps cost epsilon {planned:.3f}; {self.epsilon_max:g} is agreed",
                hint="more noise, fewer rounds, or a smaller batch",
            )

    def mechanism(self, steps: int) -> Mechanism:
        """Return so many steps, for the accountant."""
        return Mechanism(
            examples=self.examples,
            batch=self.batch,
            clip=float(self.clip),
            noise_multiplier=float(self.noise_multiplier),
            steps=steps,
        )

    def statement(self, steps: int) -> Statement:
        """Return what so many steps have cost, as in privacy-statement-v1."""
        return Statement.of((self.mechanism(steps),), delta=self.delta, metrics_shown=False)


def require_separate(network: Network) -> None:
    """Refuse layers by which one example's gradient depends on another.

    Raises:
        ConfigError: `privacy.refused`.
    """
    if any(step.kind == "batch_norm" for step in network.steps):
        raise refusal(
            "the model has a batch_norm: it normalises an example by the others of its batch",
            hint="layer_norm, or no privacy in the terms",
        )


def refusal(public: str, *, hint: str | None = None) -> ConfigError:
    """Return the error of what the accounting would not hold for."""
    return ConfigError(public, code="privacy.refused", hint=hint)
