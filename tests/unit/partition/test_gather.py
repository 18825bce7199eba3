"""What a kernel reads, added up: against the plain definition, one position at a time."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from cloister.partition.gather import Gather
from cloister.partition.linear_step import Array, LinearStep

SAME = ((1, 1), (1, 1))
CASES: list[tuple[tuple[int, int], dict[str, Any]]] = [
    ((5, 6), {"padding": SAME}),
    ((5, 6), {"padding": ((2, 0), (0, 2))}),
    ((5, 6), {"padding": ((2, 2), (2, 2)), "dilation": (2, 2)}),
    ((7, 6), {"padding": SAME, "strides": (2, 3)}),
    ((7, 6), {"padding": ((0, 0), (0, 0))}),
    ((6, 6), {"padding": "same-upper", "strides": (2, 2)}),
    ((6, 6), {"padding": "same-lower", "strides": (2, 2), "dilation": (1, 2)}),
    ((3, 3), {"padding": ((4, 4), (4, 4)), "strides": (5, 5)}),
]


def step(kernel: tuple[int, int], **options: Any) -> LinearStep:
    weights = np.zeros((4, 2, *kernel), np.float32)
    whole = {"strides": (1, 1), "dilation": (1, 1), **options}
    return LinearStep("conv", "x", "y", weights, None, layout="NCHW", **whole)


def plain(made: LinearStep, maps: Array, spatial: tuple[int, int]) -> Array:
    """Position by position."""
    sizes, pads = made.sizes_out(spatial), made.pads(spatial)
    grid = maps.reshape(*maps.shape[:3], *spatial)
    total = np.zeros((*maps.shape[:2], *sizes))
    for place, out in itertools.product(
        itertools.product(*map(range, made.kernel)), itertools.product(*map(range, sizes))
    ):
        at = tuple(
            o * stride + p * dilation - pad[0]
            for o, stride, p, dilation, pad in zip(
                out, made.strides, place, made.dilation, pads, strict=True
            )
        )
        if all(0 <= a < size for a, size in zip(at, spatial, strict=True)):
            number = place[0] * made.kernel[1] + place[1]
            total[(slice(None), slice(None), *out)] += grid[(slice(None), slice(None), number, *at)]
    return total.reshape(*maps.shape[:2], -1)


@pytest.mark.parametrize(("spatial", "options"), CASES)
def test_taps_and_box(spatial: tuple[int, int], options: dict[str, Any]) -> None:
    made = step((3, 3), **options)
    count = spatial[0] * spatial[1]
    maps = np.random.default_rng(1).random((2, 3, 9, count)).astype(np.float32)
    gather = Gather(made, spatial)
    assert not gather.thinned
    np.testing.assert_allclose(
        gather.taps(maps.copy()), plain(made, maps, spatial), rtol=1e-5, atol=1e-6
    )
    values = maps[:, 0, 0]
    shared = np.repeat(values[:, None, None], 9, axis=2)
    np.testing.assert_allclose(
        gather.box(values), plain(made, shared, spatial)[:, 0], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 1)])
def test_a_kernel_of_one(strides: tuple[int, int]) -> None:
    """Leaves out positions before anything is computed."""
    made, spatial = step((1, 1), padding=((0, 0), (0, 0)), strides=strides), (5, 6)
    gather = Gather(made, spatial)
    assert gather.thinned == (max(strides) > 1)
    image = np.random.default_rng(1).random((2, 3, *spatial)).astype(np.float32)
    left = image[gather.thinning(first=True)]
    assert left.shape[2:] == made.sizes_out(spatial)
    maps = left.reshape(2, 3, 1, -1)
    np.testing.assert_array_equal(gather.taps(maps.copy()), left.reshape(2, 3, -1))
    np.testing.assert_array_equal(gather.box(left[:, 0]), left[:, 0].reshape(2, -1))
