from __future__ import annotations

import numpy as np
from scipy import stats

from cloister.cleanroom.engine.noise import SEED_BYTES, fresh_seed, gaussian, generator

SUSPICIOUS = 1e-6


def test_seeds_are_never_the_same() -> None:
    assert len({fresh_seed() for _ in range(100)}) == 100
    assert len(fresh_seed()) == SEED_BYTES


def test_noise_is_normal_with_the_deviation() -> None:
    found = gaussian(200_000, deviation=2.5, seed=bytes(SEED_BYTES))
    assert found.dtype == np.float64
    assert stats.kstest(found / 2.5, "norm").pvalue > SUSPICIOUS
    assert abs(found.std() / 2.5 - 1) < 0.01
    halves = np.corrcoef(found[:100_000], found[100_000:])[0, 1]
    assert abs(halves) < 0.02


def test_noise_is_a_function_of_its_seed_and_of_all_of_it() -> None:
    seed = bytes(range(SEED_BYTES))
    first = gaussian(4, deviation=1, seed=seed)
    np.testing.assert_array_equal(first, gaussian(4, deviation=1, seed=seed))
    for place in range(SEED_BYTES):
        changed = bytearray(seed)
        changed[place] ^= 1
        assert (gaussian(4, deviation=1, seed=bytes(changed)) != first).any()


def test_a_generator_starts_where_its_bytes_say() -> None:
    assert generator(bytes(SEED_BYTES)).random() == generator(bytes(SEED_BYTES)).random()
