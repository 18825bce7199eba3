"""Keras 3 `fit` under MultiWorkerMirroredStrategy: two workers find what one finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from cloister.training.compat.delivery import compat_files
from integration.distributed.native import cluster_of, run_native

PROGRAM: Final = Path(__file__).parent / "programs" / "keras_fit.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.jobs,
    pytest.mark.frameworks("tensorflow", "keras"),
]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], ...]:
    """What two workers found, and what one process did with the same batches."""
    folder = tmp_path_factory.mktemp("keras")
    compat = folder / "compat"
    compat.mkdir()
    for name, content in compat_files():
        (compat / name).write_bytes(content)
    alone = subprocess.Popen(
        [sys.executable, PROGRAM],
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    run = run_native(
        cluster_of("tensorflow", worker=2),
        [sys.executable, str(PROGRAM)],
        folder / "workers",
        environment={"PYTHONPATH": str(compat)},
        seconds=200,
    )
    single = json.loads(alone.communicate(timeout=200)[0].splitlines()[-1])
    return (*run.reports("worker-0", "worker-1"), single)


def test_the_workers_agree(reports: tuple[dict[str, Any], ...]) -> None:
    """All that they report is the same: weights, moving statistics, metrics, what was saved."""
    first, second, _ = reports
    assert first == second


def test_two_workers_find_what_one_finds(reports: tuple[dict[str, Any], ...]) -> None:
    """Weights, metrics and predictions, but for sums that are added in another order."""
    first, _, single = reports
    assert np.allclose(first["weights"], single["weights"], rtol=0, atol=1e-5)
    assert first["history"].keys() == single["history"].keys() == {
        "accuracy", "loss", "val_accuracy", "val_loss",
    }  # fmt: skip
    for name, values in first["history"].items():
        assert np.allclose(values, single["history"][name], rtol=0, atol=1e-5), name
    assert np.allclose(first["evaluated"], single["evaluated"], rtol=0, atol=1e-5)
    assert first["predicted"][0] == single["predicted"][0] == [60, 2]
    assert np.isclose(first["predicted"][1], single["predicted"][1], rtol=1e-5)


def test_training_learns(reports: tuple[dict[str, Any], ...]) -> None:
    """Equal results that are all wrong would be no good."""
    loss = reports[0]["history"]["loss"]
    assert loss[2] < 0.8 * loss[0]


def test_an_interrupted_training_goes_on(reports: tuple[dict[str, Any], ...]) -> None:
    """BackupAndRestore takes both workers back to where they were; only the last epoch is left."""
    first, second, _ = reports
    assert first["resumed_at"] == second["resumed_at"] == [2]
