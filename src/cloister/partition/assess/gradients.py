"""Steps down a loss and gradients by inputs: the only module that takes gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cloister.partition.assess.attack import Array
from cloister.partition.assess.frameworks import frameworks

__all__ = ["optimizer", "outputs", "pulled_back", "stepper"]


def optimizer(*, rate: float, steps: int) -> Any:
    """Return Adam whose rate falls from `rate` to 0 along a cosine in so many steps."""
    keras = frameworks().keras
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, max(1, steps)))


def stepper(
    loss: Callable[..., Any], variables: Sequence[Any], descends: Any
) -> Callable[..., float]:
    """Return a compiled step: arrays for `loss` in, its value before the step out.

    Args:
        loss: From tensors to one number.
        variables: `keras.Variable`s that move; no others do.
        descends: A Keras optimizer.
    """
    tf = frameworks().tf
    values = [v.value for v in variables]
    descends.build(variables)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # no types there
    def step(*tensors: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(*tensors)
        gradients = tape.gradient(value, values)
        moving = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        descends.apply([g for g, _ in moving], [v for _, v in moving])
        return value

    return lambda *arrays: float(step(*(tf.convert_to_tensor(a) for a in arrays)))


def outputs(model: Any, inputs: Sequence[Array] | Array, *, batch: int) -> tuple[Array, ...]:
    """Return a model's outputs as arrays, computed so many examples at once.

    Args:
        model: A `keras.Model`.
        inputs: An array for a model of one input, a list for a model of a list.
        batch: Examples at once.
    """
    single = isinstance(inputs, np.ndarray)
    parts = [inputs] if single else list(inputs)
    made: list[tuple[Array, ...]] = []
    for start in range(0, len(parts[0]), batch):
        cut = [p[start : start + batch] for p in parts]
        result = model(cut[0] if single else cut, training=False)
        made.append(tuple(np.asarray(t) for t in _listed(result)))
    return tuple(np.concatenate(each) for each in zip(*made, strict=True))


def pulled_back(model: Any, images: Array, directions: Sequence[Array]) -> Array:
    """Return `directions @ J` for each image, where J is the Jacobian of a model's outputs."""
    tf = frameworks().tf
    x = tf.convert_to_tensor(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.add_n(
            [
                tf.reduce_sum(t * tf.convert_to_tensor(d))
                for t, d in zip(_listed(model(x, training=False)), directions, strict=True)
            ]
        )
    return np.asarray(tape.gradient(value, x, unconnected_gradients="zero"))


def _listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, list | tuple) else [result]
