"""PyTorch in the untrusted middle computes what the part says, and is checked like any engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from cloister.errors import CloisterError
from cloister.inference.middle_process import engine
from cloister.inference.middle_torch import TORCH_OPERATORS, torch_engine
from cloister.partition.graph import PartFile
from unit.inference.middle_parts import (
    CASES,
    IMAGE,
    floats,
    part_of,
    require_checked,
    require_operator,
)


def test_every_operator_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(TORCH_OPERATORS)


@pytest.mark.parametrize(("operator", "constants", "shape", "options"), CASES)
def test_each_operator_is_as_in_onnx_runtime(
    operator: str, constants: list[Any], shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    require_operator(operator, constants, shape, options, torch_engine)


@pytest.mark.parametrize("kind", ["convolutions", "dense"])
def test_a_model_whose_middle_is_in_pytorch_is_checked(kind: str, tmp_path: Path) -> None:
    """Its honest answers are within the bound of float32."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    require_checked(
        kind, tmp_path, lambda part: engine(part, threads=1, provider=None, torch_device="cpu")
    )


def test_what_does_not_run_is_said_to_have_failed() -> None:
    """As an input of another size."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    part = part_of("MatMul", [floats(8, 5)], (8,))
    with pytest.raises(CloisterError) as caught:
        torch_engine(part, threads=1, device="cpu")({"x": floats(3, 7)})
    assert caught.value.code == "model.malformed"


def test_what_cannot_be_run_is_refused_when_it_is_loaded() -> None:
    """An operator that is not known, another format, another device, two engines."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    relu = part_of("Mul", [floats(4, 1, 1)], IMAGE)
    for part, device in (
        (part_of("Erf", [], IMAGE), "cpu"),
        (PartFile("litert", b"", (), ()), "cpu"),
        (relu, "nowhere"),
    ):
        with pytest.raises(CloisterError) as caught:
            torch_engine(part, threads=1, device=device)
        assert caught.value.code == "config.value"
    with pytest.raises(CloisterError) as caught:
        engine(relu, threads=1, provider="CUDAExecutionProvider", torch_device="cuda")
    assert caught.value.code == "config.value"


def test_without_pytorch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CloisterError) as caught:
        torch_engine(part_of("Relu", [], IMAGE), threads=1, device="cpu")
    assert caught.value.code == "extra.missing"
