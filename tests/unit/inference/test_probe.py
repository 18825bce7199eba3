"""A child goes first."""

import os
import signal
from pathlib import Path

import pytest

from cloister.errors import MalformedError
from cloister.inference import probe

pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
MODEL = Path(__file__).parents[2] / "data" / "models" / "digits.tflite"


def test_a_good_model_passes() -> None:
    """Nothing is said."""
    probe.require_survives(MODEL.read_bytes(), threads=1)


def test_a_model_that_is_refused_in_words_is_left_to_the_caller() -> None:
    """The child lives; loading will say what is wrong."""
    probe.require_survives(b"nonsense", threads=1)


def test_a_model_that_crashes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's death is the answer, and this process goes on."""

    def crash(data: bytes, *, threads: int) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    monkeypatch.setattr(probe, "LiteRTModel", crash)
    with pytest.raises(MalformedError) as caught:
        probe.require_survives(MODEL.read_bytes(), threads=1)
    assert caught.value.code == "model.malformed"
    assert caught.value.detail == "SIGSEGV"
