"""Cuts that give their inputs away are called unsafe, and only one whose attackers failed safe.

The attacks are the real ones, with budgets that tests can afford, in one process for all cases.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest

SCRIPT: Final = Path(__file__).with_name("cut_cases.py")
CASES: Final = [
    node.name.removeprefix("case_")
    for node in ast.parse(SCRIPT.read_text("utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("case_")
]


# What takes long and is about parts of attacks rather than about verdicts.
LONG: Final = {
    "a_network_reads_what_is_too_much_for_regression",
    "same_seed_same_numbers",
    "the_surrogate_learns_from_what_crosses_and_from_the_rest",
}


def _run(written: Path, names: Iterable[str]) -> Any:
    done = subprocess.run(
        [sys.executable, SCRIPT, written, *names],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[2] / "src"), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(written.read_text("utf-8"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came of each case that is quick."""
    return _run(tmp_path_factory.mktemp("cuts") / "report.json", set(CASES) - LONG)


@pytest.fixture(scope="module")
def long_report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came of the others."""
    return _run(tmp_path_factory.mktemp("cuts") / "report.json", LONG)


@pytest.mark.frameworks("tensorflow", "sklearn")
@pytest.mark.parametrize("name", sorted(set(CASES) - LONG))
def test_case(report: Any, name: str) -> None:
    """Each case of `cut_cases.py` holds; its docstring says what it shows."""
    assert report[name] is None, report[name]


@pytest.mark.jobs
@pytest.mark.frameworks("tensorflow", "sklearn")
@pytest.mark.parametrize("name", sorted(LONG))
def test_long_case(long_report: Any, name: str) -> None:
    """So do those that take long."""
    assert long_report[name] is None, long_report[name]
