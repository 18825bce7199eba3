"""Run a script that loads MNIST by Keras, on other digits.

    python with_digits.py FILE SCRIPT [ARGUMENT...]

Keras downloads `mnist.npz` and compares it with a digest, so that a file of one's own in its place
is not taken. The script stays as it is; `load_data` of the Keras that it will use reads FILE
instead, which foreign_inputs.py makes. With DIGITS_SEED in the environment, random numbers begin at
that seed, which the script may set again.
"""

import importlib
import os
import runpy
import sys
from pathlib import Path

import numpy as np


def load_from(file):
    def load_data():
        with np.load(file, allow_pickle=False) as digits:
            parts = [(digits[f"x_{part}"], digits[f"y_{part}"]) for part in ("train", "test")]
        return tuple(parts)

    return load_data


def main(file, script, *arguments):
    legacy = os.environ.get("TF_USE_LEGACY_KERAS") == "1"
    # tf.keras is a module of its own, which has the function under the same name.
    names = ["tf_keras", "tf_keras.api._v2.keras"] if legacy else ["keras", "keras._tf_keras.keras"]
    for name in names:
        module = importlib.import_module(f"{name}.datasets.mnist")
        module.load_data = load_from(file)
    if "DIGITS_SEED" in os.environ:  # so that two runs can be compared
        keras = importlib.import_module(names[0])
        keras.utils.set_random_seed(int(os.environ["DIGITS_SEED"]))
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).resolve().parent)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
