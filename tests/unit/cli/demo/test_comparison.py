"""The same model without protection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloister.cli.demo import comparison


def test_plain_http_carries_images_and_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an unprotected service sends is the bytes themselves, there and back."""

    def negative(_model: Path, images: np.ndarray) -> np.ndarray:
        return -images

    monkeypatch.setattr(comparison, "predict_plain", negative)
    images = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1)
    assert comparison.ask_in_plain(Path("model"), images) == (-images).tobytes()


def test_prediction_feeds_the_only_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And returns the only output."""

    class Model:
        inputs = (type("Spec", (), {"name": "x"}),)

        def __init__(self, content: bytes, *, threads: int) -> None:
            assert (content, threads) == (b"model", 1)

        def predict(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"y": given["x"] + 1}

    monkeypatch.setattr(comparison, "LiteRTModel", Model)
    monkeypatch.setattr(comparison, "read_model_file", lambda path: path.read_bytes())
    (tmp_path / "m").write_bytes(b"model")
    assert comparison.predict_plain(tmp_path / "m", np.zeros(2, np.float32)).tolist() == [1, 1]
