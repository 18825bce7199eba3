"""Sizes of a linear step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cloister.partition.linear_step import LinearStep, plain_step


def conv(shape: tuple[int, ...], padding: Any, **rest: Any) -> LinearStep:
    ones = (1,) * (len(shape) - 2)
    return LinearStep(
        "conv", "x", "y", np.zeros(shape, np.float32), None,
        **{"strides": ones, "dilation": ones, "padding": padding, **rest},
    )  # fmt: skip


def test_counts() -> None:
    step = conv((8, 3, 5, 5), ((0, 0), (0, 0)), groups=2)
    assert (step.channels, step.channels_in, step.kernel, step.terms) == (8, 6, (5, 5), 75)
    assert step.gain == 4
    dense = LinearStep("dense", "x", "y", np.zeros((10, 7), np.float32), None)
    assert (dense.channels, dense.channels_in, dense.kernel, dense.terms) == (10, 7, (), 7)


@pytest.mark.parametrize(
    ("padding", "stride", "pads", "size"),
    [
        ("same-upper", 1, (1, 1), 8),
        ("same-upper", 2, (0, 1), 4),
        ("same-lower", 2, (1, 0), 4),
        (((2, 0), (2, 0)), 1, (2, 0), 8),
        (((0, 0), (0, 0)), 3, (0, 0), 2),
    ],
)
def test_padding(padding: Any, stride: int, pads: tuple[int, int], size: int) -> None:
    step = conv((4, 4, 3, 3), padding, strides=(stride, stride))
    assert step.pads((8, 8)) == (pads, pads)
    assert step.sizes_out((8, 8)) == (size, size)


def test_other_numbers_are_no_plain_step() -> None:
    good, bias = np.ones((2, 3), np.float32), np.ones(2, np.float32)
    assert plain_step("dense", "x", "y", good, bias) is not None
    assert plain_step("dense", "x", "y", good.astype(np.float64), bias) is None
    assert plain_step("dense", "x", "y", good * np.float32(np.nan), bias) is None
    assert plain_step("dense", "x", "y", good, bias * np.float32(np.inf)) is None
    assert plain_step("dense", "x", "y", good[:0], None) is None
