"""The papers' measure asks about every map, and never draws all of them at once."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from cloister.partition.assess.attack import Budget, Target
from cloister.partition.assess.divergence import deltas
from cloister.partition.assess.judging import ProjectionKL
from cloister.partition.assess.projection import maps_of, project
from cloister.partition.graph import TensorInfo

RANDOM = np.random.default_rng(0)


def _target(front: Any, *, images: int, side: int, maps: int) -> Target:
    private = RANDOM.random((images, side, side, 3)).astype(np.float32)
    info = TensorInfo("a", "float32", (-1, 2, 2, maps))
    return Target(front=front, tensors=(info,), private=private, proxy=private, low=0.0, high=1.0)


def _judge(images: np.ndarray) -> np.ndarray:
    said = np.exp(5 * images.reshape(len(images), -1)[:, :4])
    return said / said.sum(axis=1, keepdims=True)


def _run(target: Target, **more: Any) -> Any:
    (made,) = ProjectionKL(_judge, **more).run(
        target, budget=Budget(steps=1, seconds=1e9), seed=1, progress=lambda _: None
    )
    return made


@pytest.mark.parametrize("at_once", [1, 7, 512])
def test_each_images_most_telling_map_counts(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """However many are drawn together: the number is that of all maps of all tensors."""
    monkeypatch.setattr("cloister.partition.assess.judging._PICTURES_AT_ONCE", at_once)
    crossing = (
        RANDOM.random((5, 3, 3, 4)).astype(np.float32),
        RANDOM.random((5, 6)).astype(np.float32),
    )
    target = _target(lambda images: tuple(t[: len(images)] for t in crossing), images=5, side=6,
                     maps=4)  # fmt: skip
    made = _run(target)
    pictures = np.concatenate(
        [project(maps_of(t), height=6, width=6, channels=3) for t in crossing], axis=1
    )
    said = np.stack([_judge(each / 255) for each in pictures])
    values = deltas(_judge(target.private), said)
    assert made.measure.mean == pytest.approx(values.mean())
    assert made.measure.complete
    assert made.measure.examples == 5
    assert made.examples.reconstructions.shape == (5, 6, 6, 3)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of maps as pictures would be hundreds of times what is drawn at a time."""
    bound = 2**18
    monkeypatch.setattr("cloister.partition.assess.judging._NUMBERS_AT_ONCE", bound)
    target = _target(lambda images: (np.ones((len(images), 2, 2, 512), np.float32),), images=70,
                     side=32, maps=512)  # fmt: skip
    tracemalloc.start()
    try:
        made = _run(target)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    everything = 64 * 512 * 32 * 32 * 3 * 4
    assert peak < everything / 10
    assert made.measure.examples == 64
    assert made.measure.complete


def test_numbers_that_are_none_are_not_complete() -> None:
    target = _target(lambda images: (np.full((len(images), 2, 2, 3), np.nan, np.float32),),
                     images=4, side=6, maps=3)  # fmt: skip
    made = _run(target, examples=3)
    assert made.measure.examples == 3
    assert not made.measure.complete
    assert np.isfinite(made.measure.mean)
