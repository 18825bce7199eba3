"""Parts that do not give what the whole gives are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cloister.errors import ConfigError, RefusedError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from cloister.partition.equality import random_feeds, require_equal, run_parts
from cloister.partition.graph import PartFile, TensorInfo
from cloister.partition.onnx_source import ONNXSource
from cloister.partition.runtime import open_part
from partition_models import onnx_block_net

SOURCE = ONNXSource(onnx_block_net())
WHOLE = SOURCE.part(["image"], ["label"])
FRONT = SOURCE.part(["image"], ["r1", "n1"])
BACK = SOURCE.part(["r1", "n1"], ["label"])


def nudged(part: PartFile, by: float) -> PartFile:
    """Return the part with one weight that is not what it was."""
    model = onnx.load_from_string(part.data)
    tensor = next(t for t in model.graph.initializer if t.name == "fc.b")
    array = onnx.numpy_helper.to_array(tensor).copy()
    array[0] += by
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, "fc.b"))
    return PartFile(part.format, model.SerializeToString(), part.inputs, part.outputs)


def test_parts_that_give_the_same_bits_pass() -> None:
    found = require_equal(WHOLE, [FRONT, BACK], bound=0, trials=3, seed=1)
    assert (found.runtime, found.trials, found.worst, found.bound) == ("onnx", 3, 0.0, 0)


def test_a_difference_beyond_the_bound_is_refused() -> None:
    parts = [FRONT, nudged(BACK, 1e-3)]
    with pytest.raises(RefusedError, match="worst difference") as caught:
        require_equal(WHOLE, parts, bound=0, trials=2, seed=1)
    assert caught.value.code == "partition.differs"
    found = require_equal(WHOLE, parts, bound=1e-2, trials=2, seed=1)
    assert 0 < found.worst <= 1e-3


def test_parts_that_run_fast_are_within_a_bound() -> None:
    found = require_equal(WHOLE, [FRONT, BACK], bound=1e-5, trials=2, seed=1, exact=False)
    assert found.worst <= 1e-5


def test_an_output_that_no_part_gives_is_refused() -> None:
    with pytest.raises(RefusedError, match="no part gives") as caught:
        require_equal(WHOLE, [FRONT], bound=1, trials=1, seed=1)
    assert caught.value.code == "partition.differs"


def test_numbers_that_are_none_never_pass_but_as_the_same_bits() -> None:
    """Whatever the bound."""
    parts = [FRONT, nudged(BACK, float("nan"))]
    with pytest.raises(RefusedError):
        require_equal(WHOLE, parts, bound=1e9, trials=1, seed=1)


@pytest.mark.parametrize(("trials", "bound"), [(0, 0.0), (1, float("inf")), (1, -1.0)])
def test_what_checks_nothing_is_refused(trials: int, bound: float) -> None:
    with pytest.raises(ConfigError) as caught:
        require_equal(WHOLE, [FRONT, BACK], bound=bound, trials=trials, seed=1)
    assert caught.value.code == "config.value"


def test_random_inputs_fit_and_are_the_seeds() -> None:
    infos = [
        TensorInfo("f", "float16", (-1, 3, -1)),
        TensorInfo("i", "int64", (2,)),
        TensorInfo("b", "bool", ()),
    ]
    once, again = (random_feeds(infos, np.random.default_rng(4), batch=5) for _ in range(2))
    assert {n: (a.dtype.name, a.shape) for n, a in once.items()} == {
        "f": ("float16", (5, 3, 64)),
        "i": ("int64", (2,)),
        "b": ("bool", ()),
    }
    assert all(once[name].tobytes() == again[name].tobytes() for name in once)


def test_what_passes_by_a_part_is_kept() -> None:
    """The first part's output is there for the third."""
    source: Any = SOURCE
    parts = [
        source.part(["image"], ["r1", "c2"]),
        source.part(["r1", "c2"], ["r1", "n1"]),
        source.part(["r1", "n1"], ["label"]),
    ]
    assert [info.name for info in parts[1].outputs] == ["n1"]
    feeds = random_feeds(WHOLE.inputs, np.random.default_rng(1), batch=1)
    found = run_parts([open_part(part, threads=1) for part in parts], feeds)
    assert found["label"].tobytes() == open_part(WHOLE, threads=1).run(feeds)["label"].tobytes()
