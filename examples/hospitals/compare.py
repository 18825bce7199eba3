"""Compare what hospitals learn together with what each learns alone, and with all data together.

    python compare.py data

runs everything in this process, with Flower's strategies and without its network.
"""

import logging
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np

from cloister.testing.federation import importing, run_locally

HERE = Path(__file__).parent
HOSPITALS = 3


def tabular(data, model_file):
    """Score a model file, all data together, and each hospital alone."""
    with importing(HERE / "tabular"):
        task = import_module("hospital.task")
    rows = np.loadtxt(data / "test" / "patients.csv", delimiter=",")
    test = (rows[:, :-1] - task.CENTRE) / task.SPREAD, rows[:, -1]
    sites = [task.load(data / "tabular" / f"hospital-{n}")[:2] for n in range(HOSPITALS)]
    every = [np.concatenate(parts) for parts in zip(*sites, strict=True)]

    def score(inputs, labels):
        return task.accuracy(
            task.train(task.new_model(), inputs, labels, epochs=50, rate=0.5), *test
        )

    with np.load(model_file, allow_pickle=False) as file:
        together = task.accuracy([file["weights"], file["bias"]], *test)
    return together, score(*every), [score(*site) for site in sites]


def images(data, model_file):
    """Score a model file, all data together, and each hospital alone."""
    with importing(HERE / "images"):
        task = import_module("hospital.task")
    torch = import_module("torch")
    torch.set_num_threads(1)
    with np.load(data / "test" / "digits.npz", allow_pickle=False) as file:
        test = torch.tensor(file["pictures"]).unsqueeze(1), torch.tensor(file["labels"])
    sites = [task.load(data / "images" / f"hospital-{n}")[:2] for n in range(HOSPITALS)]
    every = [torch.cat(parts) for parts in zip(*sites, strict=True)]

    def score(pictures, labels):
        model = task.new_model()
        task.train(model, pictures, labels, epochs=16, rate=0.05)
        return task.accuracy(model, *test)

    model = task.new_model()
    with np.load(model_file, allow_pickle=False) as file:
        model.load_state_dict({name: torch.tensor(file[name]) for name in file.files})
    return task.accuracy(model, *test), score(*every), [score(*site) for site in sites]


def main(data):
    """Print one line for each kind of data."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    for kind, compare in (("tabular", tabular), ("images", images)):
        nodes = [{"data": str(data / kind / f"hospital-{n}")} for n in range(HOSPITALS)]
        with tempfile.TemporaryDirectory() as folder:
            run_locally(HERE / kind, nodes, settings={}, folder=Path(folder), altered={})
            together, central, alone = compare(data, Path(folder) / "model.npz")
        singly = " ".join(f"{score:.3f}" for score in alone)
        print(
            f"{kind}: together {together:.3f}, all data in one place {central:.3f}, alone {singly}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
