"""Operators by which rows see each other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.inference.joining import require_rows_apart
from cloister.inference.mixing import litert_mixes, onnx_mixes
from cloister.inference.model import LiteRTModel
from cloister.inference.onnx_model import ONNXModel
from unit.inference.onnx_models import built, half_plus, named_pair, node, onnx, scorer

MODELS = Path("tests/data/models")
AXES = {name: np.int64(value) for name, value in
        {"zero": [0], "one": [1], "all": [0, 1], "two": [-2], "last": [-1]}.items()}  # fmt: skip


def model(nodes: list[Any], **constants: Any) -> Any:
    shape = [None, 3]
    return built(nodes, [("x", shape)], [("y", None)], {**AXES, **constants})


MIXING = {
    "quantized": [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
                  node("DequantizeLinear", ["q", "s", "z"], ["y"])],
    "mean of rows": [node("ReduceMean", ["x"], ["y"], axes=[0])],
    "mean from the end": [node("ReduceMean", ["x"], ["y"], axes=[-2])],
    "mean of all": [node("ReduceMax", ["x"], ["y"])],
    "sum by an input": [node("ReduceSum", ["x", "zero"], ["y"])],
    "sum of all": [node("ReduceSum", ["x"], ["y"])],
    "axes that are computed": [node("Shape", ["x"], ["s"]), node("ReduceSum", ["x", "s"], ["y"])],
    "softmax": [node("Softmax", ["x"], ["y"], axis=0)],
    "best row": [node("ArgMax", ["x"], ["y"])],
    "sums so far": [node("CumSum", ["x", "zero"], ["y"])],
    "variance": [node("MeanVarianceNormalization", ["x"], ["y"])],
    "in a branch": [node("If", ["flag"], ["y"], then_branch=onnx.helper.make_graph(
        [node("ReduceMean", ["x"], ["b"], axes=[0])], "b", [], []),
        else_branch=onnx.helper.make_graph([node("Neg", ["x"], ["b"])], "b", [], []))],
}  # fmt: skip
APART = {
    "mean of a row": [node("ReduceMean", ["x"], ["y"], axes=[1])],
    "sum by an input": [node("ReduceSum", ["x", "last"], ["y"])],
    "nothing to sum": [node("ReduceSum", ["x"], ["y"], noop_with_empty_axes=1)],
    "softmax": [node("Softmax", ["x"], ["y"])],
    "weights": [node("ReduceMean", ["w"], ["m"], axes=[0]), node("Add", ["x", "m"], ["y"])],
    "shapes": [node("Shape", ["x"], ["s"]), node("ReduceProd", ["s"], ["p"], axes=[0]),
               node("Cast", ["p"], ["c"], to=1), node("Mul", ["x", "c"], ["y"])],
}  # fmt: skip


@pytest.mark.spec("SRV-52")
@pytest.mark.parametrize("case", MIXING)
def test_operators_that_mix_rows_are_found(case: str) -> None:
    """By attribute or input, from the front or the end, and in a branch."""
    assert onnx_mixes(model(MIXING[case], flag=np.bool_([1])))


@pytest.mark.spec("SRV-52")
@pytest.mark.parametrize("case", APART)
def test_what_does_not_come_from_rows_is_left_out(case: str) -> None:
    """And so is what stays in its row."""
    assert not onnx_mixes(model(APART[case], w=np.ones((4, 3), np.float32)))


def test_axes_of_a_function_are_unknown() -> None:
    """What is given from outside may be the first."""
    found = model([node("Own", ["x"], ["y"], domain="own", a=1)])
    inner = node("Softmax", ["v"], ["w"])
    reference = inner.attribute.add()
    reference.name, reference.ref_attr_name, reference.type = "axis", "a", 2
    sets = [onnx.helper.make_opsetid("", 17)]
    made = onnx.helper.make_function("own", "Own", ["v"], ["w"], [inner], sets, ["a"])
    found.functions.append(made)
    assert onnx_mixes(found)


@pytest.mark.spec("SRV-52")
@pytest.mark.parametrize("data", [half_plus(1.0), scorer()])
def test_ordinary_models_pass(data: bytes) -> None:
    """Both the look and the trial."""
    loaded = ONNXModel(data, threads=1)
    assert not loaded.mixes
    require_rows_apart(loaded)
    assert not ONNXModel(named_pair(), threads=1).mixes


@pytest.mark.spec("SRV-52")
def test_a_row_does_not_set_the_precision_of_others() -> None:
    """Dynamic quantization is refused: beside a row of millions, others are zero."""
    rng = np.random.default_rng(1)
    weights = rng.integers(-127, 128, (64, 10)).astype(np.int8)
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("MatMulInteger", ["q", "w", "z"], ["i"]),
        node("Cast", ["i"], ["f"], to=1),
        node("Mul", ["f", "s"], ["y"]),
    ]
    proto = built(nodes, [("x", [None, 64])], [("y", [None, 10])], {"w": weights})
    loaded = ONNXModel(proto.SerializeToString(), threads=1)
    victim = rng.random((1, 64), dtype=np.float32)
    attacker = np.full((1, 64), 1e6, np.float32)
    beside = loaded.predict({"x": np.concatenate([victim, attacker])})["y"][:1]
    assert np.abs(loaded.predict({"x": victim})["y"] - beside).max() > 1
    for mixes in (True, False):  # by the look, and by the trial alone
        object.__setattr__(loaded, "mixes", mixes)
        with pytest.raises(MalformedError) as caught:
            require_rows_apart(loaded)
        assert caught.value.code == "model.malformed"


class Interpreter:
    """LiteRT's, of one reduction of a given input."""

    def __init__(self, axes: list[int], *, known: bool = True) -> None:
        self._axes, self._known = np.int32(axes), known

    def _get_ops_details(self) -> list[dict[str, Any]]:
        made = [] if self._known else [("SHAPE", [0], [1]), ("CAST", [0], [1])]
        steps = [*made, ("MEAN", [0, 1], [2]), ("DELEGATE", [0], [2])]
        return [
            {"op_name": name, "inputs": np.int32(inputs), "outputs": np.int32(outputs)}
            for name, inputs, outputs in steps
        ]

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"index": 0}]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        return [{"index": index, "shape": np.ones(2, np.int32)} for index in range(3)]

    def get_tensor(self, index: int) -> Any:
        assert index == 1
        return self._axes


@pytest.mark.spec("SRV-52")
def test_reductions_of_litert_are_found() -> None:
    """Over the first axis, from either end, or over one that is computed."""
    assert litert_mixes(Interpreter([0]))
    assert litert_mixes(Interpreter([1, -2]))
    assert not litert_mixes(Interpreter([1]))
    assert litert_mixes(Interpreter([1], known=False))
    assert not LiteRTModel((MODELS / "digits.tflite").read_bytes(), threads=1).mixes
