"""Readers by the name of the file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cloister.errors import CloisterError, ConfigError, MissingExtraError
from cloister.partition.graph import PartFile, Source
from cloister.partition.importing import open_model
from cloister.partition.runtime import open_part

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


def _without(monkeypatch: pytest.MonkeyPatch, *roots: str) -> None:
    """Make packages as if they were not installed, whether something has loaded them or not."""
    loaded = [name for name in sys.modules if name.partition(".")[0] in roots]
    for name in (*loaded, *roots):
        monkeypatch.setitem(sys.modules, name, None)


def _whole(source: Source) -> PartFile:
    graph = source.graph
    return source.part([i.name for i in graph.inputs], [o.name for o in graph.outputs])


LITERT = ("ai_edge_litert", "flatbuffers")


@pytest.mark.parametrize(
    ("name", "roots", "extra"),
    [
        ("digits.tflite", LITERT, "litert"),
        ("digits.tflite", LITERT[:1], "litert"),
        ("digits.tflite", LITERT[1:], "litert"),
        ("blocks.keras", ("keras", "tensorflow"), "tensorflow"),
        ("blocks.h5", ("keras", "tensorflow"), "tensorflow"),
        ("model.onnx", ("onnx", "onnxruntime"), "onnx"),
    ],
)
def test_what_a_format_needs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, roots: tuple[str, ...], extra: str
) -> None:
    """An extra that is not there is an error with a code, never a traceback."""
    _without(monkeypatch, *roots)
    (tmp_path / "model.onnx").write_bytes(b"\x08\x09")
    with pytest.raises(MissingExtraError) as caught:
        _whole(open_model((tmp_path if name == "model.onnx" else MODELS) / name))
    assert caught.value.code == "extra.missing"
    assert f"[{extra}]" in (caught.value.hint or "")


@pytest.mark.parametrize(("kind", "root"), [("litert", "ai_edge_litert"), ("onnx", "onnxruntime")])
def test_what_a_part_needs_is_named(monkeypatch: pytest.MonkeyPatch, kind: str, root: str) -> None:
    """Of its runtime likewise."""
    _without(monkeypatch, root)
    with pytest.raises(MissingExtraError) as caught:
        open_part(PartFile(kind, b"", (), ()), threads=1)
    assert caught.value.code == "extra.missing"
