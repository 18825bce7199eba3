"""Exact linear algebra modulo a prime, by products of float64 that do not round.

A product of matrices is exact where every sum stays below 2^53. One factor is cut into limbs that
are small enough for that, so that BLAS can do the work.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from cloister.crypto.kdf import random_bytes
from cloister.errors import LocalProtocolError
from cloister.partition.linear_step import Array

__all__ = ["EXACT_BITS", "LARGE_PRIME", "SMALL_PRIME", "product", "random_residues"]

SMALL_PRIME: Final = 2**23 - 15
LARGE_PRIME: Final = 2**31 - 1
EXACT_BITS: Final = 53
"""Whole numbers below 2 to that are exact in float64."""


def random_residues(shape: tuple[int, ...], prime: int) -> Array:
    """Draw secret, uniform numbers from 0 to the prime, exclusive."""
    count = int(np.prod(shape, dtype=np.int64))
    mask = np.uint32((1 << prime.bit_length()) - 1)
    found = np.zeros(0, np.uint32)
    while found.size < count:
        wanted = count - found.size
        drawn = np.frombuffer(random_bytes(4 * (wanted + wanted // 64 + 8)), np.uint32) & mask
        found = np.concatenate([found, drawn[drawn < prime]])[:count]
    return found.astype(np.float64).reshape(shape)


def product(left: Array, right: Array, prime: int, *, largest: int | None = None) -> Array:
    """Return `left @ right` modulo the prime, from 0, exactly.

    Args:
        left: Whole numbers from 0 to the prime, as float64.
        right: Whole numbers as float64, of magnitudes up to `largest`.
        prime: At most 31 bits.
        largest: The prime itself, where it is None.

    Raises:
        LocalProtocolError: `protocol.local`: sums of that length cannot be exact.
    """
    terms = left.shape[-1]
    bits = (largest or prime).bit_length() + max(terms - 1, 0).bit_length()
    limb = EXACT_BITS - bits
    if limb < 1:
        raise LocalProtocolError("sums in the field are too long", code="protocol.local")
    if limb >= prime.bit_length():
        return np.asarray(np.mod(np.matmul(left, right), prime))
    # Putting limbs together multiplies a residue by the base, which has to be exact as well.
    limb = min(limb, EXACT_BITS - 1 - prime.bit_length())
    base = float(1 << limb)
    total: Array | None = None
    for part in reversed(_limbs(left, base, -(-prime.bit_length() // limb))):
        one = np.mod(np.matmul(part, right), prime)
        total = one if total is None else np.mod(total * base + one, prime)
    return np.zeros(0) if total is None else total


def _limbs(values: Array, base: float, count: int) -> list[Array]:
    limbs: list[Array] = []
    left = values
    for _ in range(count):
        higher = np.floor(left / base)
        limbs.append(left - higher * base)
        left = higher
    return limbs
