"""Blinded steps give what quantised ones give, say nothing, and use each pad once."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from cloister.errors import CloisterError, ConfigError, LocalProtocolError
from cloister.partition.blinding import QuantisedStep
from cloister.partition.field import LARGE_PRIME, SMALL_PRIME
from cloister.partition.linear_step import LinearStep

RNG = np.random.default_rng(5)


def dense(into: int = 60, out: int = 9) -> LinearStep:
    weights = RNG.standard_normal((out, into)).astype(np.float32)
    return LinearStep("dense", "x", "y", weights, RNG.standard_normal(out).astype(np.float32))


def conv(**options: Any) -> LinearStep:
    weights = RNG.standard_normal((8, 5, 3, 3)).astype(np.float32)
    bias = RNG.standard_normal(8).astype(np.float32)
    whole = {"strides": (2, 1), "dilation": (1, 1), "padding": ((1, 1), (0, 2)), **options}
    return LinearStep("conv", "x", "y", weights, bias, layout="NCHW", **whole)


CASES = pytest.mark.parametrize(
    ("step", "shape"),
    [(dense(), (3, 60)), (dense(2000), (2, 2000)), (conv(), (2, 5, 7, 6))],
    ids=["dense", "long sums", "conv"],
)


@CASES
def test_an_answer_is_the_step(step: LinearStep, shape: tuple[int, ...]) -> None:
    quantised = QuantisedStep(step)
    given = RNG.standard_normal(shape).astype(np.float32)
    (pad,) = quantised.prepare(shape)
    blinded = quantised.blind(given, pad)
    found = blinded.open(quantised.apply(blinded.outside))
    # The same, without a pad: whole numbers, and their scales.
    axes = tuple(range(1, given.ndim))
    scale = np.abs(given).max(axis=axes, keepdims=True).astype(np.float64) / 127
    plain = quantised.apply(np.mod(np.rint(given.astype(np.float64) / scale), quantised.prime))
    signed = np.where(plain > quantised.prime // 2, plain - quantised.prime, plain)
    bias = step.bias.reshape(-1, 1, 1) if step.kernel and step.bias is not None else step.bias
    expected = (signed * scale * quantised._scale).astype(np.float32) + bias
    np.testing.assert_array_equal(found, expected)
    if not step.kernel:
        right = given @ step.weights.T + step.bias
        assert float(np.abs(found - right).max()) < 0.05 * float(np.abs(right).max())


def test_the_field_is_as_large_as_the_sums() -> None:
    assert QuantisedStep(dense()).prime == SMALL_PRIME
    assert QuantisedStep(dense(2000)).prime == LARGE_PRIME
    with pytest.raises(ConfigError) as caught:
        QuantisedStep(LinearStep("dense", "x", "y", np.ones((1, 2**17), np.float32), None))
    assert caught.value.code == "config.value"


@CASES
def test_a_wrong_answer_is_refused(step: LinearStep, shape: tuple[int, ...]) -> None:
    """By one, in one place; and what is no number of the field."""
    quantised = QuantisedStep(step)
    given = RNG.standard_normal(shape).astype(np.float32)
    for change in (1.0, -1.0, 0.5, np.nan, np.inf, 2.0**40, -(2.0**40)):
        (pad,) = quantised.prepare(shape)
        blinded = quantised.blind(given, pad)
        answer = quantised.apply(blinded.outside)
        answer.reshape(-1)[1] += change
        with pytest.raises(CloisterError) as caught:
            blinded.open(answer)
        assert caught.value.code == "middle.wrong"
    (pad,) = quantised.prepare(shape)
    blinded = quantised.blind(given, pad)
    with pytest.raises(CloisterError) as caught:
        blinded.open(quantised.apply(blinded.outside)[:1])
    assert caught.value.code == "middle.wrong"


def test_a_pad_serves_once() -> None:
    quantised = QuantisedStep(dense())
    given = np.ones((1, 60), np.float32)
    (pad,) = quantised.prepare((1, 60))
    for duplicate in (copy.copy, copy.deepcopy):
        with pytest.raises(LocalProtocolError):
            duplicate(pad)
    blinded = quantised.blind(given, pad)
    with pytest.raises(LocalProtocolError) as caught:
        quantised.blind(given, pad)
    assert caught.value.code == "protocol.local"
    answer = quantised.apply(blinded.outside)
    blinded.open(answer)
    with pytest.raises(LocalProtocolError) as again:
        blinded.open(answer)
    assert again.value.code == "protocol.local"


@pytest.mark.parametrize("shape", [(1, 60), (3, 60), (2, 59)])
def test_a_pad_of_another_shape_is_used_up(shape: tuple[int, ...]) -> None:
    quantised = QuantisedStep(dense())
    (pad,) = quantised.prepare((2, 60))
    with pytest.raises(ConfigError) as caught:
        quantised.blind(np.ones(shape, np.float32), pad)
    assert caught.value.code == "config.value"
    with pytest.raises(LocalProtocolError):
        quantised.blind(np.ones((2, 60), np.float32), pad)


def test_an_input_without_a_pad_does_not_go_out() -> None:
    for shape in ((1, 60), (0, 60)):
        with pytest.raises(ConfigError) as caught:
            QuantisedStep(dense()).blind(np.ones(shape, np.float32))
        assert caught.value.code == "config.value"


@CASES
def test_a_pad_for_each_example(step: LinearStep, shape: tuple[int, ...]) -> None:
    """Each has its own scale: what is beside an example does not change a bit of its answer."""
    quantised = QuantisedStep(step)
    given = RNG.standard_normal(shape).astype(np.float32)
    given[1] *= 1e6
    pads = [pad for _ in given for pad in quantised.prepare((1, *shape[1:]))]
    blinded = quantised.blind(given, *pads)
    answer = quantised.apply(blinded.outside)
    assert blinded.shape_back == answer.shape
    found = blinded.open(answer)
    for row, together in zip(given, found, strict=True):
        alone = quantised.blind(row[None], *quantised.prepare((1, *shape[1:])))
        one = alone.open(quantised.apply(alone.outside))
        np.testing.assert_array_equal(one[0], together)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_does_not_go_out(value: float) -> None:
    """A pad would not cover it: where it is would be seen. The pad is used up all the same."""
    quantised = QuantisedStep(dense())
    given = np.ones((1, 60), np.float32)
    given[0, 7] = value
    (pad,) = quantised.prepare((1, 60))
    with pytest.raises(CloisterError) as caught:
        quantised.blind(given, pad)
    assert caught.value.code == "message.malformed"
    with pytest.raises(LocalProtocolError):
        quantised.blind(np.ones((1, 60), np.float32), pad)


@CASES
def test_residues_as_they_cross(step: LinearStep, shape: tuple[int, ...]) -> None:
    """The outside takes inputs of the step and its field, and nothing that NumPy would stretch."""
    quantised = QuantisedStep(step)
    (pad,) = quantised.prepare(shape)
    blinded = quantised.blind(RNG.standard_normal(shape).astype(np.float32), pad)
    residues = blinded.outside.astype(np.uint32)
    np.testing.assert_array_equal(quantised.answer(residues), quantised.apply(blinded.outside))
    large = residues.copy()
    large.reshape(-1)[3] = quantised.prime
    wrong = [large, residues.astype(np.int32), residues[0], residues[:, :1]]
    wrong += [residues[..., :0], residues[:, :, None]]
    for each in wrong:
        with pytest.raises(CloisterError) as caught:
            quantised.answer(each)
        assert caught.value.code == "message.malformed"


@CASES
def test_pads_are_prepared_in_pieces(step: LinearStep, shape: tuple[int, ...]) -> None:
    """The last piece gives all; a fold that comes with a pad checks as a fresh one does."""
    quantised = QuantisedStep(step)
    *pieces, pads = quantised.preparing(shape, 3)
    assert len(pads) == 3
    assert pieces == [()] * (3 * (1 + max(int(np.prod(step.kernel)), 1)))
    given = RNG.standard_normal(shape).astype(np.float32)
    for pad in pads:
        blinded = quantised.blind(given, pad)
        answer = quantised.apply(blinded.outside)
        quantised.require(blinded.outside, answer)
        blinded.open(answer)


def test_what_goes_out_is_uniform_whatever_it_is() -> None:
    """The same input twice, of zeros or of ones: nothing in common, and all over the field."""
    quantised = QuantisedStep(dense(600))
    shape = (100, 600)
    outside = [
        quantised.blind(np.full(shape, value, np.float32), quantised.prepare(shape)[0]).outside
        for value in (0.0, 1.0, 1.0)
    ]
    for each in outside:
        counts = np.bincount((each.reshape(-1) * 16 // quantised.prime).astype(int), minlength=16)
        assert float(((counts - 3750) ** 2 / 3750).sum()) < 56
    assert int((outside[1] == outside[2]).sum()) < 10
    assert abs(float(np.corrcoef(outside[1].reshape(-1), outside[2].reshape(-1))[0, 1])) < 0.03


def test_a_stock_of_pads() -> None:
    quantised = QuantisedStep(dense())
    stock = quantised.stock((1, 60), most=2)
    assert stock.fill(5) == 2
    for _ in range(2):
        blinded = quantised.blind(np.ones((1, 60), np.float32), stock.take())
        blinded.open(quantised.apply(blinded.outside))
    with pytest.raises(CloisterError) as caught:
        stock.take()
    assert caught.value.code == "middle.stock"


def test_what_is_not_blinded() -> None:
    with pytest.raises(ConfigError) as caught:
        QuantisedStep(
            LinearStep("conv", "x", "y", np.ones((4, 2, 3, 3), np.float32), None, groups=2)
        )
    assert caught.value.code == "config.value"
    step = LinearStep(
        "conv", "x", "y", np.ones((4, 2, 3, 3), np.float32), None,
        strides=(1, 1), dilation=(1, 1), padding=((0, 0), (0, 0)), layout="NHWC",
    )  # fmt: skip
    with pytest.raises(ConfigError) as last:
        QuantisedStep(step)
    assert last.value.code == "config.value"


@pytest.mark.parametrize(
    ("step", "shape", "once"),
    [
        (dense(2000), (2, 2000), True),
        (dense(40_000), (2, 40_000), False),
        (conv(), (2, 5, 7, 6), True),
    ],
    ids=["dense", "very long sums", "conv"],
)
def test_residues_are_computed_exactly(
    step: LinearStep, shape: tuple[int, ...], *, once: bool
) -> None:
    """As in whole numbers without a bound, where what is over the prime is taken off once or often.

    Residues are as large as they can be, so that a sum which rounds would show.
    """
    quantised = QuantisedStep(step)
    assert quantised._reduced_once is once
    residues = np.full(shape, quantised.prime - 1, np.float64)
    residues.reshape(-1)[::3] = RNG.integers(0, quantised.prime, residues.reshape(-1)[::3].size)
    found = quantised.apply(residues)
    whole = [[int(value) for value in row] for row in _matrix(quantised)]
    windows = [residues] if not step.kernel else quantised._windows(residues)
    flat = np.concatenate([each.reshape(*each.shape[:2], -1) for each in windows], axis=1)
    for row, channel, place in ((0, 0, 0), (1, 3, flat.shape[2] - 1), (1, 7, 0)):
        column = [int(value) for value in flat[row, :, place]]
        right = sum(a * b for a, b in zip(whole[channel], column, strict=True)) % quantised.prime
        assert int(found[row, channel].reshape(-1)[place]) == right


def _matrix(quantised: QuantisedStep) -> Any:
    """All places of the kernel beside one another, for each output channel."""
    return np.concatenate(list(quantised._weights), axis=1)
