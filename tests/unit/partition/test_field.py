"""Products in a prime field are exact."""

from __future__ import annotations

import numpy as np
import pytest

from cloister.errors import LocalProtocolError
from cloister.partition.field import LARGE_PRIME, SMALL_PRIME, product, random_residues

PRIMES = pytest.mark.parametrize("prime", [SMALL_PRIME, LARGE_PRIME])


@PRIMES
def test_the_primes_are_prime(prime: int) -> None:
    assert all(prime % n for n in range(2, 50_000) if n < prime)
    assert prime < 50_000**2


@PRIMES
@pytest.mark.parametrize("largest", [None, 127])
@pytest.mark.parametrize("terms", [1, 7, 5000])
def test_against_whole_numbers(prime: int, largest: int | None, terms: int) -> None:
    """At the largest numbers as well, where a rounded sum would show."""
    rng = np.random.default_rng(terms)
    top = largest or prime - 1
    left = rng.integers(0, prime, (3, terms))
    right = rng.integers(-top if largest else 0, top + 1, (terms, 2))
    left[0], right[:, 0] = prime - 1, top
    found = product(left.astype(np.float64), right.astype(np.float64), prime, largest=largest)
    assert found.tolist() == np.mod(left.astype(object) @ right.astype(object), prime).tolist()


def test_sums_that_cannot_be_exact() -> None:
    wide = np.broadcast_to(np.zeros(1), (1, 2**23))
    with pytest.raises(LocalProtocolError) as caught:
        product(wide, wide.T, LARGE_PRIME)
    assert caught.value.code == "protocol.local"


@PRIMES
def test_residues_are_uniform(prime: int) -> None:
    """Sixteen boxes of equal size hold as many, by chi-squared at one in a million."""
    drawn = random_residues((400, 500), prime)
    assert drawn.shape == (400, 500)
    assert 0 <= drawn.min() <= drawn.max() < prime
    counts = np.bincount((drawn.reshape(-1) * 16 // prime).astype(int), minlength=16)
    expected = drawn.size / 16
    assert float(((counts - expected) ** 2 / expected).sum()) < 56
    assert not np.array_equal(drawn, random_residues((400, 500), prime))
