"""`cloister cleanroom demo` as root and as a newcomer: everything it claims is seen to hold."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from integration.apart import run_apart
from integration.cli.desk import Desk

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.jobs,
    pytest.mark.frameworks("sklearn"),
    pytest.mark.timeout(600),
]
_TIMEOUT_S = 580.0

ATTEMPTS = {
    "opens the recipe's volume": "release.volume-unknown",
    "opens the records' volume": "release.volume-unknown",
    "opens the model's volume, as founder of the domain": "release.volume-unknown",
    "puts a program of hers on the records, alone": "approval.pending",
    "puts a file beside the signed terms": "appraisal.code",
    "asks once more than agreed": "budget.spent",
    "asks in the data owner's name": "query.principal",
    "goes on after the room was closed": "release.policy-changed",
}


def _require_everything_proved(record: dict[str, Any]) -> None:
    assert record["proved"] is True, record
    assert record["accuracy"] > 0.8
    assert record["hardware_rooted"] is False
    assert 1 <= record["exposure_tenths"] <= 100
    assert record["captured_bytes"] > record["messages"] * record["message_bytes"]
    assert record["searched_bytes"] > record["captured_bytes"]
    assert {each["what"]: each["code"] for each in record["attempts"]} == ATTEMPTS
    assert record["queries"] == {"answered": 4, "right": 3, "spent": 4, "limit": 4}
    assert len(record["spying_recipe"]) == 7
    assert record["spying_recipe"]["opens a connection"] == "EPERM"


def test_the_demonstration_proves_what_it_claims(tmp_path: Path) -> None:
    """Who has what, what was learned, and how each attempt was refused."""
    record = Desk(tmp_path).json("cleanroom", "demo", timeout_s=_TIMEOUT_S).good().record
    _require_everything_proved(record)
    assert list(tmp_path.iterdir()) == []


def _demo_as_user() -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="cloister-room-test-"))
    try:
        return Desk(folder).json("cleanroom", "demo", timeout_s=_TIMEOUT_S).good().record
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to become another user")
def test_an_ordinary_user_sees_the_same() -> None:
    """User 1000 needs user namespaces and /dev/fuse, and nothing else."""
    _require_everything_proved(run_apart(1000, _demo_as_user))
