"""What native code would not survive is not read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cloister.errors import CloisterError

S = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="LiteRT is not installed")

from cloister.partition.linear_litert import litert_steps
from cloister.partition.litert_file import LiteRTFile, Operator, Tensor, read_litert
from cloister.partition.litert_operators import OPERATORS
from cloister.partition.litert_source import LiteRTSource
from cloister.partition.litert_write import write_litert
from cloister.partition.runtime import open_part

FLOAT, INT, BYTE, WORD = 0, 2, 9, 7
SHAPE = (1, 4, 4, 2)
SCALE = {"scale": np.array([0.5], "f4"), "zero_point": np.array([0], "i8")}
NUMBER = {word: number for number, word in OPERATORS.items()}


def bytes_of(array: Any) -> Any:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)


def tensor(name: str, shape: Any = SHAPE, kind: int = FLOAT, scale: Any = None) -> Tensor:
    return Tensor(name, kind, tuple(shape), (), None, scale or {})


def constant(name: str, values: Any, kind: int = FLOAT, scale: Any = None) -> Tensor:
    array = np.asarray(values, {FLOAT: "<f4", INT: "<i4", BYTE: "<i1", WORD: "<i2"}[kind])
    return Tensor(name, kind, array.shape, (), bytes_of(array), scale or {})


def options(word: str, **values: Any) -> tuple[int, Any]:
    made = getattr(S, f"{word}OptionsT")()
    for name, value in values.items():
        setattr(made, name, value)
    return getattr(S.BuiltinOptions, f"{word}Options"), made


def model(
    word: str,
    *others: Tensor,
    given: Tensor | None = None,
    made: Any = (),
    chosen: tuple[int, Any] = (0, None),
    inputs: Any = None,
) -> bytes:
    """Return a model of one operator that reads an input and these, and makes those."""
    outputs = made or [tensor("y")]
    tensors = (given or tensor("x"), *others, *outputs)
    read = tuple(range(1 + len(others))) if inputs is None else inputs
    first = 1 + len(others)
    operator = Operator(
        NUMBER[word], 1, read, tuple(range(first, first + len(outputs))), chosen[0], chosen[1]
    )
    return write_litert(LiteRTFile(tensors, (operator,), (0,), (first,)))


KERNEL, BIAS = constant("w", np.ones((3, 2, 2, 2))), constant("b", np.ones(3))
CONV = {"strideW": 1, "strideH": 1}


def byte_add(left: Any, right: Any, out: Any, kind: int = BYTE) -> bytes:
    return model(
        "ADD",
        constant("c", np.ones(SHAPE), kind, right),
        given=tensor("x", SHAPE, kind, left),
        made=[tensor("y", SHAPE, kind, out)],
        chosen=options("Add"),
    )


def scaled(value: float, zero: int = 0) -> Any:
    return {"scale": np.array([value], "f4"), "zero_point": np.array([zero], "i8")}


def convolution(**values: Any) -> bytes:
    return model("CONV_2D", KERNEL, BIAS, chosen=options("Conv2D", **CONV | values))


REFUSED: dict[str, tuple[bytes, str]] = {
    "a split into nothing": (
        model(
            "SPLIT",
            constant("a", 3, INT),
            made=[tensor("y"), tensor("z")],
            chosen=options("Split", numSplits=0),
            inputs=(1, 0),
        ),
        "model.malformed",
    ),
    "a split into more than it makes": (
        model(
            "SPLIT", constant("a", 3, INT), chosen=options("Split", numSplits=127), inputs=(1, 0)
        ),
        "model.malformed",
    ),
    "bytes without a scale": (byte_add(None, None, None), "model.malformed"),
    "bytes of which one has no scale": (byte_add(SCALE, None, SCALE), "model.malformed"),
    "words without a scale": (byte_add(SCALE, SCALE, None, WORD), "model.malformed"),
    "a scale of zero": (byte_add(SCALE, scaled(0.0), SCALE), "model.malformed"),
    "a scale that is no number": (byte_add(scaled(np.nan), SCALE, SCALE), "model.malformed"),
    "an infinite scale": (byte_add(scaled(np.inf), SCALE, SCALE), "model.malformed"),
    "a tiny scale": (byte_add(SCALE, SCALE, scaled(1e-30)), "model.malformed"),
    "scales that are far apart": (byte_add(SCALE, SCALE, scaled(1e-5)), "model.operator"),
    "a zero point that is none": (byte_add(scaled(0.5, 2**40), SCALE, SCALE), "model.malformed"),
    "a scale for each of other channels": (
        model(
            "CONV_2D",
            constant("w", np.ones((3, 2, 2, 2)), BYTE, {"scale": np.ones(5, "f4"), "axis": 0}),
            given=tensor("x", SHAPE, BYTE, SCALE),
            made=[tensor("y", SHAPE, BYTE, SCALE)],
            chosen=options("Conv2D", **CONV),
        ),
        "model.malformed",
    ),
    "a scale for each channel of a sum": (
        model(
            "SUB",
            constant("c", np.ones((3, 1)), WORD, {"scale": np.full(3, 0.5, "f4")}),
            given=tensor("x", (3, 1), WORD, SCALE),
            made=[tensor("y", (3, 1), WORD, SCALE)],
            chosen=options("Sub"),
        ),
        "model.malformed",
    ),
    "a multiplier that is another": (
        model(
            "DEPTHWISE_CONV_2D",
            constant("w", np.ones((1, 2, 1, 4))),
            BIAS,
            chosen=options("DepthwiseConv2D", **CONV, depthMultiplier=1),
        ),
        "model.malformed",
    ),
    "a comparison of bytes": (
        model(
            "LESS",
            constant("c", np.ones(SHAPE), BYTE, SCALE),
            given=tensor("x", SHAPE, BYTE, SCALE),
            made=[tensor("y", SHAPE, 6)],
        ),
        "model.operator",
    ),
    "a root of words": (
        model("RSQRT", given=tensor("x", SHAPE, WORD), made=[tensor("y", SHAPE, WORD, SCALE)]),
        "model.operator",
    ),
    "an input that is left out": (model("RESHAPE", inputs=(0, -1)), "model.malformed"),
    "an input too few": (
        model("CONV_2D", chosen=options("Conv2D", **CONV)),
        "model.malformed",
    ),
    "an input too many": (model("RELU", constant("c", np.ones(2))), "model.malformed"),
    "an output too many": (
        model(
            "FULLY_CONNECTED",
            constant("w", np.ones((2, 2))),
            made=[tensor("y"), tensor("z")],
            chosen=options("FullyConnected"),
        ),
        "model.malformed",
    ),
    "no options": (model("CONV_2D", KERNEL, BIAS), "model.malformed"),
    "another operator's options": (
        model("CONV_2D", KERNEL, BIAS, chosen=options("Add")),
        "model.malformed",
    ),
    "a stride of nothing": (convolution(strideW=0), "model.malformed"),
    "an unknown padding": (convolution(padding=7), "model.malformed"),
    "a dilation of nothing": (convolution(dilationHFactor=0), "model.malformed"),
    "a number that is none": (
        model("LEAKY_RELU", chosen=options("LeakyRelu", alpha=float("nan"))),
        "model.malformed",
    ),
    "shuffled weights": (
        model(
            "FULLY_CONNECTED",
            constant("w", np.ones((2, 2))),
            chosen=options("FullyConnected", weightsFormat=1),
        ),
        "model.malformed",
    ),
    "a slice that counts from its beginning": (
        model(
            "STRIDED_SLICE",
            *(constant(name, [1, 1, 1, 1], INT) for name in "abc"),
            chosen=options("StridedSlice", offset=True),
        ),
        "model.malformed",
    ),
    "sizes that are no integers": (
        model("SLICE", constant("a", np.ones(4)), constant("b", np.ones(4, "i4"), INT)),
        "model.malformed",
    ),
    "numbers of another type": (
        model("RELU", made=[tensor("y", SHAPE, INT)]),
        "model.malformed",
    ),
    "no axes": (
        model("LOG_SOFTMAX", given=tensor("x", ()), made=[tensor("y", (1,))]),
        "model.malformed",
    ),
    "three axes for four": (
        model(
            "MAX_POOL_2D",
            given=tensor("x", (4, 4, 2)),
            chosen=options("Pool2D", **CONV, filterWidth=2, filterHeight=2),
        ),
        "model.malformed",
    ),
    "a tensor of no size": (model("RELU", given=tensor("x", (1, 0))), "model.operator"),
}


@pytest.mark.parametrize(("data", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_what_native_code_may_not_survive_is_not_read(data: bytes, code: str) -> None:
    """A split into nothing, and bytes without a scale, end the process that runs them."""
    with pytest.raises(CloisterError) as caught:
        read_litert(data)
    assert caught.value.code == code


def test_linear_operators_without_weights_are_not_looked_at() -> None:
    for name in ("an input too few", "an output too many"):
        for look in (litert_steps, lambda data: LiteRTSource(data, unfused=True)):
            with pytest.raises(CloisterError) as caught:
                look(REFUSED[name][0])
            assert caught.value.code == "model.malformed"


def test_quantised_numbers_with_their_scales_are_computed_with() -> None:
    source = LiteRTSource(byte_add(SCALE, SCALE, SCALE))
    part = source.part(["x"], ["y"])
    found = open_part(part, threads=1).run({"x": np.full(SHAPE, 3, np.int8)})
    assert (found["y"] == 4).all()


@pytest.mark.parametrize(
    ("word", "others", "chosen"),
    [
        ("CONV_2D", (KERNEL, BIAS), options("Conv2D", **CONV)),
        ("CONV_2D", (KERNEL, BIAS), options("Conv2D", **CONV, fusedActivationFunction=1)),
        ("MAX_POOL_2D", (), options("Pool2D", **CONV, filterWidth=2, filterHeight=2)),
        ("MEAN", (constant("a", [1, 2], INT),), options("Reducer")),
        ("PAD", (constant("a", np.ones((4, 2)), INT),), (0, None)),
        ("CONCATENATION", (constant("c", np.ones(SHAPE)),), options("Concatenation", axis=3)),
        ("RESHAPE", (constant("a", [1, 32], INT),), options("Reshape", newShape=[1, 32])),
        ("TRANSPOSE", (constant("a", [0, 3, 1, 2], INT),), options("Transpose")),
        ("SOFTMAX", (), options("Softmax", beta=1.0)),
        ("RELU6", (), (0, None)),
    ],
)
def test_operators_that_have_what_their_kind_has_run(word: str, others: Any, chosen: Any) -> None:
    source = LiteRTSource(model(word, *others, chosen=chosen))
    part = source.part(["x"], ["y"])
    assert open_part(part, threads=1).run({"x": np.ones(SHAPE, "f4")})["y"].size > 0


def test_types_may_differ_where_that_is_the_operator() -> None:
    for word, kind, scale in (("QUANTIZE", BYTE, SCALE), ("CAST", INT, None), ("SHAPE", INT, None)):
        made = [tensor("y", SHAPE, kind, scale)]
        assert read_litert(model(word, made=made)).operators[0].code == NUMBER[word]
