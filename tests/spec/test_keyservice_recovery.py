"""The vectors of keyservice-recovery-v1."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.shamir import combine_shares
from cloister.errors import CloisterError, ReleaseDeniedError
from cloister.keyservice.platforms import Admission
from cloister.keyservice.recovery_plan import RecoveryPlan
from cloister.keyservice.recovery_shares import SealedShare
from cloister.keyservice.rekey import Rekey
from cloister.keyservice.reset import Reset
from cloister.keyservice.state.backup import Backup, head_of

FOLDER = Path(__file__).parents[2] / "docs" / "spec" / "vectors" / "keyservice-recovery-v1"
CASES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def found(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What we read of a case."""
    if case["kind"] == "backup":
        path = folder / "backup"
        path.write_bytes(bytes.fromhex(case["file"]))
        with contextlib.closing(Backup(path)) as backup:
            head = head_of(backup)
        return {"head": {"sequence": head.sequence, "digest": head.digest.hex()}}
    if case["kind"] == "plan":
        return {"hash": RecoveryPlan.from_text(case["text"].encode()).subject.hash.hex()}
    if case["kind"] == "admission":
        return {"hash": Admission.from_text(case["text"].encode()).subject.hash.hex()}
    if case["kind"] == "rekey":
        return {"hash": Rekey.from_text(case["text"].encode()).subject.hash.hex()}
    if case["kind"] == "share":
        reader = HPKEPrivateKey(bytes.fromhex(case["reader"]))
        return {"plain": SealedShare.from_bytes(bytes.fromhex(case["file"])).open(reader)}
    if case["kind"] == "combine":
        error = ReleaseDeniedError("no", code="recovery.share")
        return {"key": combine_shares(case["mnemonics"], error=error).hex()}
    statement = Reset.from_text(case["text"].encode())
    head = statement.next_head
    return {
        "hash": statement.subject.hash.hex(),
        "next": {"sequence": head.sequence, "digest": head.digest.hex()},
    }


@pytest.mark.spec(
    "BR-1", "BR-2", "BR-10", "BR-18", "BR-20", "BR-22", "BR-23", "BR-24", "BR-28", "BR-40", "BR-50"
)
@pytest.mark.parametrize("name", CASES)
def test_a_vector_is_read_as_it_says(name: str, tmp_path: Path) -> None:
    """With what stands in it, or by its code."""
    case = CASES[name]
    if case["expect"] == "ok":
        read = found(case, tmp_path)
        assert read == {key: case[key] for key in read}
        return
    with pytest.raises(CloisterError) as e:
        found(case, tmp_path)
    assert e.value.code == case["expect"]
