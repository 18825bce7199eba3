"""Batches by Poisson sampling: each example takes part in each step by a coin of its own.

The accounting holds for this and for nothing else. Batches cut from a shuffled data set are not a
sample of this kind, and their epsilon, computed as if they were, can be far too small (Chua et
al., 2024). So batches are made here, from arrays, and whoever brings batches of his own is refused.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from cloister.errors import ConfigError
from cloister.training.privacy.frameworks import keras
from cloister.training.privacy.parameters import PrivacyParameters

__all__ = ["PoissonBatches", "draw"]


def draw(examples: int, rate: float, seed: bytes) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return which of the examples take part.

    Args:
        examples: How many there are.
        rate: With which probability each takes part.
        seed: 16 secret random bytes, for this draw alone.
    """
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(seed, "big")))
    return np.flatnonzero(generator.random(examples) < rate)


class PoissonBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Draws a batch for each step, and fills its last microbatch with examples of weight zero.

    An example of weight zero takes no part. No batch is empty: one of padding alone stands for it.
    """

    def __init__(
        self, x: Any, y: Any, sample_weight: Any, *, parameters: PrivacyParameters
    ) -> None:
        """Take arrays, or trees of arrays, whose first axis is the examples.

        Raises:
            ConfigError: `privacy.refused`: not arrays, or not of `parameters.examples` examples.
        """
        super().__init__()
        self._parameters = parameters
        arrays = keras.tree.map_structure(_array, (x, y))
        weights = np.ones(parameters.examples, np.float32)
        given = weights if sample_weight is None else sample_weight
        self._arrays = (*arrays, keras.tree.map_structure(_array, given))
        for each in keras.tree.flatten(self._arrays):
            if each.ndim < 1 or len(each) != parameters.examples:
                raise _refusal(
                    f"an array has the shape {each.shape}, and the parameters say"
                    f" {parameters.examples} examples"
                )

    def __len__(self) -> int:
        """Return the steps of an epoch."""
        return self._parameters.steps_per_epoch

    def __getitem__(self, index: int) -> tuple[Any, Any, Any]:
        """Draw a batch; which one is asked for makes no difference."""
        taken = draw(self._parameters.examples, self._parameters.rate, os.urandom(16))
        microbatch = self._parameters.microbatch
        padding = -len(taken) % microbatch if len(taken) else microbatch
        rows = np.concatenate([taken, np.zeros(padding, taken.dtype)])
        x, y, weights = keras.tree.map_structure(lambda each: each[rows], self._arrays)
        for each in keras.tree.flatten(weights):
            each[len(taken) :] = 0
        return x, y, weights


def _array(value: Any) -> Any:
    """Return something that rows can be taken from, without a copy where it is that already."""
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "__array__"):
        return np.asarray(value)
    raise _refusal(f"{type(value).__name__} is no array")


def _refusal(public: str) -> ConfigError:
    return ConfigError(
        public,
        code="privacy.refused",
        hint="give fit arrays; data sets and generators that make batches are not Poisson samples",
    )
