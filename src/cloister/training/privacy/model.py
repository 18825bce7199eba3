"""A Keras model that trains by DP-SGD (Abadi et al., 2016).

A step, in this order:

1. Draw a batch: each example takes part with probability `batch / examples` (`sampling.py`).
2. Compute each example's gradient, from a batch of that example alone (`gradients.py`).
3. Cut each to the norm `clip`, over all weights together, and sum them (`clipping.py`).
4. Add noise once, of `noise_multiplier * clip`, to the sum (`noise.py`).
5. Divide by the expected size of a batch: the size that was drawn is not public.
6. Give that to the optimizer, whatever it is: from here on nothing costs privacy.

How many steps were done is a weight of the model, so that it is saved and comes back with the
others; it never goes down. Samples and noise are not: nothing of them is kept anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

from cloister.training.privacy.accounting import epsilon_of, mechanism_of, steps_within
from cloister.training.privacy.callbacks import Ledger
from cloister.training.privacy.checks import (
    refusal,
    require_no_strategy,
    require_optimizer,
    require_private,
)
from cloister.training.privacy.frameworks import keras, tf
from cloister.training.privacy.gradients import Gradients
from cloister.training.privacy.noise import SUMMANDS, gaussian, kernel_words
from cloister.training.privacy.parameters import PrivacyParameters
from cloister.training.privacy.sampling import PoissonBatches
from cloister.training.privacy.statement import Statement

__all__ = ["PrivateModel", "make_private"]

_REFUSED: Final = {
    "validation_split": "it changes how many examples there are: give validation_data",
    "class_weight": "give sample_weight instead",
    "steps_per_epoch": "an epoch has round(examples / batch) steps",
}


def make_private(
    model: Any, parameters: PrivacyParameters, *, earlier: Sequence[Statement] = ()
) -> PrivateModel:
    """Return a model that has the same weights, and trains them privately.

    Args:
        model: A Keras model. It is not changed, but its weights are shared: train it no other way.
        parameters: The plan.
        earlier: What was spent on the same examples before, if the results of both are seen.

    Raises:
        ConfigError: `privacy.refused`: the promise would not hold for this model;
            `config.value`: no noise keeps the plan's epsilon.
        MissingExtraError: dp-accounting is not installed.
    """
    require_private(model)
    return PrivateModel(model, parameters, earlier=earlier)


class PrivateModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model around another, whose `fit` is differentially private; see `make_private`."""

    def __init__(
        self, model: Any, parameters: PrivacyParameters, *, earlier: Sequence[Statement] = ()
    ) -> None:
        """Compute the noise; `make_private` has checked the model."""
        super().__init__(name=f"private_{model.name}")
        self.parameters = parameters
        self._earlier = tuple(each for one in earlier for each in one.mechanisms)
        self._shown_before = any(each.metrics_shown for each in earlier)
        self._planned = mechanism_of(parameters, self._earlier)
        self.inner = model
        self._spent = self.add_weight(
            name="spent_steps", shape=(), dtype="int64", initializer="zeros", trainable=False
        )
        self._plan = self.add_weight(
            name="plan", shape=(4,), dtype="float64", initializer="zeros", trainable=False
        )
        self._plan.assign(self._plan_values())
        self.built = bool(model.built)

    # What a person asks.

    @property
    def noise_multiplier(self) -> float:
        """The noise's standard deviation, in units of the clipping norm."""
        return self._planned.noise_multiplier

    @property
    def spent_steps(self) -> int:
        """How many steps were done."""
        return int(self._spent.numpy())

    @property
    def spent_epsilon(self) -> float:
        """What they cost, earlier trainings included."""
        return self.epsilon_after(self.spent_steps)

    def epsilon_after(self, steps: int) -> float:
        """Return what so many steps of the plan cost, earlier trainings included."""
        return epsilon_of(
            [*self._earlier, replace(self._planned, steps=steps)], delta=self.parameters.delta
        )

    def steps_within(self, epsilon: float) -> int:
        """Return how many steps of the plan cost at most `epsilon`, earlier trainings included."""
        return steps_within(
            self._planned, self._earlier, epsilon=epsilon, delta=self.parameters.delta
        )

    def statement(self) -> Statement:
        """Return what was spent until now."""
        return Statement.of(
            (*self._earlier, replace(self._planned, steps=self.spent_steps)),
            delta=self.parameters.delta,
            metrics_shown=self.parameters.show_metrics or self._shown_before,
        )

    # What Keras calls.

    def call(self, inputs: Any, training: bool | None = None) -> Any:  # noqa: FBT001  # Keras's signature
        """Compute what the model inside computes."""
        return self.inner(inputs, training=training)

    def compile(self, *args: Any, **options: Any) -> None:
        """As of any model, but without XLA, which is slower for gradients of single examples."""
        if options.get("jit_compile", "auto") not in ("auto", False):
            raise refusal("private steps are not compiled by XLA", hint="leave jit_compile out")
        super().compile(*args, **(options | {"jit_compile": False}))
        require_optimizer(self.optimizer)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        *,
        sample_weight: Any = None,
        callbacks: Sequence[Any] | None = None,
        initial_epoch: int = 0,
        **options: Any,
    ) -> Any:
        """Train on arrays of examples. Batches are drawn here; `epochs` are the plan's, or fewer.

        Raises:
            ConfigError: `privacy.refused`: data, options or steps that are not accounted for.
        """
        for name, why in _REFUSED.items():
            if options.get(name):
                raise refusal(f"{name} has no place in a private training: {why}")
        if batch_size not in (None, self.parameters.batch):
            raise refusal(f"the plan's batch is {self.parameters.batch}, not {batch_size}")
        if y is None:
            raise refusal("x and y are arrays, and y is missing")
        require_no_strategy(self.inner)
        epochs = self.parameters.epochs if epochs is None else epochs
        self._require_room(epochs - initial_epoch)
        batches = PoissonBatches(x, y, sample_weight, parameters=self.parameters)
        self._symbolic_build(data_batch=batches[0])  # metrics that no step updates are asked too
        require_private(self.inner)
        return super().fit(
            batches,
            epochs=epochs,
            callbacks=[Ledger(), *keras.tree.flatten(callbacks or [])],
            initial_epoch=initial_epoch,
            **options,
        )

    def train_step(self, data: Any) -> dict[str, Any]:
        """Do one step; it is counted before anything is computed."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        if y is None or weights is None:
            raise refusal("a batch that fit has not drawn")
        limit = tf.debugging.assert_less(
            tf.convert_to_tensor(self._spent.value),
            tf.constant(self.parameters.steps, tf.int64),
            "the steps of the plan are spent",
        )
        with tf.control_dependencies([] if limit is None else [limit]):
            self._spent.assign_add(1)
        seen = self._see if self.parameters.show_metrics else None
        sums = self._gradients().sum_over_batch(x, y, weights, seen=seen)
        pairs = [
            (self._noisy(total), weight)
            for total, weight in zip(sums, self.inner.trainable_weights, strict=True)
            if total is not None
        ]
        self.optimizer.apply_gradients(pairs)
        if seen is None:
            return {"spent_steps": self._spent.value}
        return dict(self.get_metrics_result())

    def train_on_batch(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: a batch that somebody chose is not a sample."""
        raise refusal("train_on_batch takes a batch that was not drawn", hint="call fit")

    def save(self, *args: Any, **options: Any) -> None:
        """Save the model inside, whole, for whoever uses it; `save_weights` is for resuming."""
        self.inner.save(*args, **options)

    def export(self, *args: Any, **options: Any) -> None:
        """Export the model inside."""
        self.inner.export(*args, **options)

    def load_weights(self, filepath: Path | str, **options: Any) -> None:
        """Load what `save_weights` of the same plan has saved; steps that were done stay counted.

        Raises:
            ConfigError: `privacy.refused`: the file is from another plan.
        """
        before = self.spent_steps
        super().load_weights(filepath, **options)
        self._keep_count(before)

    def set_weights(self, weights: Any) -> None:
        """Set weights of the same plan, an earlier epoch's for instance; steps stay counted."""
        before = self.spent_steps
        super().set_weights(weights)
        self._keep_count(before)

    def _keep_count(self, before: int) -> None:
        found = [float(each) for each in self._plan.numpy()]
        self._spent.assign(max(before, self.spent_steps))
        if found != self._plan_values():
            self._plan.assign(self._plan_values())
            raise refusal(
                "these weights are of another plan, whose steps cost something else",
                hint="make_private with the plan's statement among the earlier ones",
            )

    def _plan_values(self) -> list[float]:
        plan = self._planned
        return [float(plan.examples), float(plan.batch), plan.clip, plan.noise_multiplier]

    def _require_room(self, epochs: int) -> None:
        wanted = max(epochs, 0) * self.parameters.steps_per_epoch
        left = self.parameters.steps - self.spent_steps
        if wanted > left:
            raise refusal(
                f"{epochs} epochs are {wanted} steps, and the plan has {max(left, 0)} left",
                hint="fewer epochs; initial_epoch when a training is resumed; or a new plan",
            )

    def _gradients(self) -> Gradients:
        return Gradients(
            model=self.inner,
            loss=lambda x, y, outputs, weights: self.compute_loss(
                x, y, outputs, weights, training=True
            ),
            weights=self.inner.trainable_weights,
            clip=float(self.parameters.clip),
            microbatch=self.parameters.microbatch,
        )

    def _noisy(self, total: Any) -> Any:
        deviation = self.noise_multiplier * self.parameters.clip
        noise = gaussian(tf.shape(total), deviation=deviation, words=kernel_words(SUMMANDS))
        return tf.cast((tf.cast(total, tf.float64) + noise) / self.parameters.batch, total.dtype)

    def _see(self, x: Any, y: Any, outputs: Any, weights: Any) -> None:
        """Update metrics by examples that took part, as ordinary training does."""
        loss = self.compute_loss(x, y, outputs, weights, training=True)
        count = tf.shape(tf.nest.flatten(outputs)[0])[0]
        self._loss_tracker.update_state(loss, sample_weight=tf.cast(count, loss.dtype))
        self.compute_metrics(x, y, outputs, weights)
