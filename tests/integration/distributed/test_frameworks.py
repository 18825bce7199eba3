"""Two tasks of a cluster find what one process finds, with what they are told and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from integration.distributed.native import cluster_of, run_native

PROGRAMS: Final = Path(__file__).parent / "programs"


def _train(before: list[list[float]]) -> list[np.ndarray]:
    """Train the programs' network in one process, by the formulas: the second opinion.

    Two layers, the first followed by a rectifier; plain descent on the mean cross-entropy of 48
    examples at a time.
    """
    generator = np.random.default_rng(0)
    x = generator.normal(size=(192, 8)).astype("float32").astype("float64")
    y = np.eye(2)[(x.sum(axis=1) > 0).astype(int)]
    parts = [np.array(part) for part in before]
    first, second = parts[0].reshape(8, 16), parts[2].reshape(16, 2)
    for start in [*range(0, 192, 48)] * 5:
        batch, wanted = x[start : start + 48], y[start : start + 48]
        hidden = np.maximum(batch @ first + parts[1], 0)
        logits = hidden @ second + parts[3]
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        slope = (shares / shares.sum(axis=1, keepdims=True) - wanted) / 48
        inner = (slope @ second.T) * (hidden > 0)
        second -= 0.5 * hidden.T @ slope
        parts[3] -= 0.5 * slope.sum(axis=0)
        first -= 0.5 * batch.T @ inner
        parts[1] -= 0.5 * inner.sum(axis=0)
    return [first.ravel(), parts[1], second.ravel(), parts[3]]


def _require_agreement(folder: Path, framework: str, program: str) -> None:
    """Two tasks end with the same weights to the bit, and with one process's but for rounding."""
    command = [sys.executable, str(PROGRAMS / program)]
    run = run_native(cluster_of(framework, worker=2), command, folder / "run")
    first, second = run.reports("worker-0", "worker-1")
    assert first["after"] == second["after"]
    assert first["after"] != first["before"]
    for found, wanted in zip(first["after"], _train(first["before"]), strict=True):
        assert np.allclose(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.frameworks("torch")
def test_pytorch_trains_data_parallel(tmp_path: Path) -> None:
    """Each process has every other example of a batch."""
    _require_agreement(tmp_path, "pytorch", "torch_ddp.py")


@pytest.mark.frameworks("jax", "keras")
@pytest.mark.jobs
def test_keras_on_jax_trains_data_parallel(tmp_path: Path) -> None:
    """`keras.distribution.initialize` takes all that it needs from its environment."""
    _require_agreement(tmp_path, "jax", "keras_jax.py")


@pytest.mark.slow
@pytest.mark.jobs
@pytest.mark.frameworks("tensorflow", "keras")
def test_a_coordinator_trains_on_parameter_servers(tmp_path: Path) -> None:
    """Variables lie on the server, and workers compute; both serve until they are ended."""
    run = run_native(
        cluster_of("tensorflow", chief=1, worker=1, ps=1),
        [sys.executable, str(PROGRAMS / "coordinator.py")],
        tmp_path / "run",
        forever=["worker", "ps"],
    )
    (report,) = run.reports("chief-0")
    assert report["on"] == ["/job:ps/replica:0/task:0/device:CPU:0"]
    assert isinstance(report["accuracy"], float)
    assert report["accuracy"] > 0.9
