"""A recipe that sends code instead of data: nothing runs, and nothing is even looked up.

Rows 88 and 89 of the system that this follows: a restricted encoding, proved by what it refuses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of every payload in every reader."""
    canary = tmp_path_factory.mktemp("canary") / "canary"
    done = subprocess.run(
        [sys.executable, "-m", "attack.hostile_reading", str(canary)],
        cwd=TESTS,
        env=os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.spec("CC-9", "CC-61")
def test_no_payload_is_read_as_a_message(outcome: dict[str, Any]) -> None:
    """Each is refused as message, as head, as frame and in frames; in a field it is bytes."""
    assert outcome["payloads"] > 60
    assert outcome["outcomes"] == 4 * outcome["payloads"]
    assert outcome["read"] == []
    # What begins with a small number announces a message of that length, or none.
    assert {each.split("/")[1] for each in outcome["nothing"]} <= {"read_frame"}
    assert len(outcome["nothing"]) < 5
    assert outcome["pipes_count"] == outcome["payloads"]
    assert set(outcome["pipes"]) <= {"message.malformed", "wire.malformed", "wire.too-large"}


def test_nothing_runs_while_they_are_read(outcome: dict[str, Any]) -> None:
    """Nobody compiles, imports, opens, unpickles or starts anything."""
    assert outcome["ran"] is False
    assert outcome["seen"] == []
    assert outcome["shown"] == ["compile"], "what the watch saw when something was there to see"


def test_the_payloads_are_alive(outcome: dict[str, Any]) -> None:
    """Given to the loader that they are made for, each pickle runs its code."""
    assert outcome["pickles"] > 10
    assert outcome["alive"] == outcome["pickles"]
