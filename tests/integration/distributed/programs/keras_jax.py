"""Train with Keras on JAX, data-parallel over processes or alone, and report the weights."""

from __future__ import annotations

import hashlib
import json
import os
import sys

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

count = int(os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", "1"))
rank = int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", "0"))
if count > 1:
    keras.distribution.initialize()
    parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
    keras.distribution.set_distribution(parallel)
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
    metrics=["accuracy"],
)
own = slice(rank, None, count)
history = model.fit(
    x[own], y[own], batch_size=48 // count, epochs=5, shuffle=False, verbose=0
).history
weights = np.concatenate([np.ravel(value) for value in model.get_weights()])
report = {
    "weights": weights.tolist(),
    "hash": hashlib.sha256(weights.tobytes()).hexdigest(),
    "accuracy": history["accuracy"][-1],
    "loss": history["loss"][-1],
}
sys.stdout.write(json.dumps(report) + "\n")
