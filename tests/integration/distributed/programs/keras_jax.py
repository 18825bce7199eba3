"""Train with Keras on JAX, data-parallel over processes, and report weights before and after."""

from __future__ import annotations

import json
import os
import sys

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

keras.distribution.initialize()
count, rank = jax.process_count(), jax.process_index()
keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
keras.utils.set_random_seed(7)
generator = np.random.default_rng(0)
x = generator.normal(size=(192, 8)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int32")
model = keras.Sequential(
    [keras.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(2)]
)
model.compile(
    optimizer=keras.optimizers.SGD(0.5),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)


def weights() -> list[list[float]]:
    """Return each layer's as one row."""
    return [np.ravel(value).tolist() for value in model.get_weights()]


before = weights()
own = slice(rank, None, count)
model.fit(x[own], y[own], batch_size=48 // count, epochs=5, shuffle=False, verbose=0)
sys.stdout.write(json.dumps({"before": before, "after": weights()}) + "\n")
