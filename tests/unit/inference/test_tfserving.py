"""TensorFlow Serving's JSON, both ways."""

import json
import tracemalloc

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.inference.json_answer import write_answer
from cloister.inference.tensor import TensorSpec
from cloister.inference.tfserving import (
    metadata_record,
    predictions,
    read_examples,
    read_predict,
    regressions,
    status_record,
)
from unit.inference.served import Half, Pair

ONE, TWO = Half.inputs, Pair.inputs
GRID = (TensorSpec("g", "FP32", (-1, 1, 2)),)
LONE = (TensorSpec("s", "INT64", ()),)


def read(record: object, inputs: tuple[TensorSpec, ...]) -> object:
    question = read_predict(json.dumps(record).encode(), inputs=inputs)
    return question.by_row, {name: array.tolist() for name, array in question.inputs.items()}


@pytest.mark.spec("SRV-80")
def test_rows_and_columns() -> None:
    """As the interface's own page has them."""
    assert read({"instances": [1.0, 2.0, 5.0]}, ONE) == (True, {"x": [1, 2, 5]})
    assert read({"instances": [{"x": 1.0}, {"x": 2}]}, ONE) == (True, {"x": [1, 2]})
    assert read({"instances": [[[1, 2]], [[3, 4]]]}, GRID) == (True, {"g": [[[1, 2]], [[3, 4]]]})
    rows = [{"a": 1, "b": [True, False]}, {"a": 3, "b": [False, False]}]
    both = {"a": [1, 3], "b": [[True, False], [False, False]]}
    assert read({"instances": rows}, TWO) == (True, both)
    assert read({"inputs": both}, TWO) == (False, both)
    assert read({"inputs": [1, 2]}, ONE) == (False, {"x": [1, 2]})
    assert read({"inputs": {"x": [1, 2]}}, ONE) == (False, {"x": [1, 2]})
    assert read({"inputs": 7}, LONE) == (False, {"s": 7})
    for name in ("", "serving_default", "tensorflow/serving/predict"):
        assert read({"signature_name": name, "instances": [1]}, ONE) == (True, {"x": [1]})


@pytest.mark.spec("SRV-80", "SRV-83", "SRV-85")
@pytest.mark.parametrize(("text", "inputs"), [
    ("", ONE), ("[]", ONE), ("{}", ONE), ('{"instances": [1], "inputs": [1]}', ONE),
    ('{"instances": [1], "more": 1}', ONE), ('{"instances": [1], "instances": [1]}', ONE),
    ('{"instances": []}', ONE), ('{"instances": 1}', ONE), ('{"instances": [[1]]}', ONE),
    ('{"instances": ["1"]}', ONE), ('{"instances": [NaN]}', ONE), ('{"instances": [1e999]}', ONE),
    ('{"instances": [null]}', ONE), ('{"instances": [true]}', ONE),
    ('{"instances": [1, [2]]}', ONE),
    ('{"instances": [{"y": 1}]}', ONE), ('{"instances": [{"x": 1}, 2]}', ONE),
    ('{"instances": [[[1, 2]], [[3]]]}', GRID), ('{"instances": [[[1, 2]], 3]}', GRID),
    ('{"instances": [{"a": 1}]}', TWO), ('{"instances": [1]}', TWO), ('{"inputs": [1]}', TWO),
    ('{"inputs": {"a": [1]}}', TWO), ('{"inputs": {"a": [1.5], "b": [[true, true]]}}', TWO),
    ('{"inputs": [7]}', LONE), ('{"inputs": {"s": "7"}}', LONE),
    ('{"signature_name": "other", "instances": [1]}', ONE),
    ('{"signature_name": 1, "instances": [1]}', ONE),
    ('{"instances": ' + "[" * 9 + "1" + "]" * 9 + "}", ONE),
    ('{"instances": ' + "[" * 100_000, ONE),
])  # fmt: skip
def test_questions_that_are_none(text: str, inputs: tuple[TensorSpec, ...]) -> None:
    """Refused, with a sentence."""
    with pytest.raises(MalformedError) as caught:
        read_predict(text.encode(), inputs=inputs)
    assert caught.value.code == "message.malformed"


@pytest.mark.spec("SRV-83")
@pytest.mark.parametrize("text", [
    '{"instances": [{"b64": "aGk="}]}', '{"inputs": {"b64": "aGk="}}',
    '{"instances": [[{"b64": "aGk="}]]}', '{"inputs": [{"b64": "aGk="}]}',
])  # fmt: skip
def test_strings_are_refused_by_name(text: str) -> None:
    """The sentence says that there are none."""
    with pytest.raises(MalformedError, match="b64 is for strings") as caught:
        read_predict(text.encode(), inputs=ONE)
    assert caught.value.code == "message.malformed"


@pytest.mark.parametrize(("text", "sentence"), [
    ('{"inputs": {"y": [1]}}', "inputs are not x"),
    ('{"inputs": {"x": [1], "y": [1]}}', "inputs are not x"),
    ('{"instances": [{"y": 1}]}', "objects with x"),
    ('{"instances": [[{"y": 1}]]}', "x holds an object"),
])  # fmt: skip
def test_another_name_is_refused_with_the_names_there_are(text: str, sentence: str) -> None:
    """Nothing is said of strings."""
    with pytest.raises(MalformedError, match=sentence):
        read_predict(text.encode(), inputs=ONE)


def test_an_input_of_half_floats_is_asked_for_elsewhere() -> None:
    """The interface has no binary form; a model whose input is called b64 can be asked."""
    with pytest.raises(MalformedError, match="at /v2/models"):
        read_predict(b'{"instances": [1]}', inputs=(TensorSpec("h", "FP16", (-1,)),))
    odd = (TensorSpec("b64", "FP32", (-1,)),)
    assert read({"inputs": {"b64": [1]}}, odd) == (False, {"b64": [1]})


