"""Fronts, or small adapters behind them, trained to say less of the image: NoPeek's penalty.

The loss is the classifier's own plus `weight` times the distance correlation of images with what
crosses, of each batch (Vepakomma and others, 2020). The exposed part stays as it is: only the
secret side learns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from cloister.partition.assess.attack import Array, Budget, Target
from cloister.partition.assess.clock import Deadline
from cloister.partition.assess.frameworks import frameworks
from cloister.partition.assess.fresh import set_trainable
from cloister.partition.assess.gradients import optimizer, outputs, stepper

__all__ = ["adapted", "correlation", "train"]

_RATE: Final = 3e-3
_BOTTLENECK: Final = 4
_SIDE_WIDTH: Final = 32
_LEAST: Final = 1e-9
_LEAST_SHARE: Final = 1e-7


def correlation(x: Any, y: Any) -> Any:
    """Return the distance correlation of two batches, in operations that have gradients.

    Not corrected for the size of the batch, as the penalty was defined; what a report says is.
    """
    ops = frameworks().keras.ops

    def centred(values: Any) -> Any:
        flat = ops.reshape(values, (ops.shape(values)[0], -1))
        squares = ops.sum(flat * flat, axis=1)
        between = squares[:, None] + squares[None] - 2 * ops.matmul(flat, ops.transpose(flat))
        distances = ops.sqrt(ops.maximum(between, 0.0) + _LEAST)
        return (
            distances
            - ops.mean(distances, axis=0, keepdims=True)
            - ops.mean(distances, axis=1, keepdims=True)
            + ops.mean(distances)
        )

    a, b = centred(x), centred(y)
    covariance = ops.mean(a * b)
    spread = ops.sqrt(ops.mean(a * a) * ops.mean(b * b)) + _LEAST
    return ops.sqrt(ops.maximum(covariance, 0.0) / spread + _LEAST)


def train(
    front: Any,
    exposed: Any,
    target: Target,
    labels: Array,
    *,
    weight: float,
    side: Any | None,
    budget: Budget,
    seed: int,
    progress: Callable[[float], None],
) -> int:
    """Train the trainable variables of a front, and of a side network; return the steps that ran.

    Args:
        front: From images to a list of crossing tensors.
        exposed: From those to scores; it does not move.
        target: The cut; its public images are trained on.
        labels: Classes of the public images.
        weight: Of the penalty.
        side: From images to scores that are added to the logarithms of the exposed part's
            probabilities, inside the enclave; None for none.
        budget: Steps, seconds and batch.
        seed: Of the batches.
        progress: Hears numbers that rise from 0 to 1.
    """
    ops = frameworks().keras.ops
    normal = _are_normal(exposed, front, target.proxy[: budget.batch], budget.batch)

    def loss(images: Any, wanted: Any) -> Any:
        made = _listed(front(images, training=False))
        said = logarithms(_scores(exposed, made), normal=normal)
        if side is not None:
            said = said + side(images, training=False)
        chosen = ops.sum(ops.log_softmax(said, axis=-1) * wanted, axis=-1)
        told = sum(correlation(images, each) for each in made) / len(made)
        return weight * told - ops.mean(chosen)

    variables = list(front.trainable_variables)
    if side is not None:
        variables += side.trainable_variables
    if not variables:
        return 0
    step = stepper(loss, variables, optimizer(rate=_RATE, steps=budget.steps))
    deadline, random = Deadline(budget.seconds), np.random.default_rng(seed)
    size = min(budget.batch, len(target.proxy))
    classes = int(exposed.output_shape[0][-1]) if isinstance(exposed.output_shape, list) else 0
    hot = np.eye(classes or int(exposed.output_shape[-1]), dtype=np.float32)[labels]
    ran = 0
    while ran < budget.steps and not deadline.over:
        drawn = random.choice(len(target.proxy), size, replace=False)
        step(target.proxy[drawn], hot[drawn])
        ran += 1
        progress(ran / budget.steps)
    return ran


def logarithms(scores: Any, *, normal: bool) -> Any:
    """Return scores as logits: probabilities by their logarithms, logits as they are."""
    ops = frameworks().keras.ops
    return ops.log(ops.clip(scores, _LEAST_SHARE, 1.0)) if normal else scores


def adapted(front: Any, *, classes: int, image: tuple[int, ...], seed: int) -> tuple[Any, Any]:
    """Return a frozen front followed by small adapters that learn, and a side network.

    An adapter adds to each crossing tensor what a bottleneck makes of it, and begins by adding
    nothing. The side network sees the image, in the enclave, and adds to the scores: what the
    adapters hide from the exposed part is not lost to the answer.
    """
    keras = frameworks().keras
    layers = keras.layers
    seeds = iter(np.random.default_rng(seed).integers(2**31, size=64).tolist())
    set_trainable(front, value=False)
    inputs = keras.Input(image)
    made = []
    for tensor in _listed(front(inputs)):
        width = int(tensor.shape[-1])
        start = keras.initializers.HeNormal(seed=next(seeds))
        narrow = layers.Dense(
            max(_BOTTLENECK, width // 4), activation="relu", kernel_initializer=start
        )(tensor)
        made.append(layers.Add()([tensor, layers.Dense(width, kernel_initializer="zeros")(narrow)]))
    start = keras.initializers.HeNormal(seed=next(seeds))
    x = side_inputs = keras.Input(image)
    x = layers.Conv2D(
        _SIDE_WIDTH, 3, strides=2, padding="same", activation="relu", kernel_initializer=start
    )(x)
    x = keras.ops.image.resize(x, (4, 4))
    side = layers.Dense(classes, kernel_initializer="zeros")(layers.Flatten()(x))
    return keras.Model(inputs, made), keras.Model(side_inputs, side)


def _scores(exposed: Any, made: list[Any]) -> Any:
    return _listed(exposed(made[0] if len(made) == 1 else made, training=False))[0]


def _are_normal(exposed: Any, front: Any, images: Array, batch: int) -> bool:
    said = outputs(exposed, list(outputs(front, images, batch=batch)), batch=batch)[0]
    return bool(said.min() >= 0 and np.allclose(said.sum(axis=-1), 1, atol=1e-3))


def _listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, list | tuple) else [result]
