"""A site that sends poison: plain averaging is ruined by it, Flower's robust strategies are not.

The site has passed the shield: it runs the approved program, on data or hardware that lies.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

pytest.importorskip("flwr")
pytest.importorskip("sklearn")

from flwr.app import ArrayRecord
from sklearn.datasets import load_breast_cancer

from cloister.testing.federation import importing, run_locally

if TYPE_CHECKING:
    from flwr.app import Message

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("default")]

APP: Final = Path(__file__).parents[2] / "examples" / "hospitals" / "tabular"
SITES: Final = 7
TEST: Final = 119


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven sites with equal shares, and a test set of nobody's."""
    folder = tmp_path_factory.mktemp("poisoned")
    cancer = load_breast_cancer()
    order = np.random.default_rng(3).permutation(len(cancer.target))
    table = np.column_stack([cancer.data, cancer.target])[order]
    np.savetxt(folder / "test.csv", table[:TEST], delimiter=",")
    for number, rows in enumerate(np.array_split(table[TEST:], SITES)):
        (folder / str(number)).mkdir()
        np.savetxt(folder / str(number) / "patients.csv", rows, delimiter=",")
    return folder


def poison(answer: Message) -> Message:
    """Turn a model against what it learned, and make it loud."""
    if answer.metadata.message_type == "train" and not answer.has_error():
        arrays = answer.content["arrays"].to_numpy_ndarrays()
        answer.content["arrays"] = ArrayRecord([-40 * part for part in arrays])
    return answer


def accuracy(
    data: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    altered: dict[int, Any],
    strategy: str,
) -> float:
    """Train, and test what came out."""
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # a flag of Python's
    nodes = [{"data": str(data / str(number))} for number in range(SITES)]
    settings = {"strategy": strategy, "num-server-rounds": 2}
    run_locally(APP, nodes, settings=settings, folder=folder, altered=altered)
    rows = np.loadtxt(data / "test.csv", delimiter=",")
    with importing(APP):
        from hospital import task  # type: ignore[import-not-found]  # noqa: PLC0415  # the app's
    inputs = (rows[:, :-1] - task.CENTRE) / task.SPREAD
    with np.load(folder / "model.npz", allow_pickle=False) as model:
        return float(task.accuracy([model["weights"], model["bias"]], inputs, rows[:, -1]))


def test_averaging_is_ruined_by_one_poisoned_site(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is good without it: the poison is what does it."""
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
    assert accuracy(data, tmp_path / "good", monkeypatch, {}, "fedavg") > 0.93
    assert accuracy(data, tmp_path / "bad", monkeypatch, {4: poison}, "fedavg") < 0.6


@pytest.mark.parametrize("strategy", ["krum", "multikrum", "fedmedian", "fedtrimmedavg", "bulyan"])
def test_robust_aggregation_bears_one_poisoned_site(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    """With the poisoned site taking part in every round."""
    assert accuracy(data, tmp_path, monkeypatch, {4: poison}, strategy) > 0.9
