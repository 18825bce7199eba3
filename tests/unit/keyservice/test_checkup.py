"""Judging how a key service is run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloister.keyservice.checkup import FileMode, Observations, judge

FINE = Observations(
    files=(FileMode("keyservice/state.db", 0o100600, ours=True),),
    owner_key=False,
    core_limit=0,
    swap=(),
    state_code="",
    free_bytes=1 << 40,
    listen="127.0.0.1:8400",
    skew_s=0,
    peer_code="",
)


def test_everything_fine_is_said_to_be() -> None:
    """With a finding for each thing, and nothing to do."""
    found = judge(FINE)
    assert len(found) == 8
    assert all((each.state, each.remedy) == ("ok", "") for each in found)


@pytest.mark.parametrize(
    ("name", "state", "change"),
    [
        ("files", "problem", {"files": (FileMode("a", 0o100640, ours=True),)}),
        ("files", "problem", {"files": (FileMode("a", 0o100604, ours=True),)}),
        ("files", "problem", {"files": (FileMode("a", 0o040700, ours=False),)}),
        ("owner's key", "warning", {"owner_key": True}),
        ("core dumps", "warning", {"core_limit": -1}),
        ("core dumps", "warning", {"core_limit": 1}),
        ("swap", "warning", {"swap": ("/dev/sda2",)}),
        ("state", "problem", {"state_code": "state.rolled-back"}),
        ("state", "ok", {"state_code": "keyservice.busy"}),
        ("disk", "warning", {"free_bytes": (1 << 30) - 1}),
        ("disk", "problem", {"free_bytes": (64 << 20) - 1}),
        ("address", "warning", {"listen": "0.0.0.0:8400"}),
        ("address", "warning", {"listen": "[::]:8400"}),
        ("address", "warning", {"listen": "10.0.0.7:8400"}),
        ("address", "warning", {"listen": "keys.example.org:8400"}),
        ("address", "ok", {"listen": ""}),
        ("address", "ok", {"listen": ":8400"}),
        ("address", "ok", {"listen": "[::1]:8400"}),
        ("address", "ok", {"listen": "localhost:8400"}),
        ("clock", "warning", {"skew_s": None}),
        ("clock", "ok", {"skew_s": -5}),
        ("clock", "problem", {"skew_s": 6}),
        ("clock", "problem", {"skew_s": -6}),
        ("clock", "problem", {"skew_s": None, "peer_code": "identity.keyservice"}),
    ],
)
def test_each_thing_is_judged_alone(name: str, state: str, change: dict[str, Any]) -> None:
    """One thing that is not fine changes one finding, which says what to do."""
    found = {each.name: each for each in judge(replace(FINE, **change))}
    assert found[name].state == state
    assert (found[name].remedy != "") == (state != "ok")
    assert {each.state for each in found.values() if each.name != name} == {"ok"}


def test_a_finding_is_a_record() -> None:
    """For `--json`."""
    assert judge(FINE)[3].as_record() == {
        "name": "swap",
        "state": "ok",
        "detail": "none",
        "remedy": "",
    }
