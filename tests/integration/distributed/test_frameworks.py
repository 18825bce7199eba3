"""Two tasks of a cluster find what one process finds, with what they are told and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from integration.distributed.native import cluster_of, run_native

PROGRAMS: Final = Path(__file__).parent / "programs"


def _require_agreement(folder: Path, framework: str, program: str) -> None:
    """Two tasks end with the same weights to the bit, and with one process's but for rounding."""
    command = [sys.executable, str(PROGRAMS / program)]
    run = run_native(cluster_of(framework, worker=2), command, folder / "run")
    first, second = run.reports("worker-0", "worker-1")
    alone = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    single: dict[str, Any] = json.loads(alone.stdout.splitlines()[-1])
    assert first["hash"] == second["hash"]
    assert np.allclose(first["weights"], single["weights"], rtol=0, atol=1e-5)
    assert first["accuracy"] == second["accuracy"] == pytest.approx(single["accuracy"])
    assert single["accuracy"] > 0.9


@pytest.mark.frameworks("torch")
def test_pytorch_trains_data_parallel(tmp_path: Path) -> None:
    """Each process has every other example of a batch."""
    _require_agreement(tmp_path, "pytorch", "torch_ddp.py")


@pytest.mark.frameworks("jax", "keras")
def test_keras_on_jax_trains_data_parallel(tmp_path: Path) -> None:
    """`keras.distribution.initialize` takes all that it needs from its environment."""
    _require_agreement(tmp_path, "jax", "keras_jax.py")


@pytest.mark.slow
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
