"""The bound of a matrix's largest singular value holds, and is not far off."""

from __future__ import annotations

import numpy as np
import pytest

from cloister.partition.spectrum import spectral_bound


@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (64, 64), (300, 50)])
@pytest.mark.parametrize("exact_to", [0, 1024])
def test_it_bounds(shape: tuple[int, int], exact_to: int) -> None:
    matrix = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    largest = float(np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[0])
    found = spectral_bound(matrix, exact_to=exact_to)
    assert largest <= found <= 1.23 * largest


@pytest.mark.parametrize("exact_to", [0, 1024])
def test_a_large_value_in_few_directions(exact_to: int) -> None:
    matrix = np.zeros((40, 30), np.float32)
    matrix[3, 4] = 1e20
    matrix[5, 6] = 1e18
    assert 1e20 <= spectral_bound(matrix, exact_to=exact_to) * (1 + 1e-6) <= 1.3e20


def test_zeros() -> None:
    assert spectral_bound(np.zeros((3, 5), np.float32)) == 0.0
