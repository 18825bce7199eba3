"""Gaussian noise whose randomness comes from the kernel, anew for each step.

The same rule as `training/privacy/noise.py`, for any framework: no seed of a caller, no state that
a resumed or copied process could use twice, and sums of several samples in double precision, so
that the low bits of a result tell little of its summands and its range has no near end (Holohan
and Braghin, 2021; Mironov, 2012).
"""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np

__all__ = ["SEED_BYTES", "fresh_seed", "gaussian", "generator"]

SEED_BYTES: Final = 16 + 32  # key and counter of a Philox generator
SUMMANDS: Final = 4


def fresh_seed() -> bytes:
    """Return secret bytes for one generator."""
    return os.urandom(SEED_BYTES)


def generator(seed: bytes) -> np.random.Generator:
    """Return the generator that these bytes are; whoever knows them knows all of its numbers."""
    key, counter = int.from_bytes(seed[:16], "big"), int.from_bytes(seed[16:SEED_BYTES], "big")
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def gaussian(size: int, *, deviation: float, seed: bytes) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return normal noise in double precision.

    Args:
        size: How many samples.
        deviation: Their standard deviation.
        seed: `SEED_BYTES` secret bytes, for this call alone.
    """
    source = generator(seed)
    total = source.standard_normal(size)
    for _ in range(SUMMANDS - 1):
        total += source.standard_normal(size)
    total *= deviation / SUMMANDS**0.5
    return total
