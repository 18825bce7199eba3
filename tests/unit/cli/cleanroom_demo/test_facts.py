"""What the clean room's demonstration claims at its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloister.cli.cleanroom_demo.facts import Facts

GOOD = Facts(
    framework="jax",
    rounds=[{"round": 8, "metrics": {"loss": "0.10", "accuracy": "0.96"}}],
    reports_equal=True,
    receipt_holds=True,
    exposure_tenths=15,
    message_bytes=80_000,
    messages=174,
    output_bytes=0,
    found={
        "operator": {},
        "model owner": {"recipe": "model-owner/recipe/recipe.py"},
        "data owner": {"records": "data-owner/records/x.npy", "queries": "data-owner/q.npy"},
    },
    answered=4,
    right=3,
    spent=4,
    limit=4,
    unprotected=["model", "queries", "recipe", "records"],
    attempts=[{"party": "operator", "what": "looks", "code": "x.y"}],
    spied={"opens a connection": "EPERM"},
    seconds={"all": 1.234},
)


def test_everything_must_hold() -> None:
    """Then it has proved what it says, and says it for machines and people."""
    assert GOOD.proved
    record = GOOD.as_record()
    assert (record["proved"], record["accuracy"], record["seconds"]) == (True, 0.96, {"all": 1.23})
    rows = {row[0]: row[1:] for row in GOOD.views()}
    assert rows["the model"] == ["not found"] * 3
    assert rows["the recipe"][:2] == ["not found", "there: model-owner/recipe/recipe.py"]
    assert rows["the model's exposure"] == ["1.5 bits, in a receipt"] * 3
    assert "96%" in rows["the training"][2]
    assert "174 messages each way of 80 kB" in rows["the training"][0]


@pytest.mark.parametrize(
    "change",
    [
        {"rounds": []},
        {"rounds": [{"round": 8, "metrics": {"accuracy": None}}]},
        {"rounds": [{"round": 8, "metrics": {"accuracy": "0.75"}}]},
        {"reports_equal": False},
        {"receipt_holds": False},
        {"exposure_tenths": 0},
        {"output_bytes": 1},
        {"output_bytes": -1},
        {"found": {}},
        {"found": {**GOOD.found, "operator": {"model": "tcp 1 to 2"}}},
        {"found": {**GOOD.found, "model owner": {**GOOD.found["model owner"], "model": "m"}}},
        {"found": {**GOOD.found, "data owner": {}}},
        {"unprotected": ["model", "recipe", "records"]},
        {"answered": 0, "spent": 0, "limit": 0},
        {"spent": 3},
        {"answered": 3, "spent": 3},
        {"right": 0},
        {"attempts": []},
        {"attempts": [{"party": "operator", "what": "looks", "code": ""}]},
        {"spied": {}},
        {"spied": {"opens a connection": "EPERM", "starts a program": ""}},
    ],
)
def test_one_thing_that_does_not_hold_is_enough(change: dict[str, Any]) -> None:
    """Also a search that does not find what is there, or nothing tried."""
    assert not replace(GOOD, **change).proved


def test_nothing_is_proved_before_it_is_shown() -> None:
    """Fresh facts claim nothing."""
    assert not Facts().proved
    assert Facts().accuracy is None
