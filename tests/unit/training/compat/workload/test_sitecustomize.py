"""What the workload's interpreter does at its start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloister.training.compat.delivery import compat_files

_PROGRAM = "import sys; print('cloister_keras' in sys.modules, len(sys.meta_path))"


def _start(folder: Path, *path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    for name, content in compat_files():
        (folder / name).write_bytes(content)
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(map(str, [folder, *path]))}
        | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )


def test_keras_is_prepared_where_there_is_a_cluster(tmp_path: Path) -> None:
    """And nowhere else: without TF_CONFIG nothing is loaded or watched for."""
    without = _start(tmp_path).stdout.split()
    within = _start(tmp_path, TF_CONFIG="{}").stdout.split()
    assert without[0] == "False"
    assert within == ["True", str(int(without[1]) + 1)]


@pytest.mark.parametrize("variables", [{}, {"TF_CONFIG": "{}"}])
def test_another_sitecustomize_still_runs(tmp_path: Path, variables: dict[str, str]) -> None:
    """The next of that name on the path, once, and under its name."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    (theirs / "sitecustomize.py").write_text("print('theirs', __name__, __file__)\n")
    output = _start(ours, theirs, **variables).stdout
    assert output.splitlines()[0] == f"theirs sitecustomize {theirs / 'sitecustomize.py'}"
    assert output.count("theirs sitecustomize") == 1


def test_a_failure_of_another_sitecustomize_takes_nothing_away(tmp_path: Path) -> None:
    """Python says so and goes on, as it does without us; ours has been prepared before."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    (theirs / "sitecustomize.py").write_text("raise RuntimeError('theirs')\n")
    done = _start(ours, theirs, TF_CONFIG="{}")
    assert done.stdout.startswith("True")
    assert "Error in sitecustomize" in done.stderr
