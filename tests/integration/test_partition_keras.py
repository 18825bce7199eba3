"""Keras models cut: small ones each time, known architectures where there is time.

TensorFlow takes threads and memory of its own when it is loaded, so the cases run in one process
for all tests of their kind.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

pytestmark = pytest.mark.frameworks("tensorflow", "keras", "h5py", "ai_edge_litert")
HERE: Final = Path(__file__).parent
CASES: Final = [
    node.name
    for node in ast.parse((HERE / "partition_cases.py").read_text("utf-8")).body
    if isinstance(node, ast.FunctionDef)
]


def of_kind(kind: str) -> list[str]:
    return [name for name in CASES if name.startswith(f"{kind}_")]


@cache
def report(kind: str) -> Any:
    with TemporaryDirectory(prefix="cloister-partition-") as folder:
        done = subprocess.run(
            [sys.executable, HERE / "partition_cases.py", kind, folder],
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
            env=os.environ
            | {
                "PYTHONPATH": str(HERE.parents[1] / "src"),
                "CUDA_VISIBLE_DEVICES": "",
                "KERAS_BACKEND": "tensorflow",
                "OMP_NUM_THREADS": "1",
            },
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads((Path(folder) / f"{kind}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", of_kind("small"))
def test_a_small_model(name: str) -> None:
    problem = report("small")[name]
    assert problem is None, problem


@pytest.mark.jobs
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("name", of_kind("large"))
def test_a_known_architecture(name: str) -> None:
    problem = report("large")[name]
    assert problem is None, problem
