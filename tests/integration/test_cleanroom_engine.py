"""The trusted engine of a clean room, case by case, in three frameworks that have to agree.

Each framework takes threads and memory of its own when it is loaded, so each runs in one process,
once for all tests of this file.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import numpy as np
import pytest

pytestmark = pytest.mark.jobs
HERE: Final = Path(__file__).parent
FRAMEWORKS: Final = ("tensorflow", "jax", "torch")
CASES: Final = [
    node.name.removeprefix("case_")
    for node in ast.parse((HERE / "engine_cases.py").read_text("utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("case_")
]
COMMON: Final = [name for name in CASES if name.partition("_")[0] not in FRAMEWORKS]
# How far numbers of two frameworks may be apart, after one pass or after four steps.
APART: Final = {"start": 0.0, "outputs": 1e-5, "losses": 1e-5, "private": 2e-5}
APART_AFTER_STEPS: Final = 2e-4


@cache
def _folder() -> Path:
    return Path(mkdtemp(prefix="cloister-engine-"))


@cache
def _report(framework: str) -> Any:
    done = subprocess.run(
        [sys.executable, HERE / "engine_cases.py", framework, _folder()],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(map(str, (HERE.parents[1] / "src", HERE.parent))),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((_folder() / f"{framework}.json").read_text("utf-8"))


def _numbers(framework: str) -> Any:
    _report(framework)
    return np.load(_folder() / f"{framework}.npz")


@pytest.mark.slow
@pytest.mark.frameworks("tensorflow", "dp_accounting", "scipy", "sklearn")
@pytest.mark.parametrize("name", [*COMMON, *(n for n in CASES if n.startswith("tensorflow_"))])
def test_tensorflow(name: str) -> None:
    """Each case of `engine_cases.py` holds; its docstring says what it shows."""
    assert _report("tensorflow")[name] is None, _report("tensorflow")[name]


@pytest.mark.slow
@pytest.mark.frameworks("jax", "dp_accounting", "scipy", "sklearn")
@pytest.mark.parametrize("name", [*COMMON, *(n for n in CASES if n.startswith("jax_"))])
def test_jax(name: str) -> None:
    """The same in JAX."""
    assert _report("jax")[name] is None, _report("jax")[name]


@pytest.mark.slow
@pytest.mark.frameworks("torch", "dp_accounting", "scipy", "sklearn")
@pytest.mark.parametrize("name", [*COMMON, *(n for n in CASES if n.startswith("torch_"))])
def test_torch(name: str) -> None:
    """The same in PyTorch."""
    assert _report("torch")[name] is None, _report("torch")[name]


@pytest.mark.slow
@pytest.mark.spec("CC-43", "CC-44", "CC-46", "CC-47")
@pytest.mark.frameworks("tensorflow", "jax", "torch", "dp_accounting", "scipy", "sklearn")
@pytest.mark.parametrize("other", ["jax", "torch"])
def test_frameworks_agree(other: str) -> None:
    """From one seed, outputs, clipped sums and trained weights are the same numbers."""
    ours, theirs = _numbers("tensorflow"), _numbers(other)
    assert sorted(ours.files) == sorted(theirs.files)
    assert set(APART) < set(ours.files)
    for name in ours.files:
        assert np.abs(ours[name]).max() > 0.01
        apart = np.abs(ours[name] - theirs[name])
        assert apart.max() <= APART.get(name, APART_AFTER_STEPS), (name, apart.max())
