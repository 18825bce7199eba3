"""Train with Keras `fit`, as a script for one worker that knows of a strategy, and report.

With TF_CONFIG it is one of several workers; without, it is the one that they are compared with.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

OPTIONS: Final = {"batch_size": 48, "shuffle": False, "verbose": 0}


class InterruptedTrainingError(Exception):
    """Stands for a kill between two epochs."""


def interrupt(epoch: int, _logs: Any) -> None:
    """End training after its second epoch."""
    if epoch == 1:
        raise InterruptedTrainingError


def build(*, normalized: bool) -> keras.Model:
    """Return a new compiled model; its second form has moving statistics and dropout."""
    keras.utils.set_random_seed(7)
    layers = [keras.layers.Dense(16, activation="relu")]
    if normalized:
        # Said ahead: BackupAndRestore wants a model that is built.
        layers = [keras.Input((8,)), *layers]
        layers += [keras.layers.BatchNormalization(), keras.layers.Dropout(0.2)]
    model = keras.Sequential([*layers, keras.layers.Dense(2)])
    model.compile(
        optimizer=keras.optimizers.Adam(1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def weights(model: keras.Model) -> np.ndarray:
    """Return all weights, and the moving statistics, in one row."""
    return np.concatenate([np.ravel(value) for value in model.get_weights()])


def main() -> None:
    several = "TF_CONFIG" in os.environ
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if several else None
    scope = strategy.scope if several else contextlib.nullcontext
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 8)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("int32")
    validation = (x[:60], y[:60])
    report = {"keras": keras.__version__, "tensorflow": tf.__version__}

    with scope():
        model = build(normalized=False)
    history = model.fit(x, y, epochs=3, validation_data=validation, **OPTIONS).history
    report["history"] = history
    report["weights"] = weights(model).tolist()
    report["evaluated"] = model.evaluate(*validation, batch_size=48, verbose=0)
    predicted = model.predict(validation[0], batch_size=48, verbose=0)
    report["predicted"] = [list(predicted.shape), float(np.abs(predicted).sum())]

    with scope():
        model = build(normalized=True)
    best = keras.callbacks.ModelCheckpoint("best.keras", monitor="val_loss", save_best_only=True)
    with contextlib.suppress(InterruptedTrainingError):
        model.fit(
            x,
            y,
            epochs=3,
            validation_data=validation,
            callbacks=[
                best,
                keras.callbacks.BackupAndRestore("backup"),
                keras.callbacks.LambdaCallback(on_epoch_end=interrupt),
            ],
            **OPTIONS,
        )
    with scope():
        resumed = build(normalized=True)
    again = [best, keras.callbacks.BackupAndRestore("backup")]
    fitted = resumed.fit(x, y, epochs=3, validation_data=validation, callbacks=again, **OPTIONS)
    report["resumed_at"] = fitted.epoch
    report["normalized"] = hashlib.sha256(weights(resumed).tobytes()).hexdigest()
    report["saved"] = hashlib.sha256(
        weights(keras.saving.load_model("best.keras")).tobytes()
    ).hexdigest()
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
