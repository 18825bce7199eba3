"""Split what ships with scikit-learn over three hospitals that differ.

    python prepare.py data

writes data/tabular/hospital-N/patients.csv and data/images/hospital-N/digits.npz, one folder for
each hospital's volume, and data/test with what no hospital has.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits

HOSPITALS = 3
# How much of each diagnosis goes to which hospital: the first is a cancer centre.
MALIGNANT = [0.7, 0.2, 0.1]
BENIGN = [0.1, 0.3, 0.6]
# Each hospital sees mostly some of the digits, and a tenth of the others.
DIGITS = [range(4), range(4, 7), range(7, 10)]


def shares(rows, parts):
    """Cut rows by shares of them."""
    ends = np.cumsum([round(len(rows) * part) for part in parts])[:-1]
    return np.split(rows, ends)


def tabular(folder, chance):
    """Write each hospital's patients, and those for the test."""
    data = load_breast_cancer()
    order = chance.permutation(len(data.target))
    table = np.column_stack([data.data, data.target])[order]
    test, rest = table[:114], table[114:]
    kinds = [shares(rest[rest[:, -1] == 0], MALIGNANT), shares(rest[rest[:, -1] == 1], BENIGN)]
    for number in range(HOSPITALS):
        rows = chance.permutation(np.concatenate([kind[number] for kind in kinds]))
        place = folder / "tabular" / f"hospital-{number}"
        place.mkdir(parents=True)
        np.savetxt(place / "patients.csv", rows, delimiter=",", fmt="%.6g")
    (folder / "test").mkdir(exist_ok=True)
    np.savetxt(folder / "test" / "patients.csv", test, delimiter=",", fmt="%.6g")


def images(folder, chance):
    """Write each hospital's digits, and those for the test."""
    data = load_digits()
    order = chance.permutation(len(data.target))
    pictures = (data.images[order] / 16).astype("float32")
    labels = data.target[order].astype("int64")
    spread = chance.random(len(labels))
    for number, own in enumerate(DIGITS):
        others = (spread >= 0.1 * number / 2) & (spread < 0.1 * (number + 1) / 2)
        mine = (np.arange(len(labels)) >= 360) & (
            np.isin(labels, own) & (spread >= 0.15) | ~np.isin(labels, own) & others
        )
        place = folder / "images" / f"hospital-{number}"
        place.mkdir(parents=True)
        np.savez(place / "digits.npz", pictures=pictures[mine], labels=labels[mine])
    (folder / "test").mkdir(exist_ok=True)
    np.savez(folder / "test" / "digits.npz", pictures=pictures[:360], labels=labels[:360])


if __name__ == "__main__":
    target = Path(sys.argv[1])
    tabular(target, np.random.default_rng(1))
    images(target, np.random.default_rng(2))
