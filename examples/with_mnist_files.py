"""Run a script that loads MNIST by torchvision from ../data, on other digits.

    python with_mnist_files.py FILE SCRIPT [ARGUMENT...]

torchvision downloads MNIST unless its files are there. Here they are: the digits of FILE, which
foreign_inputs.py makes, in the format of MNIST's own files. The script stays as it is, and runs in
a new folder beside them; what it leaves there is said with its SHA-256. A task of a cluster has
digits of its own to train on: of WORLD_SIZE parts the one of its RANK. `$NAME` in an argument is a
variable of the environment, for scripts that want their rank as an argument.

torchvision from PyPI is built for CUDA. Beside a PyTorch for processors it has no operators, and
cannot be imported, as it describes two of them. The scripts use none, so those two are declared,
and empty.
"""

import hashlib
import importlib
import os
import runpy
import sys
import tempfile
from pathlib import Path

import numpy as np

OPERATORS = ("nms", "qnms")
OPERANDS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
PART = (("RANK", "0"), ("WORLD_SIZE", "1"))
BYTES = 0x08  # the type in a file's first four bytes, before the number of dimensions


def write_digits(file, folder):
    folder.mkdir(parents=True)
    rank, size = (int(os.environ.get(name, other)) for name, other in PART)
    with np.load(file, allow_pickle=False) as digits:
        for name, to in NAMES.items():
            array = digits[name]
            if name.endswith("train"):
                array = array[rank::size]
            head = np.array([BYTES << 8 | array.ndim, *array.shape], ">u4")
            (folder / to).write_bytes(head.tobytes() + array.astype("u1").tobytes())


def import_torchvision():
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = importlib.import_module("torch").library.Library("torchvision", "DEF")
        for name in OPERATORS:
            library.define(name + OPERANDS)
        return library  # what it declares goes when it does
    return None


def main(file, script, *arguments):
    declared = import_torchvision()
    work = Path(tempfile.mkdtemp())
    write_digits(file, work / "data" / "MNIST" / "raw")
    script = str(Path(script).resolve())
    (work / "run").mkdir()
    os.chdir(work / "run")
    sys.argv = [script, *map(os.path.expandvars, arguments)]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")
    del declared
    for left in sorted(work.glob("run/*")):
        sys.stdout.write(f"{left.name}: {hashlib.sha256(left.read_bytes()).hexdigest()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
