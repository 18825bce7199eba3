"""The gradient of each example, by a vectorised map over batches of one.

In each batch of one, the model sees one example, so whatever it computes is a function of that
example and the weights. `sum_over_batch` takes one microbatch after the other, so that memory grows
with the microbatch and not with the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cloister.training.privacy import checks
from cloister.training.privacy.clipping import clipped_sum
from cloister.training.privacy.frameworks import keras, tf
from cloister.training.privacy.noise import kernel_words

__all__ = ["Gradients", "Seen"]

Seen = Callable[[Any, Any, Any, Any], None]


@dataclass(frozen=True, slots=True)
class Gradients:
    """How a model's gradients are computed.

    Attributes:
        model: Maps a batch to outputs.
        loss: Takes x, y, outputs and weights of a batch, and returns its loss.
        weights: With respect to what.
        clip: The norm of one example's gradient.
        microbatch: How many examples at one time; it divides every batch.
    """

    model: Any
    loss: Callable[[Any, Any, Any, Any], Any]
    weights: list[Any]
    clip: float
    microbatch: int

    def sum_over_batch(self, x: Any, y: Any, weights: Any, *, seen: Seen | None) -> list[Any]:
        """Return the sum of clipped gradients; None for a weight that the loss does not depend on.

        Args:
            x: The batch's inputs, the examples first.
            y: Its targets.
            weights: Its examples' weights. An example takes part where one is not zero.
            seen: Called for each microbatch with x, y, outputs and weights of those that take part.
        """
        if tf.executing_eagerly():  # a graph in any case: it is looked at, and not run op by op
            traced = tf.function(
                lambda x, y, weights: self._summed(x, y, weights, seen), autograph=False
            )
            return list(traced(x, y, weights))
        return self._summed(x, y, weights, seen)

    def _summed(self, x: Any, y: Any, weights: Any, seen: Seen | None) -> list[Any]:
        parts = tf.nest.map_structure(self._cut, (x, y, weights))
        count = tf.shape(tf.nest.flatten(parts)[0])[0]
        connected: list[bool] = []

        def add(number: Any, sums: list[Any]) -> tuple[Any, list[Any]]:
            one = tf.nest.map_structure(lambda each: each[number], parts)
            gradients, outputs, found = self.each(*one)
            connected[:] = found
            active = takes_part(one[2])
            added = iter(clipped_sum(gradients, clip=self.clip, takes_part=active))
            if seen is not None:
                seen(*(_only((one[0], one[1], outputs, one[2]), active)))
            return number + 1, [
                total + next(added) if there else total
                for total, there in zip(sums, found, strict=True)
            ]

        zeros = [tf.zeros(each.shape, each.dtype) for each in self.weights]
        _, sums = tf.while_loop(
            lambda number, _: number < count, add, (0, zeros), parallel_iterations=1
        )
        return [total if there else None for total, there in zip(sums, connected, strict=True)]

    def each(self, x: Any, y: Any, weights: Any) -> tuple[list[Any], Any, list[bool]]:
        """Return the gradients of every example of a microbatch, and its outputs.

        Gradients are those of weights that the loss depends on; the third value says which.

        Raises:
            ConfigError: `privacy.refused`: the forward pass keeps something.
        """
        values = [tf.convert_to_tensor(each.value) for each in self.weights]
        seeds = checks.seed_states(self.model)
        fresh = [_fresh_seeds(self.microbatch, each.dtype) for each in seeds]
        connected: list[bool] = []

        def of_one(one: tuple[Any, Any, Any, Any]) -> tuple[list[Any], Any]:
            x, y, weights, states = one
            x, y, weights = tf.nest.map_structure(lambda each: each[None], (x, y, weights))
            graph = tf.compat.v1.get_default_graph()
            before = len(graph.get_operations())
            mapping = [*zip(self.weights, values, strict=True), *zip(seeds, states, strict=True)]
            with tf.GradientTape() as tape:
                tape.watch(values)
                with keras.StatelessScope(mapping, collect_losses=True) as scope:
                    outputs = self.model(x, training=True)
                    loss = self.loss(x, y, outputs, weights)
            checks.require_stateless(scope, self.model, mapping)
            checks.require_no_writes(graph.get_operations()[before:])
            found = tape.gradient(loss, values)
            connected[:] = [each is not None for each in found]
            gradients = [tf.convert_to_tensor(each) for each in found if each is not None]
            return gradients, tf.nest.map_structure(lambda each: each[0], outputs)

        examples = (x, y, weights, fresh)
        if _loops(self.model):
            gradients, outputs = _one_after_another(of_one, examples)
        else:
            gradients, outputs = tf.vectorized_map(of_one, examples, warn=False)
        if not gradients:
            raise checks.refusal("the loss depends on no weight of the model")
        return gradients, outputs, connected

    def _cut(self, array: Any) -> Any:
        array = tf.convert_to_tensor(array)
        shape = tf.concat([[-1, self.microbatch], tf.shape(array)[1:]], 0)
        cut = tf.reshape(array, shape)
        cut.set_shape([None, self.microbatch, *array.shape[1:]])
        return cut


def _loops(model: Any) -> bool:
    """Tell whether a layer loops over time: the vectorised map has no gradient of such loops."""
    layers = model._flatten_layers()  # noqa: SLF001  # Keras has no other walk over all layers
    return any(isinstance(each, keras.layers.RNN) and not each.unroll for each in layers)


def _one_after_another(of_one: Callable[[Any], Any], examples: Any) -> Any:
    """Map in the usual way; what is returned is known once the first example has been traced."""
    first = tf.function(of_one).get_concrete_function(
        tf.nest.map_structure(lambda each: tf.TensorSpec(each.shape[1:], each.dtype), examples)
    )
    kinds = tf.nest.map_structure(
        lambda each: tf.TensorSpec(each.shape, each.dtype), first.structured_outputs
    )
    return tf.map_fn(of_one, examples, fn_output_signature=kinds, parallel_iterations=1)


def takes_part(weights: Any) -> Any:
    """Tell for each example whether any of its weights is not zero."""
    each = [
        tf.reduce_any(tf.reshape(one, (tf.shape(one)[0], -1)) != 0, axis=1)
        for one in tf.nest.flatten(weights)
    ]
    return tf.reduce_any(tf.stack(each), axis=0)


def _only(values: Any, active: Any) -> Any:
    return tf.nest.map_structure(lambda each: tf.boolean_mask(each, active), values)


def _fresh_seeds(count: int, dtype: Any) -> Any:
    """Return a seed of random layers for each example; below 2^31, as all of Keras's types hold."""
    words = tf.bitwise.right_shift(kernel_words(count)[:, :2], tf.constant(33, tf.uint64))
    return tf.cast(words, dtype)
