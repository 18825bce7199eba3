"""A child goes first."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from cloister.errors import MalformedError, UnavailableError
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

    def crash(data: bytes, *, kind: str, threads: int) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    monkeypatch.setattr(probe, "load_model", crash)
    with pytest.raises(MalformedError) as caught:
        probe.require_survives(MODEL.read_bytes(), threads=1)
    assert caught.value.code == "model.malformed"
    assert caught.value.detail == "SIGSEGV"


def test_a_program_apart_tries_a_model() -> None:
    """From any thread: a good one passes, a damaged one is refused."""
    probe.require_survives_apart(MODEL.read_bytes(), threads=1, kind="litert")
    with pytest.raises(MalformedError) as caught:
        probe.require_survives_apart(MODEL.read_bytes()[:500], threads=1, kind="litert")
    assert caught.value.code == "model.malformed"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_model_that_crashes_the_program_is_refused(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """The signal is told to the log."""
    dead = subprocess.CompletedProcess([], -number)
    monkeypatch.setattr(probe.subprocess, "run", lambda *_, **__: dead)
    with pytest.raises(MalformedError) as caught:
        probe.require_survives_apart(b"", threads=1, kind="litert")
    assert (caught.value.code, caught.value.detail) == ("model.malformed", number.name)


def test_a_program_that_cannot_start_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version may be tried again."""

    def fail(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(probe.subprocess, "run", fail)
    with pytest.raises(UnavailableError) as caught:
        probe.require_survives_apart(b"", threads=1, kind="litert")
    assert caught.value.code == "server.busy"
