"""Members are told where the model is surer of them, and not where nothing differs."""

from __future__ import annotations

import numpy as np

from cloister.partition.assess.attack import Array, Budget, Target
from cloister.partition.assess.membership import LEAST_MEMBERS, MembershipInference

BUDGET = Budget(steps=1, seconds=10)
RANDOM = np.random.default_rng(2)
OUTSIDE = RANDOM.random((160, 3, 3, 1), np.float32)
INSIDE = RANDOM.random((160, 3, 3, 1), np.float32)
TRAINED = {each.tobytes() for each in INSIDE}


def _target() -> Target:
    return Target(front=lambda x: (x,), tensors=(), private=OUTSIDE, proxy=OUTSIDE, low=0, high=1)


def _overfitted(tensors: tuple[Array, ...]) -> Array:
    sure = np.array([0.97 if each.tobytes() in TRAINED else 0.6 for each in tensors[0]])
    return np.stack([sure, 1 - sure], axis=1)


def _indifferent(tensors: tuple[Array, ...]) -> Array:
    share = 0.5 + 0.4 * np.abs(np.sin(1e4 * tensors[0].reshape(len(tensors[0]), -1).sum(axis=1)))
    return np.stack([share, 1 - share], axis=1)


def test_an_overfitted_model_tells() -> None:
    """A model that is sure of what it has seen gives members away."""
    (found,) = MembershipInference(INSIDE, _overfitted).run(
        _target(), budget=BUDGET, seed=1, progress=lambda _: None
    )
    assert found.measure.mean > 0.95
    assert found.measure.worst_decile == 1.0
    assert "1.00" in found.notes[0]


def test_a_model_that_knows_none_of_them_does_not() -> None:
    """Members and others from one distribution, and scores that do not depend on it: chance."""
    (found,) = MembershipInference(INSIDE, _indifferent).run(
        _target(), budget=BUDGET, seed=1, progress=lambda _: None
    )
    assert 0.35 < found.measure.mean < 0.65


def test_too_few_are_no_attack() -> None:
    """A handful of members gives no number rather than a wild one."""
    few = MembershipInference(INSIDE[: LEAST_MEMBERS - 1], _overfitted)
    assert few.run(_target(), budget=BUDGET, seed=1, progress=lambda _: None) == ()
