"""Readers by the name of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import CloisterError, ConfigError
from cloister.partition.importing import open_model

MODELS = Path(__file__).parents[2] / "data" / "models"


def test_a_litert_model() -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    assert open_model(MODELS / "digits.tflite").graph.format == "litert"
    plain = open_model(MODELS / "digits.tflite", unfused=True)
    assert plain.graph.nodes[0].outputs[0].endswith("/linear")


def test_an_onnx_model(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    from partition_models import onnx_block_net  # noqa: PLC0415  # after the check

    path = tmp_path / "Model.ONNX"
    path.write_bytes(onnx_block_net())
    assert open_model(path).graph.format == "onnx"


@pytest.mark.parametrize("name", ["model.pkl", "model", "weights.npz", "model.pt"])
def test_other_kinds_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    with pytest.raises(ConfigError, match="not read") as caught:
        open_model(path)
    assert caught.value.code == "config.file"


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".onnx", ".tflite"])
def test_a_file_that_is_not_there_or_is_another(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    with pytest.raises(ConfigError) as missing:
        open_model(path)
    assert missing.value.code == "config.file"
    path.write_bytes(b"something else altogether, of no format at all")
    with pytest.raises(CloisterError) as other:
        open_model(path)
    assert other.value.code == "model.malformed"
