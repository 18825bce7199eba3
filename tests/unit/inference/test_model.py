"""LiteRT models: what they say about themselves, and damaged files."""

import threading
from pathlib import Path

import numpy as np
import pytest

from cloister.errors import ConfigError, MalformedError, MissingExtraError
from cloister.inference.model import LiteRTModel, read_model_file
from cloister.inference.tensor import TensorSpec

litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
MODELS = Path(__file__).parents[2] / "data" / "models"
DIGITS = (MODELS / "digits.tflite").read_bytes()


def test_a_model_says_what_it_takes_and_gives() -> None:
    """Names are those of the signature, open axes are -1."""
    model = LiteRTModel(read_model_file(MODELS / "digits.tflite"), threads=1)
    assert model.inputs == (TensorSpec("image", "FP32", (-1, 8, 8, 1)),)
    assert model.outputs == (TensorSpec("output_0", "FP32", (-1, 10)),)
    assert model.platform == "tensorflow_lite"


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_predictions_equal_those_of_the_interpreter(rows: int) -> None:
    """Bit for bit, whatever the batch."""
    images = np.random.default_rng(rows).random((rows, 8, 8, 1), dtype=np.float32)
    plain = litert.Interpreter(model_content=DIGITS, num_threads=1)
    index = plain.get_input_details()[0]["index"]
    plain.resize_tensor_input(index, images.shape)
    plain.allocate_tensors()
    plain.set_tensor(index, images)
    plain.invoke()
    expected = plain.get_tensor(plain.get_output_details()[0]["index"])
    model = LiteRTModel(DIGITS, threads=1)
    model.predict({"image": images[:1]})
    assert model.predict({"image": images})["output_0"].tobytes() == expected.tobytes()


def test_several_inputs_and_outputs_go_by_name() -> None:
    """Order is no matter."""
    model = LiteRTModel(read_model_file(MODELS / "pair.tflite"), threads=1)
    numbers = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.int32)
    results = model.predict({"weights": np.array([1, 0.5], np.float32), "numbers": numbers})
    assert results["sum"].tolist() == [6, 15]
    assert results["weighed"].tolist() == [[1, 2, 3], [2, 2.5, 3]]


@pytest.mark.spec("SRV-34")
def test_no_query_sees_another() -> None:
    """A model that counts what it is asked counts each query alone."""
    model = LiteRTModel(read_model_file(MODELS / "counter.tflite"), threads=1)
    totals = [
        model.predict({"step": np.array([3], np.float32)})["total"].tolist() for _ in range(3)
    ]
    assert totals == [[3.0]] * 3


def test_a_model_may_be_shared_between_threads() -> None:
    """Each caller gets its own answer."""
    model = LiteRTModel(DIGITS, threads=1)
    images = np.random.default_rng(0).random((8, 8, 8, 1), dtype=np.float32)
    alone = [model.predict({"image": images[i : i + 1]})["output_0"].tobytes() for i in range(8)]
    found: dict[int, bytes] = {}

    def ask(index: int) -> None:
        for _ in range(20):
            result = model.predict({"image": images[index : index + 1]})
        found[index] = result["output_0"].tobytes()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(8)] == alone


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 100,
        DIGITS[:8],
        DIGITS[:23],
        DIGITS[:100],
        DIGITS[:-1000],
        DIGITS[:4] + b"TFL4" + DIGITS[8:],
        b"\xff\xff\xff\x7f" + DIGITS[4:],
        DIGITS[:8] + bytes(len(DIGITS) - 8),
        b"PK\x03\x04" + bytes(100),
    ],
    ids=range(10),
)
def test_a_damaged_model_is_refused(data: bytes) -> None:
    """Empty, foreign and cut files are malformed, and the process lives on."""
    with pytest.raises(MalformedError) as caught:
        LiteRTModel(data, threads=1)
    assert caught.value.code == "model.malformed"


def test_a_model_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(ConfigError) as caught:
        LiteRTModel(read_model_file(tmp_path / "no.tflite"), threads=1)
    assert caught.value.code == "config.file"
    assert "no.tflite" in caught.value.public


def test_an_input_that_the_model_cannot_run_is_malformed_and_harmless() -> None:
    """The next query is answered all the same."""
    model = LiteRTModel(read_model_file(MODELS / "pair.tflite"), threads=1)
    good = {"numbers": np.ones((2, 3), np.int32), "weights": np.ones(2, np.float32)}
    with pytest.raises(MalformedError) as caught:
        model.predict(good | {"numbers": np.ones((5, 3), np.int32)})
    assert caught.value.code == "message.malformed"
    assert model.predict(good)["sum"].tolist() == [3, 3]


@pytest.mark.spec("SRV-34")
def test_after_an_input_that_did_not_fit_a_model_starts_afresh_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One query pays for it, and no later one does."""
    model = LiteRTModel(read_model_file(MODELS / "pair.tflite"), threads=1)
    good = {"numbers": np.ones((2, 3), np.int32), "weights": np.ones(2, np.float32)}
    starts: list[int] = []
    start = model._start
    monkeypatch.setattr(model, "_start", lambda: (starts.append(1), start()))
    for _ in range(2):
        with pytest.raises(MalformedError):
            model.predict(good | {"numbers": np.ones((5, 3), np.int32)})
        before = len(starts)
        for _ in range(3):
            assert model.predict(good)["sum"].tolist() == [3, 3]
        assert len(starts) == before + 1
    assert not model.remembers


def test_without_litert_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingExtraError) as caught:
        LiteRTModel(DIGITS, threads=1)
    assert caught.value.code == "extra.missing"
    assert "[litert]" in str(caught.value.hint)
