"""A policy as data."""

from dataclasses import FrozenInstanceError

import pytest

from cloister.testing.policies import sample_policy


def test_a_policy_cannot_change() -> None:
    """What has been hashed stays what it is."""
    policy = sample_policy()
    with pytest.raises(FrozenInstanceError):
        policy.name = "other"
    with pytest.raises(FrozenInstanceError):
        policy.workloads["train"].command = ()


def test_equal_texts_give_equal_policies() -> None:
    """Identity is content."""
    assert sample_policy() == sample_policy()
    assert sample_policy() != sample_policy(open_clients=True)
