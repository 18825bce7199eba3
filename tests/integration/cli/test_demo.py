"""`cloister demo` as a newcomer runs it: everything it claims is seen to hold."""

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
    pytest.mark.slow,
    pytest.mark.frameworks("tensorflow", "sklearn", "ai_edge_litert"),
    pytest.mark.timeout(600),
]
_TIMEOUT_S = 580.0

ATTACKS = {
    "one flipped bit in a volume": "volume.tampered",
    "an older copy of the whole volume put back": "volume.rolled-back",
    "a changed script": "appraisal.code",
    "a changed argv in the policy": "release.policy-unknown",
    "an argv added by the operator": "launch.argv",
    "replayed evidence": "evidence.replayed",
    "a workload that the policy does not name": "release.workload-unknown",
    "a key service with another identity": "identity.keyservice",
}


def _require_everything_proved(record: dict[str, Any]) -> None:
    assert record["accuracy"] > 0.97
    assert record["predictions_equal"] is True
    assert record["hardware_rooted"] is False
    assert record["plaintext_hits"] == 0
    assert record["searched_bytes"] > 100_000
    assert record["captured_bytes"] > 10_000
    assert set(record["found_without_protection"]) == {"data", "code", "weights", "query"}
    assert all(attack["refused"] for attack in record["attacks"].values())
    assert {name: attack["code"] for name, attack in record["attacks"].items()} == ATTACKS


def test_the_demonstration_proves_what_it_claims(tmp_path: Path) -> None:
    """Accuracy, equal predictions, no plain text with the operator, every attack refused."""
    record = Desk(tmp_path).json("demo", timeout_s=_TIMEOUT_S).good().record
    _require_everything_proved(record)
    assert list(tmp_path.iterdir()) == []


def _demo_as_user() -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="cloister-demo-test-"))
    try:
        return Desk(folder).json("demo", timeout_s=_TIMEOUT_S).good().record
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.jobs
@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to become another user")
def test_an_ordinary_user_sees_the_same() -> None:
    """User 1000 needs user namespaces and /dev/fuse, and nothing else."""
    _require_everything_proved(run_apart(1000, _demo_as_user))
