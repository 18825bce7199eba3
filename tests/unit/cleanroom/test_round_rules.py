"""The terms of the rounds, and that none can be kept that make no sense."""

from typing import Any

import pytest

from cloister.cleanroom.agreement import Room
from cloister.cleanroom.round_rules import RoundRules
from cloister.errors import ConfigError
from cloister.testing.cleanroom import sample_agreement
from rounds_bench import rules


@pytest.mark.spec("TR-5")
@pytest.mark.parametrize(
    "changes",
    [
        {"room": b"short"},
        {"trainers": 0},
        {"trainers": 9},
        {"parameters_max": 0},
        {"parameters_max": 2**28 + 1},
        {"plan_max_bytes": 0},
        {"max_staleness": -1},
        {"push_every": 0},
        {"push_every": 2},  # synchronous
        {"pull_every": 2},
        {"checkpoint_every": 5},
        {"metrics": ("loss", "loss")},
        {"metrics": tuple("abcdefghijklmnopq")},
        {"norm_max": 0.0},
        {"norm_max": float("nan")},
        {"norm_max": float("inf")},
        {"mode": "whenever"},
        {"damping": "some"},
        {"join_s": float("inf")},
        {"join_s": -1.0},
    ],
)
def test_terms_that_cannot_be_kept(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        rules(**changes)
    assert caught.value.code == "config.value"


def test_what_signed_terms_say() -> None:
    """Each number is that of the terms, and the digest is theirs."""
    room = Room(sample_agreement())
    found = RoundRules.of(room)
    training = room.terms.training
    assert found.room == room.digest
    assert found.schedule.ticks == training.ticks
    assert (found.trainers, found.metrics) == (2, ("loss", "accuracy"))
    assert found.norm_max == float(training.norm_max)
    assert found.body_bytes == 4 * training.parameters_max
    for name in (
        "parameters_max", "plan_max_bytes", "mode", "damping", "max_staleness", "push_every",
        "pull_every", "checkpoint_every", "join_s",
    ):  # fmt: skip
        assert getattr(found, name) == getattr(training, name), name
    for name in ("tick_ms", "prepare_ticks", "round_ticks", "rounds", "closing_ticks"):
        assert getattr(found.schedule, name) == getattr(training, name), name
