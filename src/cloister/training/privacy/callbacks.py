"""What watches a private training: its spending in the logs, and where it stops."""

from __future__ import annotations

from typing import Any

from cloister.errors import ConfigError
from cloister.training.privacy.frameworks import keras

__all__ = ["Ledger", "StopAtEpsilon"]


class Ledger(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Adds `epsilon`, spent so far, to each epoch's logs; stands before all other callbacks.

    It also ends a training that would do more steps than were planned, however it came there.
    """

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002  # Keras's signature
        """Refuse a step beyond the plan."""
        if self.model.spent_steps >= self.model.parameters.steps:
            raise ConfigError(
                f"the {self.model.parameters.steps} steps of the plan are spent",
                code="privacy.refused",
                hint="train on under new parameters, with this statement as an earlier one",
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002  # Keras's signature
        """Say what is spent."""
        if logs is not None:
            logs["epsilon"] = self.model.spent_epsilon


class StopAtEpsilon(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Stops a private training before a step that would cost more than `epsilon`.

    Args:
        epsilon: The budget, below the plan's. Earlier trainings count.
    """

    def __init__(self, epsilon: float) -> None:
        """Keep the budget."""
        super().__init__()
        self._epsilon = epsilon
        self._steps = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002  # Keras's signature
        """Compute how many steps that is.

        Raises:
            ConfigError: `privacy.refused`: not one more.
        """
        self._steps = self.model.steps_within(self._epsilon)
        if self._too_many():
            raise ConfigError(
                f"an epsilon of {self._epsilon:g} has no room for another step",
                code="privacy.refused",
            )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002  # Keras's signature
        """Stop where the next step would cost too much."""
        if self._too_many():
            self.model.stop_training = True

    def _too_many(self) -> bool:
        return bool(self.model.spent_steps + self.model.steps_per_execution > self._steps)
