"""A planted constant is found, in the forms that converters give numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cloister.errors import RefusedError
from cloister.partition import constants
from cloister.partition.constants import part_constants, require_kept_out, require_no_constants

RNG = np.random.default_rng(5)
KERNEL = RNG.standard_normal((3, 3, 24, 24)).astype("<f4")
SECRET = {"shape": np.arange(64, dtype=np.int64), "kernel": KERNEL}
NOISE = RNG.integers(0, 256, 100_000, np.uint8).tobytes()
PLACE = 31_337  # aligned to nothing


def planted(piece: bytes) -> bytes:
    return NOISE[:PLACE] + piece + NOISE[PLACE:]


def bfloat(array: Any) -> bytes:
    return bytes((array.view("<u4") >> 16).astype("<u2").tobytes())


FORMS: dict[str, Callable[[Any], bytes]] = {
    "as it is": lambda a: a.tobytes(),
    "swapped": lambda a: a.byteswap().tobytes(),
    "half": lambda a: a.astype("<f2").tobytes(),
    "double": lambda a: a.astype("<f8").tobytes(),
    "bfloat": bfloat,
    "half, swapped": lambda a: a.astype(">f2").tobytes(),
    "output first": lambda a: a.transpose(3, 2, 0, 1).tobytes(),
    "input last": lambda a: a.transpose(3, 0, 1, 2).tobytes(),
    "input last, half": lambda a: a.transpose(3, 0, 1, 2).astype("<f2").tobytes(),
    "twisted": lambda a: a.transpose(1, 0, 3, 2).tobytes(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_planted_constant_is_found(form: Callable[[Any], bytes]) -> None:
    with pytest.raises(RefusedError, match="constant kernel") as caught:
        require_no_constants(SECRET, planted(form(KERNEL)))
    assert caught.value.code == "partition.constant"


@pytest.mark.parametrize("start", [0, 1, 1000, KERNEL.size - 4])
def test_four_numbers_are_enough(start: int) -> None:
    with pytest.raises(RefusedError) as caught:
        require_no_constants(SECRET, planted(KERNEL.reshape(-1)[start : start + 4].tobytes()))
    assert caught.value.detail == f"at byte {PLACE}"


def test_bytes_of_quantised_weights_are_found() -> None:
    weights = RNG.integers(-128, 128, 4000, np.int8)
    with pytest.raises(RefusedError):
        require_no_constants({"w": weights}, planted(weights[1234:1250].tobytes()))


def test_what_is_not_there_is_not_found() -> None:
    assert require_no_constants(SECRET, NOISE) > KERNEL.size
    other = RNG.standard_normal(KERNEL.shape).astype("<f4")
    require_no_constants(SECRET, planted(other.tobytes()))
    require_no_constants(SECRET, b"")
    require_no_constants(SECRET, b"short")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(400, "f4"),
        np.ones(400, "f4"),
        np.full(400, 0.123, "f4"),
        np.arange(400, dtype="f4"),
        np.arange(400, dtype="i8"),
        np.tile(np.array([0.5, 0.25], "f4"), 200),
        np.zeros(400, "i1"),
        np.array([1.5, 2.5, 3.5], "f4"),
        np.zeros(0, "f4"),
    ],
)
def test_what_says_nothing_is_left_out(array: Any) -> None:
    assert require_no_constants({"trivial": array}, array.tobytes()) == 0


def test_runs_over_the_edges_of_chunks_and_batches_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "_CHUNK", 64)
    monkeypatch.setattr(constants, "_BATCH", 100)
    monkeypatch.setattr(constants, "_PIECE", 50)
    numbers = RNG.standard_normal(300).astype("<f4")
    for start in (0, 47, 48, 49, 50, 296):
        for place in range(40, 72):
            data = NOISE[:place] + numbers[start : start + 4].tobytes() + NOISE[:20]
            with pytest.raises(RefusedError) as caught:
                require_no_constants({"first": KERNEL[0, 0, 0], "n": numbers}, data)
            assert caught.value.detail == f"at byte {place}"
            assert "constant n " in str(caught.value)


def two_parts(secret: str, exposed: str) -> tuple[Any, Any]:
    """Return the parts of a model that has the same numbers in both, in forms of ONNX."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from cloister.partition.onnx_source import ONNXSource  # noqa: PLC0415  # optional

    helper = onnx.helper
    numbers = RNG.standard_normal(64).astype("<f4")
    nodes, constants = [], []
    for name, form in (("v", secret), ("w", exposed)):
        if form == "bytes":
            constants.append(onnx.numpy_helper.from_array(numbers, name))
        elif form == "list":
            nodes.append(helper.make_node("Constant", [], [name], value_floats=numbers.tolist()))
        else:
            constants.append(helper.make_tensor(name, 10, [64], numbers.tolist()))
    shape = ["n", 64]
    kind = 10 if "half" in {secret, exposed} else 1
    nodes += [
        helper.make_node("Mul", ["x", "v"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Mul", ["b", "w"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    source = ONNXSource(model.SerializeToString())
    return source.part(["x"], ["b"]), source.part(["b"], ["y"])


@pytest.mark.parametrize("forms", [("bytes", "list"), ("list", "bytes"), ("list", "list")])
def test_lists_of_numbers_in_onnx_are_searched(forms: tuple[str, str]) -> None:
    """A file has a byte between one number of a list and the next."""
    front, middle = two_parts(*forms)
    with pytest.raises(RefusedError, match="secret constant v") as caught:
        require_kept_out(front, middle)
    assert caught.value.code == "partition.constant"


def test_numbers_that_onnx_packs_otherwise_are_searched() -> None:
    """Bits of half precision as integers of one to three bytes."""
    front, middle = two_parts("half", "half")
    with pytest.raises(RefusedError, match="secret constant v"):
        require_kept_out(front, middle)


def test_scales_of_quantised_weights_are_secret_too() -> None:
    pytest.importorskip("ai_edge_litert.schema_py_generated", reason="LiteRT is not installed")
    from cloister.partition.litert_file import (  # noqa: PLC0415  # behind the skip
        LiteRTFile,
        Operator,
        Tensor,
    )
    from cloister.partition.litert_source import litert_part  # noqa: PLC0415  # as above

    scales = RNG.random(32).astype("<f4")
    weights = np.frombuffer(RNG.integers(0, 9, 64, np.uint8).tobytes(), "u1")
    channels = {"scale": scales, "zero_point": np.zeros(32, "<i8"), "axis": 0}
    part = litert_part(
        LiteRTFile(
            (
                Tensor("x", 0, (1, 2), (), None, {}),
                Tensor("w", 9, (32, 2), (), weights, channels),
                Tensor("d", 0, (32, 2), (), None, {}),
                Tensor("w.scale", 0, (1, 2), (), None, {}),
            ),
            (
                Operator(6, 1, (1,), (2,), 0, None),
                Operator(0, 1, (0, 0), (3,), 0, None),
            ),
            (0,),
            (3,),
        )
    )
    found = part_constants(part)
    assert np.array_equal(found["w.scale"], scales)
    with pytest.raises(RefusedError, match=r"constant w\.scale"):
        require_no_constants(found, planted(scales.tobytes()))
