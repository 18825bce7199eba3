"""Programs come from the measured packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cloister.training.federated.programs import start_program


@pytest.mark.spec("FED-11")
def test_programs_are_this_interpreters(tmp_path: Path) -> None:
    """From the measured packages, whatever lies where they run or stands on PATH."""
    (tmp_path / "cloister.py").write_text("raise SystemExit(9)")
    process = start_program("task", "no-kind", folder=tmp_path, environment={"PATH": str(tmp_path)})
    assert process.args[0] == sys.executable  # type: ignore[index]  # a list
    assert process.wait(30) == 1
