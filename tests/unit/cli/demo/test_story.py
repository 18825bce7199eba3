"""What the demonstration claims at its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloister.cli.demo.story import Facts

_GOOD = Facts(
    accuracy=0.98,
    predictions_equal=True,
    plaintext_hits=0,
    found_without_protection=["code", "data", "query", "weights"],
    attacks={"one": {"refused": True, "code": "x.y"}},
    seconds={"all": 1.2345},
)


def test_everything_must_hold() -> None:
    """Then the demonstration has proved what it says."""
    assert _GOOD.proved
    record = _GOOD.as_record()
    assert record["seconds"] == {"all": 1.23}
    assert record["hardware_rooted"] is False


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": 0.97},
        {"predictions_equal": False},
        {"plaintext_hits": 1},
        {"plaintext_hits": -1},
        {"found_without_protection": ["code", "data", "query"]},
        {"attacks": {}},
        {"attacks": {"one": {"refused": False, "code": ""}}},
    ],
)
def test_one_thing_that_does_not_hold_is_enough(change: dict[str, Any]) -> None:
    """A search that cannot find, or an attack that worked, proves nothing."""
    assert not replace(_GOOD, **change).proved


def test_nothing_is_proved_before_it_is_shown() -> None:
    """Fresh facts claim nothing."""
    assert not Facts().proved
