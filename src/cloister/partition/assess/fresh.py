"""Copies of Keras models that can be trained: with the same weights, or with none of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from cloister.partition.assess.attack import Array
from cloister.partition.assess.frameworks import frameworks

__all__ = ["copied", "fresh", "set_trainable"]


def copied(model: Any) -> Any:
    """Return a trainable copy with the same weights; the original does not move with it."""
    made = _cloned(model)
    made.set_weights(model.get_weights())
    return made


def fresh(model: Any, *, seed: int) -> Any:
    """Return a trainable copy of the architecture alone.

    Every weight is set anew: an initialiser with a fixed seed, or one that sets constants, would
    give secret weights again.
    """
    made = _cloned(model)
    random = np.random.default_rng(seed)
    for variable in made.weights:
        variable.assign(_start(variable.path, tuple(variable.shape), random, variable.dtype))
    return made


def set_trainable(model: Any, *, value: bool) -> None:
    """Let every layer of a model learn, or none: the model's own switch does not reach all."""
    for layer in model.layers:
        layer.trainable = value
        if hasattr(layer, "layers"):
            set_trainable(layer, value=value)


def _cloned(model: Any) -> Any:
    made = frameworks().keras.models.clone_model(model)
    # Models that were read as data are frozen, and their copies would be too.
    set_trainable(made, value=True)
    return made


def _start(path: str, shape: tuple[int, ...], random: np.random.Generator, datatype: Any) -> Array:
    """Return He's start for matrices and kernels, 1 for scales and variances, 0 for others."""
    if len(shape) > 1:
        deviation = np.sqrt(2.0 / np.prod(shape[:-1]))
        drawn: Array = (random.standard_normal(shape) * deviation).astype(datatype)
        return drawn
    ones = any(word in path.rpartition("/")[2] for word in ("gamma", "variance", "scale"))
    return np.full(shape, 1 if ones else 0, datatype)
