"""A private property is told from what carries it, and not from what does not."""

from __future__ import annotations

import numpy as np
import pytest

from cloister.partition.assess.attack import Array, Budget, Front, Target
from cloister.partition.assess.properties import Property, PropertyInference, brightness

BUDGET = Budget(steps=1, seconds=10)
RANDOM = np.random.default_rng(5)
PRIVATE = RANDOM.random((120, 4, 4, 1), np.float32)
PROXY = RANDOM.random((300, 4, 4, 1), np.float32)


def _target(front: Front) -> Target:
    return Target(front=front, tensors=(), private=PRIVATE, proxy=PROXY, low=0, high=1)


def _nothing(images: Array) -> tuple[Array, ...]:
    return (np.random.default_rng(len(images)).random((len(images), 8), np.float32),)


def test_brightness_is_told_from_the_images() -> None:
    """An identity front gives it away; the note has the guess and the images' own number."""
    wanted = brightness(PRIVATE, PROXY)
    assert wanted.proxy.mean() == pytest.approx(0.5, abs=0.01)
    heard: list[float] = []
    (found,) = PropertyInference(wanted).run(
        _target(lambda x: (x,)), budget=BUDGET, seed=1, progress=heard.append
    )
    assert found.measure.mean > 0.85
    assert (found.measure.attack, found.measure.knows) == ("property", "queries")
    assert "brighter than half" in found.notes[0]
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_nothing_is_told_from_noise() -> None:
    """A front that says nothing of the image leaves a guess."""
    (found,) = PropertyInference(brightness(PRIVATE, PROXY)).run(
        _target(_nothing), budget=BUDGET, seed=1, progress=lambda _: None
    )
    assert found.measure.mean < 0.65


def test_a_property_that_all_have_is_no_attack() -> None:
    """There is nothing to learn from; nothing is said rather than 1.0."""
    same = Property("all", np.ones(120, np.int64), np.ones(300, np.int64))
    assert (
        PropertyInference(same).run(
            _target(lambda x: (x,)), budget=BUDGET, seed=1, progress=lambda _: None
        )
        == ()
    )
