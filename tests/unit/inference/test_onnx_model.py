"""ONNX models: what they say, what they answer, and what is refused before it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cloister.errors import MalformedError, MissingExtraError
from cloister.inference.onnx_model import ONNXModel
from cloister.inference.tensor import TensorSpec
from unit.inference.onnx_models import built, half_plus, named_pair, node, onnx, scorer

ONE = [("x", [None])]
OUT = [("y", [None])]


@pytest.mark.spec("SRV-60")
def test_a_model_says_what_it_takes_and_gives() -> None:
    """Open axes are -1; it answers, whatever the number of rows."""
    model = ONNXModel(half_plus(2.0), threads=1)
    assert model.platform == "onnxruntime_onnx"
    assert model.inputs == (TensorSpec("x", "FP32", (-1,)),)
    assert model.outputs == (TensorSpec("y", "FP32", (-1,)),)
    assert not model.remembers
    for rows in (1, 4, 2):
        x = np.arange(rows, dtype=np.float32)
        assert model.predict({"x": x})["y"].tolist() == (x / 2 + 2).tolist()


def test_several_inputs_and_outputs_go_by_name() -> None:
    """Order is no matter."""
    model = ONNXModel(named_pair(), threads=1)
    a = np.float32([[1, 2]])
    found = model.predict({"b": a * 3, "a": a})
    assert found["sum"].tolist() == [[4, 8]]
    assert found["product"].tolist() == [[3, 12]]


@pytest.mark.spec("SRV-34", "SRV-61")
def test_a_model_that_draws_numbers_starts_anew_for_each_query() -> None:
    """With a seed, the first number is the only one; and it may not be joined."""
    nodes = [node("RandomNormalLike", ["x"], ["r"], seed=4.0), node("Add", ["x", "r"], ["y"])]
    model = ONNXModel(built(nodes, ONE, OUT).SerializeToString(), threads=1)
    assert model.remembers
    found = {model.predict({"x": np.zeros(2, np.float32)})["y"].tobytes() for _ in range(3)}
    assert len(found) == 1


def _external(where: str) -> bytes:
    model = onnx.load_model_from_string(half_plus(1.0))
    tensor = model.graph.initializer[0]
    if where == "attribute":
        constant = node("Constant", [], ["c"], value=tensor)
        model.graph.node.append(constant)
        tensor = model.graph.node[-1].attribute[0].t
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    data: bytes = model.SerializeToString()
    return data


def _foreign(domain: str, *, inside: bool = False) -> bytes:
    strange = node("Strange", ["x"], ["y"], domain=domain)
    nodes = [strange]
    if inside:
        branch = onnx.helper.make_graph([strange], "b", [], [])
        nodes = [node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)]
    data: bytes = built(nodes, ONE, OUT, domains=(domain,)).SerializeToString()
    return data


def _deep() -> bytes:
    graph = onnx.helper.make_graph([node("Neg", ["x"], ["y"])], "b", [], [])
    for _ in range(20):
        step = node("If", ["x"], ["y"], then_branch=graph)
        graph = onnx.helper.make_graph([step], "b", [], [])
    model = built([], ONE, OUT)
    model.graph.node.append(node("If", ["x"], ["y"], then_branch=graph))
    data: bytes = model.SerializeToString()
    return data


REFUSED: dict[str, Any] = {
    "empty": lambda: b"",
    "nonsense": lambda: b"nonsense" * 20,
    "cut": lambda: half_plus(1.0)[:-30],
    "elsewhere": lambda: _external("initializer"),
    "elsewhere in an attribute": lambda: _external("attribute"),
    "foreign operator": lambda: _foreign("com.example"),
    "contributed operator": lambda: _foreign("com.microsoft"),
    "foreign operator in a branch": lambda: _foreign("com.example", inside=True),
    "too deep": _deep,
    "unknown operator": lambda: built([node("Nope", ["x"], ["y"])], ONE, OUT).SerializeToString(),
    "strings": lambda: built(
        [node("Identity", ["x"], ["y"])],
        [("x", [None], onnx.TensorProto.STRING)],
        [("y", [None], onnx.TensorProto.STRING)],
    ).SerializeToString(),
}


@pytest.mark.spec("SRV-61")
@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_is_not_served_is_refused(case: str) -> None:
    """Damaged, referring elsewhere, or needing what is not in it."""
    with pytest.raises(MalformedError) as caught:
        ONNXModel(REFUSED[case](), threads=1)
    assert caught.value.code == "model.malformed"


def test_a_function_of_its_own_is_no_foreign_operator() -> None:
    """The model brings what it means."""
    model = built([node("Twice", ["x"], ["y"], domain="own")], ONE, OUT, domains=("own",))
    inner = [node("Add", ["a", "a"], ["b"])]
    sets = [onnx.helper.make_opsetid("", 17)]
    model.functions.append(onnx.helper.make_function("own", "Twice", ["a"], ["b"], inner, sets))
    loaded = ONNXModel(model.SerializeToString(), threads=1)
    assert loaded.predict({"x": np.ones(2, np.float32)})["y"].tolist() == [2, 2]


def test_an_input_that_the_model_cannot_run_is_malformed_and_harmless() -> None:
    """The next query is answered all the same."""
    model = ONNXModel(scorer(), threads=1)
    with pytest.raises(MalformedError) as caught:
        model.predict({"x": np.ones((1, 5), np.float32)})
    assert caught.value.code == "message.malformed"
    assert model.predict({"x": np.ones((1, 3), np.float32)})["scores"].tolist() == [[1, 1, 1]]


def test_without_the_runtime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError) as caught:
        ONNXModel(half_plus(1.0), threads=1)
    assert caught.value.code == "extra.missing"
    assert "[onnx]" in str(caught.value.hint)
