"""A known architecture that comes down to one number; a program of its own, for `test_families.py`.

    python family_model.py ARCHITECTURE FOLDER

writes a model whose weights are random, but for its last layers, with everything that commands
need. It is there for mechanics: what a convolutional network of hundreds of layers goes through.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from sklearn.datasets import load_digits

from cloister.partition.importing import open_model

SIZE: Final = 32
PUBLIC: Final = slice(0, 510)
PRIVATE: Final = slice(510, 630)
QUESTIONS: Final = slice(630, 634)
GRAIN: Final = 0.55


def main(name: str, folder: Path) -> None:
    """Build, and write everything."""
    images, odd = _images()
    for part, which in (("sample", PRIVATE), ("public", PUBLIC)):
        np.savez(folder / f"{part}.npz", images=images[which], labels=odd[which])
    keras.utils.set_random_seed(1)
    layers = keras.layers
    image = keras.Input((SIZE, SIZE, 3), name="image")
    backbone = getattr(keras.applications, name)(
        weights=None, include_top=False, pooling="avg", input_tensor=image
    )
    seen = layers.LayerNormalization()(backbone.outputs[0])
    said = layers.Dense(1, activation="tanh", name="said")(seen)
    hidden = layers.Dense(64, activation="relu")(said)
    hidden = layers.Dense(64, activation="relu", name="last")(hidden)
    model = keras.Model(image, layers.Dense(2, activation="softmax")(hidden))
    model.save(folder / "family.keras")
    nodes = [node.name for node in open_model(folder / "family.keras").graph.nodes]
    places = {key: nodes.index(key) + 1 for key in ("said", "last")}
    (folder / "places.json").write_text(json.dumps(places | {"layers": len(nodes)}))
    np.save(folder / "questions.npy", images[QUESTIONS])
    np.save(folder / "answers.npy", np.asarray(model(images[QUESTIONS], training=False)))


def _images() -> tuple[Any, Any]:
    """Return scikit-learn's digits as a bad scanner gives them, four times as large, in colour."""
    digits = load_digits()
    clean = (digits.images / 16).astype(np.float32)
    grain = np.random.default_rng(3).random(clean.shape, np.float32)
    scanned = (1 - GRAIN) * clean + GRAIN * grain
    large = np.kron(scanned, np.ones((1, SIZE // 8, SIZE // 8), np.float32))
    return np.repeat(large[..., None], 3, axis=-1), digits.target % 2


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
