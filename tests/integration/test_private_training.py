"""Differentially private training, case by case, and beside the libraries of other frameworks.

TensorFlow starts threads, and JAX and PyTorch have theirs: each side runs in one process of its
own, once for all tests of this file.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from cloister.training.privacy.accounting import Mechanism, epsilon_of
from cloister.training.privacy.statement import Statement

HERE: Final = Path(__file__).parent
CASES: Final = [
    node.name.removeprefix("case_")
    for node in ast.parse((HERE / "privacy_cases.py").read_text("utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("case_")
]
DELTA: Final = 1e-5
pytestmark = pytest.mark.jobs
PLANS: Final = {"few": (100, 1.5, 60), "many": (10, 1.0, 1000), "whole": (1000, 8.0, 20)}


def _run(script: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, HERE / script, folder],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1] / "src"), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and a batch that all libraries are given."""
    made = tmp_path_factory.mktemp("private")
    generator = np.random.default_rng(7)
    shapes = [(3, 3, 1, 4), (4,), (144, 10), (10,)]
    weights = [(generator.normal(size=shape) * 0.2).astype("float32") for shape in shapes]
    np.savez(
        made / "given.npz",
        clip=0.7,
        x=generator.normal(size=(16, 8, 8, 1)).astype("float32"),
        y=generator.integers(0, 10, 16),
        **{f"weight{n}": each for n, each in enumerate(weights)},
    )
    return made


@pytest.fixture(scope="module")
def report(folder: Path) -> Any:
    """What came of each case."""
    _run("privacy_cases.py", folder)
    return json.loads((folder / "report.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def others(folder: Path) -> Path:
    """What jax-privacy and Opacus say."""
    _run("privacy_references.py", folder)
    return folder


@pytest.mark.slow
@pytest.mark.frameworks("tensorflow", "dp_accounting", "scipy")
@pytest.mark.parametrize("name", CASES)
def test_case(report: Any, name: str) -> None:
    """Each case of `privacy_cases.py` holds; its docstring says what it shows."""
    assert report[name] is None, report[name]


@pytest.mark.slow
@pytest.mark.frameworks("tensorflow", "dp_accounting", "jax", "jax_privacy", "torch", "opacus")
@pytest.mark.parametrize("library", ["jax", "torch"])
def test_clipped_sums_are_those_of_other_libraries(report: Any, others: Path, library: str) -> None:
    """On the same weights and batch, jax-privacy and Opacus give the same clipped sums."""
    assert report["sums_for_other_libraries"] is None
    ours, theirs = np.load(others / "sums.npz"), np.load(others / f"{library}.npz")
    assert sorted(ours.files) == sorted(theirs.files)
    for name in ours.files:
        assert np.abs(ours[name]).max() > 0.01
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)


@pytest.mark.slow
@pytest.mark.frameworks("dp_accounting", "jax", "jax_privacy", "torch", "opacus")
@pytest.mark.parametrize("name", PLANS)
def test_epsilons_are_those_of_other_accountants(others: Path, name: str) -> None:
    """As jax-privacy's; as Opacus's up to its own error; below what its Renyi accountant bounds."""
    batch, noise, steps = PLANS[name]
    mechanism = Mechanism(examples=1000, batch=batch, clip=1, noise_multiplier=noise, steps=steps)
    ours = epsilon_of([mechanism], delta=DELTA)
    theirs = json.loads((others / "epsilons.json").read_text("utf-8"))[name]
    assert ours == pytest.approx(theirs["jax-privacy"], rel=1e-9)
    assert ours == pytest.approx(theirs["opacus"], abs=0.03)
    assert ours < theirs["opacus-rdp"]


@pytest.mark.slow
@pytest.mark.jobs
@pytest.mark.frameworks("tensorflow", "dp_accounting", "sklearn")
def test_the_example_keeps_its_promise_and_learns(tmp_path: Path) -> None:
    """At epsilon 3 the digits are recognised, and the model is one that others load."""
    script = HERE.parents[1] / "examples" / "private_digits.py"
    _run(str(script), tmp_path)
    statement = Statement.read(tmp_path / "privacy.json")
    statement.verify()
    assert statement.epsilon <= 3
    assert [each.steps for each in statement.mechanisms] == [120]
    assert (tmp_path / "digits.keras").stat().st_size > 10_000
    metrics = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    assert metrics["accuracy"] > 0.88
