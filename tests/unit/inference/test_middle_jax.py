"""JAX in the untrusted middle computes what the part says, and is checked like any engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from cloister.errors import CloisterError
from cloister.inference.middle_jax import JAX_OPERATORS, jax_engine
from unit.inference.middle_parts import CASES, IMAGE, part_of

HERE: Final = Path(__file__).parent


@cache
def report() -> Any:
    """Run all cases; JAX is loaded there and not here, where other tests fork."""
    pytest.importorskip("jax", reason="JAX is not installed")
    done = subprocess.run(
        [sys.executable, HERE / "middle_jax_cases.py"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(map(str, (HERE.parents[2] / "src", HERE.parents[1]))),
            "JAX_PLATFORMS": "cpu",
        },
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_every_operator_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(JAX_OPERATORS)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case[0] for case in CASES])
def test_each_operator_is_as_in_onnx_runtime(number: int) -> None:
    assert report()[f"{number}"] is None


@pytest.mark.parametrize("kind", ["convolutions", "dense"])
def test_a_model_whose_middle_is_in_jax_is_checked(kind: str) -> None:
    """Its honest answers are within the bound of float32."""
    assert report()[kind] is None


@pytest.mark.parametrize("case", ["refused", "does_not_run", "many_sizes"])
def test_what_is_asked_of_it(case: str) -> None:
    """Refusals when it is loaded and when it runs, and sizes of batches without end."""
    assert report()[case] is None


def test_without_jax_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(CloisterError) as caught:
        jax_engine(part_of("Relu", [], IMAGE), threads=1, device="cpu")
    assert caught.value.code == "extra.missing"
