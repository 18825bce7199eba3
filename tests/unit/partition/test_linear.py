"""Linear steps are found in ONNX parts, as what the runtime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cloister.errors import CloisterError
from cloister.partition.graph import PartFile, TensorInfo
from cloister.partition.linear import linear_steps

onnx = pytest.importorskip("onnx")


def part(nodes: list[Any], constants: dict[str, Any], given: list[Any]) -> PartFile:
    """A part of these nodes, from `x` to the last one's output."""
    helper = onnx.helper
    last = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, given)],
        [helper.make_tensor_value_info(last, 1, [f"o{i}" for i in range(len(given))])],
        [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    shape = tuple(size if isinstance(size, int) else -1 for size in given)
    return PartFile("onnx", model.SerializeToString(), (TensorInfo("x", "float32", shape),), ())


def node(operator: str, *sources: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(operator, list(sources), ["y"], name="y", **attributes)


W = np.arange(12, dtype=np.float32).reshape(3, 4)
FOUR = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("made", "weights", "bias"),
    [
        (lambda: node("MatMul", "x", "w"), W.T, None),
        (lambda: node("Gemm", "x", "w", "b"), W.T, FOUR),
        (lambda: node("Gemm", "x", "v", transB=1), W.T, None),
        (lambda: node("Gemm", "x", "w", "one"), W.T, FOUR),
    ],
)
def test_dense(made: Any, weights: Any, bias: Any) -> None:
    constants = {"w": W, "v": W.T.copy(), "b": FOUR, "one": np.ones(1, np.float32)}
    (step,) = linear_steps(part([made()], constants, ["n", 3]))
    assert (step.kind, step.input, step.output) == ("dense", "x", "y")
    np.testing.assert_array_equal(step.weights, weights)
    if bias is None:
        assert step.bias is None
    else:
        np.testing.assert_array_equal(step.bias, bias)


@pytest.mark.parametrize(
    "made",
    [
        lambda: node("Gemm", "x", "w", alpha=2.0),
        lambda: node("Gemm", "x", "w", "b", beta=0.5),
        lambda: node("Gemm", "x", "w", transA=1),
        lambda: node("Gemm", "x", "w", "x"),
        lambda: node("MatMul", "w", "x"),
        lambda: node("MatMul", "x", "x"),
        lambda: node("Relu", "x"),
    ],
)
def test_what_does_more_is_no_linear_step(made: Any) -> None:
    constants = {"w": np.ones((3, 3), np.float32), "b": np.ones(3, np.float32)}
    assert linear_steps(part([made()], constants, [3, 3])) == ()


def test_convolutions() -> None:
    weights, bias = np.ones((8, 2, 3, 3), np.float32), np.ones(8, np.float32)
    plain = node("Conv", "x", "w", "b", group=2, strides=[2, 1], pads=[1, 0, 0, 2])
    (step,) = linear_steps(part([plain], {"w": weights, "b": bias}, ["n", 4, 9, 9]))
    assert (step.kind, step.groups, step.strides) == ("conv", 2, (2, 1))
    assert step.padding == ((1, 0), (0, 2))
    assert step.dilation == (1, 1)
    assert step.layout == "NCHW"
    same = node("Conv", "x", "w", auto_pad="SAME_UPPER", group=4, dilations=[2, 2])
    (step,) = linear_steps(part([same], {"w": np.ones((4, 1, 3, 3), np.float32)}, ["n", 4, 9, 9]))
    assert (step.kind, step.padding, step.dilation) == ("depthwise", "same-upper", (2, 2))


def test_refusals() -> None:
    with pytest.raises(CloisterError) as caught:
        linear_steps(PartFile("onnx", b"no", (), ()))
    assert caught.value.code == "model.malformed"
    with pytest.raises(CloisterError) as caught:
        linear_steps(PartFile("keras", b"", (), ()))
    assert caught.value.code == "config.value"
