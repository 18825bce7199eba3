"""Train a small network on handwritten digits: an ordinary Keras script.

    python digits_train.py [DATA.npz [OUTPUT_DIRECTORY]]

DATA.npz holds `images`, n of 8 by 8 with values 0 to 16, and `labels`, n of 0 to 9. A fifth of them
is kept aside to test. The model is written twice, as digits.keras to train further and as
digits.tflite to serve; what it is worth is written to metrics.json.
"""

import json
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

SEED = 1
EPOCHS = 10
BATCH = 64


def load(path):
    with np.load(path) as file:
        images = file["images"].reshape(-1, 8, 8, 1).astype("float32") / 16
        labels = file["labels"].astype("int64")
    order = np.random.default_rng(SEED).permutation(len(labels))
    test, train = np.split(order, [len(order) // 5])
    return images[train], labels[train], images[test], labels[test]


def build():
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, activation="softmax", name="digit"),
        ]
    )


def main(data="/data/digits.npz", output="/model"):
    output = Path(output)
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    x_train, y_train, x_test, y_test = load(data)

    model = build()
    steps = EPOCHS * -(-len(y_train) // BATCH)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(4e-3, steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    began = time.monotonic()
    model.fit(x_train, y_train, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    seconds = time.monotonic() - began
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)

    model.save(output / "digits.keras")
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (output / "digits.tflite").write_bytes(converter.convert())
    metrics = {"accuracy": accuracy, "loss": loss, "epochs": EPOCHS, "training_seconds": seconds}
    (output / "metrics.json").write_text(json.dumps(metrics))
    print(f"test accuracy {accuracy:.4f} after {EPOCHS} epochs in {seconds:.1f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
