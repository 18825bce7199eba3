"""A child goes first."""

import os
import signal
import subprocess
from pathlib import Path
from typing import BinaryIO

import pytest

from cloister.errors import MalformedError, MissingExtraError, UnavailableError
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


@pytest.mark.spec("SRV-45")
def test_a_program_apart_says_what_is_wrong() -> None:
    """The sentence that loading it here would have."""
    onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    made = onnx.helper.make_tensor_sequence_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("SequenceConstruct", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [given], [made])
    sets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=sets, ir_version=8)
    with pytest.raises(MalformedError) as caught:
        probe.require_survives_apart(model.SerializeToString(), threads=1, kind="onnx")
    assert caught.value.public == "values of type seq(tensor(float)) are not supported"


def test_a_missing_runtime_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's status says so, and whoever loads the model then says what is missing."""
    missing = MissingExtraError("no runtime", code="extra.missing")

    def load(*_: object, **__: object) -> None:
        raise missing

    monkeypatch.setattr(probe, "load_model", load)
    child = os.fork()
    if child == 0:
        os._exit(probe._try(b"", 1, "onnx", tell=len))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == probe._MISSING
    done = subprocess.CompletedProcess([], probe._MISSING)
    monkeypatch.setattr(probe.subprocess, "run", lambda *_, **__: done)
    probe.require_survives_apart(b"", threads=1, kind="onnx")


@pytest.mark.parametrize(
    "said", [b"", b"two\nlines", b"\x1b[31mred", b"\xff", b"a" * 501, b"a" * 30_000]
)
def test_what_a_program_says_is_one_sentence_or_nothing(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """No more is read of it, and no control character is."""

    def refuse(*_: object, stdout: BinaryIO, **__: object) -> subprocess.CompletedProcess[bytes]:
        stdout.write(said)
        return subprocess.CompletedProcess([], probe._REFUSED)

    monkeypatch.setattr(probe.subprocess, "run", refuse)
    with pytest.raises(MalformedError) as caught:
        probe.require_survives_apart(b"", threads=1, kind="litert")
    assert caught.value.public == "the model is damaged, or cannot run on zeros"


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
