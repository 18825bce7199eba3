"""ONNX models cut at every position."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from cloister.errors import ConfigError, RefusedError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from cloister.partition.constants import part_constants, require_no_constants
from cloister.partition.cuts import all_cuts
from cloister.partition.equality import require_equal
from cloister.partition.onnx_source import ONNXSource, onnx_with_outputs
from cloister.partition.runtime import open_part
from partition_models import onnx_block_net

DATA = onnx_block_net()
SOURCE = ONNXSource(DATA)
INPUTS, OUTPUTS = ["image"], ["label"]
CUTS = all_cuts(SOURCE.graph)[1:-1]


def test_the_graph_says_what_is_in_the_file() -> None:
    graph = SOURCE.graph
    assert SOURCE.digest == sha256(DATA).digest()
    assert [(i.name, i.datatype, i.shape) for i in graph.inputs] == [
        ("image", "float32", (-1, 3, 16, 16))
    ]
    assert graph.tensors["cat2"].shape == (-1, 16, 16, 16)
    assert graph.nodes[2].operator == "Conv"
    assert graph.nodes[2].inputs == ("r1",)
    assert graph.nodes[2].constants == ("c2.w", "c2.b")


def test_blocks_are_cut_with_all_that_crosses() -> None:
    crossing = [cut.tensors for cut in CUTS]
    assert ("r1", "n1") in crossing
    assert ("cat1", "c4") in crossing


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: "+".join(cut.tensors))
def test_two_parts_give_the_bits_of_the_whole(cut: Any) -> None:
    """And neither has a constant of the other."""
    whole = SOURCE.part(INPUTS, OUTPUTS)
    parts = [SOURCE.part(INPUTS, cut.tensors), SOURCE.part(cut.tensors, OUTPUTS)]
    found = require_equal(whole, parts, bound=SOURCE.bound, trials=2, seed=1)
    assert found.worst == 0.0
    constants = [part_constants(part) for part in parts]
    assert constants[0].keys().isdisjoint(constants[1])
    require_no_constants(constants[0], parts[1].data)
    require_no_constants(constants[1], parts[0].data)


def test_three_parts_give_the_bits_of_the_whole() -> None:
    front, back = CUTS[3], CUTS[8]
    parts = [
        SOURCE.part(INPUTS, front.tensors),
        SOURCE.part(front.tensors, back.tensors),
        SOURCE.part(back.tensors, OUTPUTS),
    ]
    assert require_equal(SOURCE.part(INPUTS, OUTPUTS), parts, bound=0, trials=2, seed=2).worst == 0


def test_a_part_says_nothing_of_who_made_the_model() -> None:
    model = onnx.load_from_string(DATA)
    model.doc_string = model.graph.doc_string = "made by somebody"
    model.producer_name = "somebody"
    model.metadata_props.add(key="path", value="/home/somebody")
    for thing in (*model.graph.node, *model.graph.initializer):
        thing.doc_string = "somebody"
    part = ONNXSource(model.SerializeToString()).part(INPUTS, ["add"])
    assert b"somebody" not in part.data


def test_constants_that_nodes_make_go_where_they_are_read() -> None:
    """A chain of nodes without an input of the model is a constant of who reads it."""
    model = onnx.load_from_string(DATA)
    value = onnx.numpy_helper.from_array(np.array([1.5], np.float32), "v")
    model.graph.node[-1].input[0] = "scaled"
    for at, node in enumerate(
        [
            onnx.helper.make_node("Constant", [], ["k"], value=value),
            onnx.helper.make_node("Neg", ["k"], ["minus"]),
            onnx.helper.make_node("Mul", ["fc", "minus"], ["scaled"]),
        ]
    ):
        model.graph.node.insert(len(model.graph.node) - 1, node) if at else (
            model.graph.node.insert(0, node)
        )
    source = ONNXSource(model.SerializeToString())
    assert source.graph.nodes[-2].constants == ("minus",)
    assert "Neg" not in [node.operator for node in source.graph.nodes]
    parts = [source.part(INPUTS, ["fc"]), source.part(["fc"], OUTPUTS)]
    assert list(part_constants(parts[1])) == ["k"]
    assert require_equal(source.part(INPUTS, OUTPUTS), parts, bound=0, trials=1, seed=1).worst == 0


def test_inner_tensors_can_be_asked_for() -> None:
    part = SOURCE.part(["c1"], ["add"])
    shown = onnx_with_outputs(part, ["c2", "n1", "add"])
    assert [info.name for info in shown.outputs] == ["add", "c2", "n1"]
    feeds = {"c1": np.random.default_rng(1).standard_normal((2, 8, 16, 16), np.float32)}
    found = open_part(shown, threads=1).run(feeds)
    assert found["add"].tobytes() == open_part(part, threads=1).run(feeds)["add"].tobytes()
    assert found["c2"].shape == (2, 8, 16, 16)
    with pytest.raises(ConfigError) as caught:
        onnx_with_outputs(part, ["label"])
    assert caught.value.code == "config.value"


def test_tensors_whose_shape_nothing_says_are_refused() -> None:
    model = onnx.load_from_string(DATA)
    helper = onnx.helper
    model.graph.input.append(helper.make_tensor_value_info("dims", onnx.TensorProto.INT64, ["k"]))
    model.graph.node.append(helper.make_node("Reshape", ["label", "dims"], ["odd"]))
    model.graph.node.append(helper.make_node("ReduceSum", ["odd"], ["sum"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, []))
    with pytest.raises(RefusedError) as caught:
        ONNXSource(model.SerializeToString())
    assert caught.value.code == "model.operator"


def test_outputs_that_depend_on_no_input_are_refused() -> None:
    model = onnx.load_from_string(DATA)
    model.graph.node.append(onnx.helper.make_node("Neg", ["fc.b"], ["constant"]))
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("constant", onnx.TensorProto.FLOAT, [10])
    )
    with pytest.raises(RefusedError, match="no input") as caught:
        ONNXSource(model.SerializeToString())
    assert caught.value.code == "model.operator"


def test_nothing_unchecked_comes_along_with_a_node() -> None:
    """Notes of attributes, and fields that nobody knows."""
    model = onnx.load_from_string(DATA)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    conv.attribute[0].doc_string = "a note of an attribute"
    conv.doc_string = "a note of a node"
    model.graph.initializer[0].doc_string = "a note of a constant"
    unknown = b"\xfa\x7d\x0d" + b"unknown field"  # number 2015, of bytes
    for message in (conv, conv.attribute[0], model.graph.initializer[0], model.opset_import[0]):
        message.MergeFromString(unknown)
    data = model.SerializeToString()
    assert b"a note of an attribute" in data
    assert data.count(b"unknown field") == 4
    part = ONNXSource(data).part(INPUTS, OUTPUTS)
    assert b"note" not in part.data
    assert b"unknown field" not in part.data
    assert part.data == SOURCE.part(INPUTS, OUTPUTS).data
