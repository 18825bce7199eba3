"""An hour of a key service in three minutes: memory and descriptors stay flat (`make soak`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "hour.py"


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_an_hour_leaves_memory_flat(tmp_path: Path) -> None:
    """Releases, renewals, refusals, owner's operations and snapshots, by the program's bound."""
    command = [sys.executable, str(PROGRAM), "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
