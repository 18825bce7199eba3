"""Models in their own runtime, as attacks take them: channels last, any number of images.

Keras models are in `integration/test_assessment.py`.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cloister.errors import ConfigError

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from onnx import TensorProto, helper, numpy_helper

from cloister.partition.assess.networks import Network, probabilities
from cloister.partition.cuts import all_cuts
from cloister.partition.graph import TensorInfo
from cloister.partition.onnx_source import ONNXSource
from partition_models import onnx_block_net

SOURCE = ONNXSource(onnx_block_net())
IMAGES = np.random.default_rng(0).random((70, 16, 16, 3), np.float32)


def test_parts_are_the_whole() -> None:
    """At every cut, front and rest give what the whole gives; grids cross with channels last."""
    network = Network(SOURCE)
    assert network.image == (16, 16, 3)
    assert not network.differentiable
    whole = network.scores(IMAGES)
    assert whole.shape == (70, 10)
    several = 0
    for cut in all_cuts(SOURCE.graph)[1:-1]:
        crossing = network.front(cut)(IMAGES[:5])
        infos = network.infos(cut)
        assert [t.shape[1:] for t in crossing] == [i.shape[1:] for i in infos]
        assert all(
            t.ndim < 4 or t.shape[1:3] == (16, 16) or t.shape[1:3] == (1, 1) for t in crossing
        )
        assert np.array_equal(network.rest(cut, crossing), whole[:5])
        several += len(crossing) > 1
    assert several > 2


def test_onnx_takes_images_with_channels_last_too() -> None:
    """Sizes say so. What it transposes has its channels first, as operators of ONNX have."""
    network = Network(ONNXSource(_with_channels_last()))
    assert network.image == (8, 6, 1)
    images = IMAGES[:5, :8, :6, :1]
    whole = network.scores(images)
    shapes = []
    for cut in all_cuts(network.graph)[1:-1]:
        crossing = network.front(cut)(images)
        shapes.append(crossing[0].shape[1:])
        assert [i.shape[1:] for i in network.infos(cut)] == shapes[-1:]
        assert np.array_equal(network.rest(cut, crossing), whole)
    assert shapes[:3] == [(8, 6, 1), (8, 6, 1), (6, 4, 2)]
    assert np.array_equal(network.front(all_cuts(network.graph)[2])(images)[0], 2 * images)


def _with_channels_last() -> bytes:
    weights = np.random.default_rng(1).random((2, 1, 3, 3), np.float32)
    constants = {"two": np.float32(2), "w": weights, "fc": np.ones((48, 10), np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["image", "two"], ["doubled"]),
            helper.make_node("Transpose", ["doubled"], ["turned"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["turned", "w"], ["grid"]),
            helper.make_node("Flatten", ["grid"], ["flat"]),
            helper.make_node("MatMul", ["flat", "fc"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["label"]),
        ],
        "last",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 8, 6, 1])],
        [helper.make_tensor_value_info("label", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def test_it_gives_no_gradients() -> None:
    """Attacks that need them are told that there is no model to differentiate."""
    network, cut = Network(SOURCE), all_cuts(SOURCE.graph)[3]
    assert network.front_model(cut) is None
    assert network.rest_model(cut) is None


def test_it_is_timed() -> None:
    """The front takes less than the whole, where it is one convolution of four."""
    front, whole = Network(SOURCE).timed(all_cuts(SOURCE.graph)[1], IMAGES)
    assert 0 < front < whole


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([(-1, 64)], [(-1, 10)]),
        ([(-1, 8, 8, 1), (-1, 8, 8, 1)], [(-1, 10)]),
        ([(-1, 8, 8, 1)], [(-1, 8, 8, 2)]),
        ([(-1, 8, 8, 1)], []),
    ],
)
def test_what_is_no_classifier_of_images(inputs: Any, outputs: Any) -> None:
    """Vectors in, several inputs, and pictures out are refused before anything is computed."""

    def infos(shapes: Any, name: str) -> tuple[TensorInfo, ...]:
        return tuple(TensorInfo(f"{name}{i}", "float32", s) for i, s in enumerate(shapes))

    graph = replace(SOURCE.graph, inputs=infos(inputs, "i"), outputs=infos(outputs, "o"))
    with pytest.raises(ConfigError) as caught:
        Network(SimpleNamespace(graph=graph))  # type: ignore[arg-type]  # a graph is enough
    assert caught.value.code == "config.value"


def test_scores_become_probabilities() -> None:
    """Logits by softmax; rows that are probabilities stay."""
    assert np.allclose(probabilities(np.array([[1000.0, 1000.0]])), 0.5)
    rows = np.array([[0.25, 0.75]], np.float32)
    assert np.array_equal(probabilities(rows), rows)
