"""How many threads products of matrices take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cloister.partition.blas import blas_threads, limit_blas

ASK = """
from cloister.partition.blas import blas_threads, limit_blas
import numpy as np
before = blas_threads()
heard = limit_blas(1)
np.ones((300, 300), np.float32) @ np.ones((300, 300), np.float32)
print(bool(before), heard, set(blas_threads()))
"""


def test_a_process_says_how_many() -> None:
    """In one of its own: the number is the whole process's."""
    if not blas_threads():
        pytest.skip("NumPy computes with another library than OpenBLAS")
    said = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == "True True {1}"


def test_nobody_listens_where_no_library_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another library than OpenBLAS, or a system that does not say what is loaded."""
    monkeypatch.setattr("cloister.partition.blas._MAPS", tmp_path / "none")
    assert limit_blas(1) is False
    assert blas_threads() == ()
    (tmp_path / "none").write_text("7f00-7f01 r-xp 00000000 08:01 1  /usr/lib/libm.so.6\n")
    assert limit_blas(1) is False
