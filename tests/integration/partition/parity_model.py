"""Train a network that tells even digits from odd ones; a program of its own, for `test_story.py`.

    python parity_model.py FOLDER

writes the model, the images that an assessment needs, and some questions with the model's answers.
All that the exposed part is given is one number between -1 and 1. Noise is put on it in training,
so that the network learns to say one of two things with it, and nothing else of the image.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

TRAINED: Final = slice(0, 1150)
PUBLIC: Final = slice(1150, 1660)
PRIVATE: Final = slice(1660, 1780)
QUESTIONS: Final = slice(1780, 1790)
NOISE: Final = 0.5
GRAIN: Final = 0.65
SCANS: Final = 3
EPOCHS: Final = 15


def main(folder: Path) -> None:
    """Train, and write everything."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    digits = load_digits()
    order = np.random.default_rng(7).permutation(len(digits.images))
    clean = (digits.images[order] / 16).astype(np.float32)[..., None]
    images = _scanned(clean, seed=3)
    odd = digits.target[order] % 2
    for name, part in (("sample", PRIVATE), ("public", PUBLIC)):
        np.savez(folder / f"{name}.npz", images=images[part], labels=odd[part])
    layers = keras.layers
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1), name="image")
    seen = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    seen = layers.Dense(48, activation="relu")(layers.Flatten()(seen))
    said = layers.Dense(1, activation="tanh")(seen)
    rest = [
        layers.Dense(64, activation="relu"),
        layers.Dense(64, activation="relu"),
        layers.Dense(2, activation="softmax"),
    ]
    plain, noisy = said, layers.GaussianNoise(NOISE)(said)
    for layer in rest:
        plain, noisy = layer(plain), layer(noisy)
    training = keras.Model(image, noisy)
    training.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", jit_compile=False
    )
    scans = np.concatenate([_scanned(clean[TRAINED], seed=seed) for seed in range(10, 10 + SCANS)])
    training.fit(scans, np.tile(odd[TRAINED], SCANS), epochs=EPOCHS, batch_size=128, verbose=0)
    model = keras.Model(image, plain)
    model.save(folder / "parity.keras")
    answers = model(images[QUESTIONS]).numpy()
    right = model(images[PRIVATE]).numpy().argmax(axis=1) == odd[PRIVATE]
    assert right.mean() >= 0.75, f"the network has learnt nothing: {right.mean()}"
    np.save(folder / "questions.npy", images[QUESTIONS])
    np.save(folder / "answers.npy", answers)


def _scanned(images: Any, *, seed: int) -> Any:
    """Return digits as a bad scanner gives them: faint, with grain that no other image has.

    Digits alone are so much alike that a guess, made without looking, comes near to some of them.
    """
    grain = np.random.default_rng(seed).random(images.shape, np.float32)
    return (1 - GRAIN) * images + GRAIN * grain


if __name__ == "__main__":
    main(Path(sys.argv[1]))
