"""A suffix says the runtime."""

from pathlib import Path

import pytest

from cloister.errors import ConfigError, MalformedError
from cloister.inference.formats import FORMATS, format_of, load_model, remembers


@pytest.mark.spec("SRV-60")
def test_suffixes() -> None:
    """Of the files that are served; others are a mistake."""
    assert format_of(Path("a/model.tflite")) == "litert"
    assert format_of(Path("model.onnx")) == "onnx"
    for name in ("model.keras", "model", "model.ONNX"):
        with pytest.raises(ConfigError) as caught:
            format_of(Path(name))
        assert caught.value.code == "config.value"


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_refuses_nonsense(kind: str) -> None:
    """With the same code."""
    pytest.importorskip({"litert": "ai_edge_litert", "onnx": "onnxruntime"}[kind])
    with pytest.raises(MalformedError) as caught:
        load_model(b"nonsense" * 10, kind=kind, threads=1)
    assert caught.value.code == "model.malformed"


def test_a_model_that_does_not_say_may_remember() -> None:
    """What is not known is not taken for granted."""
    assert remembers(object())  # type: ignore[arg-type]  # that is what is tested
