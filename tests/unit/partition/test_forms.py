"""Forms of tensors follow from the part and the number of examples."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from onnx import TensorProto, helper

from cloister.errors import CloisterError
from cloister.partition.forms import Forms
from cloister.partition.graph import PartFile, TensorInfo
from cloister.partition.onnx_source import ONNXSource
from cloister.testing.middle_models import conv_net


def small(operator: str, shape: list[int | str], made: list[int | str], **options: object) -> bytes:
    """One operator, from `x` to `y`."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], **options)],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, made)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def part(data: bytes) -> PartFile:
    graph = ONNXSource(data).graph
    return PartFile("onnx", data, graph.inputs, graph.outputs)


def test_tensors_that_grow_with_the_batch() -> None:
    middle = ONNXSource(conv_net(channels=8, blocks=1, size=6)).part(["first"], ["flat"])
    forms = Forms(middle, ["a1", "flat"])
    assert forms.rows is None
    assert forms.of(3) == (("a1", "float32", (3, 8, 6, 6)), ("flat", "float32", (3, 8)))
    assert forms.of_one("a1") == ("float32", (1, 8, 6, 6))


def test_a_fixed_batch() -> None:
    forms = Forms(part(small("Relu", [4, 3], [4, 3])), ["y"])
    assert forms.rows == 4
    assert forms.of(4) == (("y", "float32", (4, 3)),)
    assert forms.of_one("y") == ("float32", (4, 3))
    with pytest.raises(CloisterError) as caught:
        forms.of(3)
    assert caught.value.code == "config.value"


def test_examples_that_are_not_one_after_another() -> None:
    """Turned around, the batch is the last axis: that has a form, and none for one example."""
    forms = Forms(part(small("Transpose", ["n", 3], [3, "n"], perm=[1, 0])), ["y"])
    assert forms.of(5) == (("y", "float32", (3, 5)),)
    assert forms.of_one("y") is None


def test_a_number_for_the_whole_batch() -> None:
    """It does not grow, and has no form for one example either."""
    forms = Forms(part(small("ReduceSum", ["n", 3], [1, 1])), ["y"])
    assert forms.of(5) == (("y", "float32", (1, 1)),)
    assert forms.of_one("y") is None


def test_what_has_no_form() -> None:
    """Open sizes besides the batch, and tensors that are not there."""
    middle = ONNXSource(conv_net(channels=8, blocks=1, size=6)).part(["first"], ["flat"])
    open_sizes = PartFile(
        "onnx", middle.data, (TensorInfo("first", "float32", (-1, 8, -1, 6)),), middle.outputs
    )
    for file, names in ((open_sizes, ["a1"]), (middle, ["nothing"])):
        with pytest.raises(CloisterError) as caught:
            Forms(file, names)
        assert caught.value.code == "config.value"
