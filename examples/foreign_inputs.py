"""Make the inputs that the programs in foreign/ read: python foreign_inputs.py DIRECTORY.

Invented data in the form of the real sets, small and always the same:
keras/{train,test}.csv, pytorch/<language>.txt, sklearn/reuters/*.sgm. And mnist/mnist.npz: the
handwritten digits of scikit-learn in MNIST's size, 10059 to train and 360 to test.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def write_table(path, rows, *, with_target, generator):
    hidden = generator.normal(size=rows)
    columns = {"id": np.arange(rows)}
    if with_target:
        columns["target"] = (hidden + 0.5 * generator.normal(size=rows) > 0.8).astype(int)
    for i in range(4):
        columns[f"ps_calc_{i:02}"] = np.round(hidden * (i % 2) + generator.normal(size=rows), 3)
    for i in range(3):
        level = np.digitize(hidden + generator.normal(size=rows), [-1, 0, 1])
        columns[f"ps_car_{i:02}_cat"] = np.where(generator.random(rows) < 0.05, -1, level)
    lines = [",".join(columns)]
    lines += [",".join(str(cell) for cell in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")


def write_names(folder, generator):
    syllables = {
        "Alfan": ("ka", "ro", "mi", "ta", "lo"),
        "Betan": ("sch", "wein", "burg", "hof", "stein"),
        "Gaman": ("ov", "ski", "pet", "iva", "dmi"),
    }
    for language, parts in syllables.items():
        names = [
            "".join(generator.choice(parts, size=generator.integers(2, 5))).capitalize()
            for _ in range(200)
        ]
        (folder / f"{language}.txt").write_text("\n".join(names) + "\n")


def write_reports(folder, generator):
    words = {
        "acq": ["shares", "merger", "stake", "bid", "offer", "company", "board", "acquire"],
        "grain": ["wheat", "tonnes", "crop", "harvest", "export", "maize", "season", "farmers"],
    }
    common = ["the", "said", "year", "would", "market", "and", "of", "to", "dlrs", "pct"]
    for number in range(4):
        reports = []
        for _ in range(1000):
            topic = "acq" if generator.random() < 0.4 else "grain"
            text = " ".join(generator.choice(words[topic] + 3 * common, size=40))
            reports.append(
                f"<REUTERS><TOPICS><D>{topic}</D></TOPICS><TITLE>{topic.upper()}</TITLE>"
                f"<BODY>{text}</BODY></REUTERS>"
            )
        (folder / f"reut2-{number:03}.sgm").write_text("\n".join(reports), encoding="latin-1")


def write_digits(folder):
    images, labels = load_digits(return_X_y=True)
    pixels = np.kron(
        (images.reshape(-1, 8, 8) * 255 / 16).astype("uint8"), np.ones((3, 3), "uint8")
    )
    pixels = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))
    labels = labels.astype("uint8")
    # Moved about, for as many as a script takes for granted.
    moves = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1)]
    np.savez_compressed(
        folder / "mnist.npz",
        x_train=np.concatenate([np.roll(pixels[:1437], move, axis=(1, 2)) for move in moves]),
        y_train=np.tile(labels[:1437], len(moves)),
        x_test=pixels[1437:],
        y_test=labels[1437:],
    )


def main(directory):
    generator = np.random.default_rng(0)
    for name in ("keras", "pytorch", "sklearn/reuters", "mnist"):
        (Path(directory) / name).mkdir(parents=True, exist_ok=True)
    write_table(Path(directory, "keras/train.csv"), 4000, with_target=True, generator=generator)
    write_table(Path(directory, "keras/test.csv"), 500, with_target=False, generator=generator)
    write_names(Path(directory, "pytorch"), generator)
    write_reports(Path(directory, "sklearn/reuters"), generator)
    write_digits(Path(directory, "mnist"))


if __name__ == "__main__":
    main(*sys.argv[1:])