@pytest.mark.spec("SRV-81")
def test_examples_with_what_they_have_in_common() -> None:
    """Features are inputs; one that is in both places is refused."""
    body = {"context": {"b": [True, True]}, "examples": [{"a": 1}, {"a": 2}]}
    found = read_examples(json.dumps(body).encode(), inputs=TWO, verb="regress")
    assert found["a"].tolist() == [1, 2]
    assert found["b"].tolist() == [[True, True]] * 2
    for wrong in (
        {"context": {"a": 1}, "examples": [{"a": 1, "b": [True, True]}]},
        {"examples": {}}, {"context": [], "examples": [{"x": 1}]}, {"examples": [1]},
        {"examples": []}, {"signature_name": "tensorflow/serving/classify", "examples": [{"x": 1}]},
    ):  # fmt: skip
        with pytest.raises(MalformedError) as caught:
            read_examples(json.dumps(wrong).encode(), inputs=ONE, verb="regress")
        assert caught.value.code == "message.malformed"


@pytest.mark.spec("SRV-81", "SRV-85")
def test_what_examples_have_in_common_is_read_once() -> None:
    """A small body stays small: keys are judged before a copy of anything is made."""
    context = {f"{i:x}": 0 for i in range(8192)}
    for body, says in [
        ({"context": context, "examples": [{}] * 8192}, "features are not x"),
        ({"context": {"g": [[0, 0]]}, "examples": [{}] * 65_537}, "1 to 65536"),
        ({"context": {"g": [[0, 0]]}, "examples": [{"b64": ""}]}, "b64 is for strings"),
        ({"context": {"g": [0]}, "examples": [{}]}, "shape is"),
        ({"context": {"g": [[0, 0]], "h": 1}, "examples": [{}]}, "features are not"),
    ]:
        data, inputs = json.dumps(body).encode(), ONE if "0" in body["context"] else GRID
        tracemalloc.start()
        try:
            with pytest.raises(MalformedError, match=says) as caught:
                read_examples(data, inputs=inputs, verb="classify")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert caught.value.code == "message.malformed"
        assert peak < 16 << 20


@pytest.mark.spec("SRV-81", "SRV-85")
def test_copies_of_what_examples_have_in_common_are_bounded() -> None:
    """So many numbers as the limit says, all copies together; no more."""
    wide = (TensorSpec("w", "UINT8", (-1, -1)),)

    def read_wide(width: int, rows: int) -> np.ndarray:
        body = {"context": {"w": [1] * width}, "examples": [{}] * rows}
        return read_examples(json.dumps(body).encode(), inputs=wide, verb="classify")["w"]

    assert read_wide(1024, 4096).shape == (4096, 1024)
    with pytest.raises(MalformedError, match="more than 4194304 numbers"):
        read_wide(1024, 4097)
    lone = {"context": {"s": 1}, "examples": [{}]}
    with pytest.raises(MalformedError, match="shape is"):
        read_examples(json.dumps(lone).encode(), inputs=LONE, verb="classify")


@pytest.mark.spec("SRV-80", "SRV-85")
def test_answers() -> None:
    """With names where there are several, in the question's form."""
    one = {"y": np.float32([2.5, 3.0])}
    assert said(predictions(one, by_row=True)) == {"predictions": [2.5, 3.0]}
    assert said(predictions(one, by_row=False)) == {"outputs": [2.5, 3.0]}
    two = {"a": np.int32([1, 2]), "b": np.array([[True], [False]])}
    assert said(predictions(two, by_row=True)) == {
        "predictions": [{"a": 1, "b": [True]}, {"a": 2, "b": [False]}]
    }
    assert said(predictions(two, by_row=False)) == {
        "outputs": {"a": [1, 2], "b": [[True], [False]]}
    }
    assert said(predictions({"y": np.array([["0.5:1"]], object)}, by_row=True)) == {
        "predictions": [["0.5:1"]]
    }
    assert said(regressions({"y": np.float32([[1], [2]])})) == {"results": [1, 2]}


def said(record: object) -> object:
    """Write an answer, and read it."""
    return json.loads(write_answer(record))


@pytest.mark.parametrize("results", [
    {"y": np.float32([np.nan])}, {"a": np.ones(2), "b": np.ones(3)}, {"y": np.ones(())},
])  # fmt: skip
def test_answers_that_have_no_form(results: dict[str, np.ndarray]) -> None:
    """No number, no rows in common, no rows at all."""
    with pytest.raises(MalformedError) as caught:
        predictions(results, by_row=True)
    assert caught.value.code == "message.malformed"


@pytest.mark.parametrize("results", [
    {"y": np.ones((2, 2))}, {"a": np.ones(2), "b": np.ones(2)}, {"y": np.array([True])},
    {"y": np.ones(())},
])  # fmt: skip
def test_what_is_no_regression(results: dict[str, np.ndarray]) -> None:
    """Not one number for each example."""
    with pytest.raises(MalformedError) as caught:
        regressions(results)
    assert caught.value.code == "message.malformed"


@pytest.mark.spec("SRV-82")
def test_descriptions() -> None:
    """One signature, sizes as texts; states of versions."""
    record = metadata_record("half", "3", inputs=ONE, outputs=Half.outputs)
    signature = record["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert record["model_spec"] == {"name": "half", "signature_name": "", "version": "3"}
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signature["inputs"]["x"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]
    states = status_record({"1": "", "2": "model.malformed"})["model_version_status"]
    assert [each["state"] for each in states] == ["AVAILABLE", "END"]
    assert states[1]["status"]["error_message"] == "model.malformed"
