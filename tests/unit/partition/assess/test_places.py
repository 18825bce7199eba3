"""Numbers that are places are laid out; those that may be codes are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cloister.partition.assess.places import Places, are_codes, point

RANDOM = np.random.default_rng(4)
PIXELS = RANDOM.random((300, 25)).astype(np.float32)
ORDER = np.argsort(PIXELS, axis=1)
SORTED = np.sort(PIXELS, axis=1)


def test_sorted_values_are_put_back() -> None:
    tensors = (SORTED, ORDER)
    places = Places(tensors, pixels=25)
    assert places.tensors == {1}
    values, ranks, there = places(tensors)
    assert np.array_equal(values, PIXELS)
    assert np.array_equal(np.argsort(ranks, axis=1), ORDER)
    assert (there == 1).all()


def test_values_and_places_in_one_tensor_are_told_apart() -> None:
    both = np.concatenate([SORTED, ORDER.astype(np.float32)], axis=1)
    values, _, _ = Places((both,), pixels=25)((both,))
    assert np.array_equal(values, PIXELS)


def test_of_a_part_of_all_values_the_others_are_nothing() -> None:
    tensors = (SORTED[:, 20:], ORDER[:, 20:].astype(np.int32))
    values, _, there = Places(tensors, pixels=25)(tensors)
    assert np.array_equal(values, np.where(SORTED[:, 20:21] <= PIXELS, PIXELS, 0))
    assert np.array_equal(there, SORTED[:, 20:21] <= PIXELS)


def test_places_that_others_have_stay_on_the_grid() -> None:
    places = Places((ORDER,), pixels=25)
    assert [each.shape for each in places((ORDER + 20,))] == [(300, 25)] * 2


@pytest.mark.parametrize(
    "tensor",
    [
        SORTED,
        RANDOM.integers(0, 9, (300, 25)),
        np.full((300, 25), 3.0),
        ORDER - 1,
        ORDER[:, :3],
        np.zeros((300, 25), np.bool_),
    ],
    ids=["magnitudes", "codes", "constants", "below 0", "too few", "flags"],
)
def test_what_is_no_list_of_places(tensor: npt.NDArray[Any]) -> None:
    assert not point((tensor,))
    assert Places((tensor,), pixels=25)((tensor,)) == []


def test_places_on_a_grid_far_too_large_are_codes() -> None:
    """They may count along the batch, so they are places for who asks whether any are."""
    far = ORDER + 1000 * np.arange(300)[:, None]
    assert point((far,))
    assert Places((far,), pixels=25).tensors == frozenset()
    assert are_codes(far)


def test_what_stands_twice_is_laid_out_and_may_be_codes_all_the_same() -> None:
    codes = RANDOM.integers(0, 289, (300, 25))
    places = Places((codes,), pixels=25)
    assert len(places((codes,))) == 2
    assert places.tensors == frozenset()


def test_codes_are_whole_or_few_and_not_two() -> None:
    assert are_codes(RANDOM.integers(0, 9, (300, 25)))
    assert are_codes(RANDOM.integers(0, 9, (300, 25)) / 8)
    assert are_codes(RANDOM.integers(0, 500, (300, 25)).astype(np.float32))
    assert are_codes(RANDOM.integers(0, 9, (300, 25)).astype(np.uint8))
    assert not are_codes(RANDOM.integers(0, 256, (300, 25)).astype(np.uint8))
    assert not are_codes(RANDOM.integers(0, 2, (300, 25)))
    assert not are_codes(PIXELS)
