"""Attacks on the model, defences, and a whole assessment; TensorFlow has a process of its own."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

SCRIPT: Final = Path(__file__).with_name("assessment_cases.py")
CASES: Final = [
    node.name.removeprefix("case_")
    for node in ast.parse(SCRIPT.read_text("utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("case_")
]
STORIES: Final = [name for name in CASES if name.startswith("story")]

pytestmark = pytest.mark.jobs


def _ran(folder: Path, *cases: str, timeout: float) -> Any:
    written = folder / "cases.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, written, *cases],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[2] / "src"), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(written.read_text("utf-8"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came of each case but the stories."""
    return _ran(tmp_path_factory.mktemp("assessment"), timeout=280)


@pytest.mark.frameworks("tensorflow", "sklearn", "h5py")
@pytest.mark.parametrize("name", [name for name in CASES if name not in STORIES])
def test_case(report: Any, name: str) -> None:
    """Each case of `assessment_cases.py` holds; its docstring says what it shows."""
    assert report[name] is None, report[name]


@pytest.mark.timeout(1500)
@pytest.mark.frameworks("tensorflow", "sklearn", "h5py")
@pytest.mark.parametrize("name", STORIES)
def test_story(tmp_path: Path, name: str) -> None:
    """Each story of `assessment_cases.py` ends as its docstring says."""
    found = _ran(tmp_path, name, timeout=1400)
    assert found[name] is None, found[name]
