from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from cloister.cleanroom.description import Augment
from cloister.cleanroom.engine.batches import Shuffled, poisson, targets_of, varied
from cloister.cleanroom.engine.noise import fresh_seed

SUSPICIOUS = 1e-6


def shuffled(batch: int) -> Shuffled:
    return Shuffled(batch, np.random.default_rng(1), np.zeros(0, np.intp))


def test_each_example_takes_part_by_a_coin_of_its_own() -> None:
    draws = [poisson(40, 0.25, fresh_seed()) for _ in range(4000)]
    each = np.bincount(np.concatenate(draws), minlength=40)
    assert min(stats.binomtest(int(n), 4000, 0.25).pvalue for n in each) > SUSPICIOUS
    sizes = np.bincount([len(draw) for draw in draws], minlength=41)
    wanted = stats.binom.pmf(np.arange(41), 40, 0.25) * 4000
    common = wanted > 5
    statistic = ((sizes - wanted)[common] ** 2 / wanted[common]).sum()
    assert stats.chi2.sf(statistic, common.sum()) > SUSPICIOUS


def test_a_pass_has_each_example_once() -> None:
    batches = shuffled(5)
    first = np.concatenate([batches.draw(20) for _ in range(4)])
    second = np.concatenate([batches.draw(20) for _ in range(4)])
    assert sorted(first) == sorted(second) == list(range(20))
    assert (first != second).any()


def test_what_is_left_of_a_pass_waits_for_another() -> None:
    batches = shuffled(6)
    drawn = [batches.draw(20) for _ in range(4)]
    assert [len(each) for each in drawn] == [6, 6, 6, 6]
    assert len(set(np.concatenate(drawn[:3]))) == 18


def test_few_examples_are_a_batch() -> None:
    assert sorted(shuffled(50).draw(3)) == [0, 1, 2]


def images() -> Any:
    return np.random.default_rng(2).normal(size=(600, 5, 6, 2)).astype(np.float32) + 10


@pytest.mark.spec("CC-48")
def test_images_are_moved_within_their_frame_and_mirrored() -> None:
    x = images()
    found = varied(x, Augment(pad=2, flip=True), np.random.default_rng(3))
    assert found.shape == x.shape
    framed = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    seen = set()
    for number, image in enumerate(found):
        places = [
            (down, right, flip)
            for down in range(5)
            for right in range(5)
            for flip in (False, True)
            if (part := framed[number, down : down + 5, right : right + 6]).shape == image.shape
            and (image == (part[:, ::-1] if flip else part)).all()
        ]
        assert places, "an image that is no part of the original"
        seen.update(places)
    assert len(seen) == 50


def test_nothing_asked_changes_nothing() -> None:
    found = varied(images(), Augment(pad=0, flip=False), np.random.default_rng(3))
    np.testing.assert_array_equal(found, images())


def test_labels_become_rows() -> None:
    np.testing.assert_array_equal(targets_of(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    assert targets_of(np.zeros(0, np.uint8), 3).shape == (0, 3)


@pytest.mark.parametrize("labels", [[3], [-1], [0.5], [[0]], [2**64 - 1], ["a"]], ids=str)
def test_what_is_no_label_is_refused(labels: Any) -> None:
    with pytest.raises(ValueError, match=r"label"):
        targets_of(np.array(labels), 3)
