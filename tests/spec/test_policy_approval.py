"""The vectors of policy-approval-v1, through the readers of charters and approvals."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloister.errors import CloisterError
from cloister.keyservice.approvals import (
    APPROVAL_LABEL,
    MAX_APPROVAL_BYTES,
    Approval,
    Subject,
    require_approval,
)
from cloister.keyservice.policy.charter import (
    CHARTER_LABEL,
    MAX_CHARTER_BYTES,
    charter_bytes,
    charter_from_canonical,
    charter_hash,
    parse_charter,
)

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/spec/vectors/policy-approval-v1"
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("charter-")])
@pytest.mark.spec("PA-1", "PA-10", "PA-11", "PA-12")
def test_charters(name: str) -> None:
    """A text is read to the canonical form and hash of its vector, or refused with its code."""
    vector = VECTORS[name]
    if vector["expect"] == "ok":
        charter = parse_charter(vector["text"].encode(), source=name)
        assert charter_bytes(charter).hex() == vector["canonical"]
        assert charter_hash(charter).hex() == vector["hash"]
        assert charter_from_canonical(bytes.fromhex(vector["canonical"])) == charter
        return
    with pytest.raises(CloisterError) as caught:
        parse_charter(vector["text"].encode(), source=name)
    assert caught.value.code == vector["expect"]


def judge(vector: dict[str, Any]) -> None:
    """Read a vector's file and judge it by the vector's change."""
    change = vector["change"]
    subject = Subject(
        bytes.fromhex(change["service"]),
        change["kind"],
        change["namespace"],
        bytes.fromhex(change["subject"]),
        bytes.fromhex(change["predecessor"]),
    )
    approval = Approval.from_text(vector["text"].encode())
    approvers = [bytes.fromhex(key) for key in vector["approvers"]]
    require_approval(approval, subject, approvers=approvers, at=vector["at"])


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("approval-")])
@pytest.mark.spec("PA-20", "PA-21", "PA-22", "PA-23", "PA-24", "PA-25")
def test_approvals(name: str) -> None:
    """A file counts for its change, or is refused with the code of the vector."""
    vector = VECTORS[name]
    if vector["expect"] == "ok":
        judge(vector)
        return
    with pytest.raises(CloisterError) as caught:
        judge(vector)
    assert caught.value.code == vector["expect"]


def test_at_least_half_of_the_vectors_are_refusals() -> None:
    """Readers are judged by what they refuse."""
    refused = [name for name, vector in VECTORS.items() if vector["expect"] != "ok"]
    assert 2 * len(refused) >= len(VECTORS) > 30


def test_the_generator_writes_the_same_vectors_again(tmp_path: Path) -> None:
    """A second run of the generator leaves no difference."""
    script = tmp_path / "generate.py"
    script.write_bytes((FOLDER / "generate.py").read_bytes())
    subprocess.run([sys.executable, str(script)], check=True)
    again = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert again == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}


def test_the_page_has_the_labels_and_limits_of_the_code() -> None:
    """Labels and limits stand once in the page and once in the code, and agree."""
    page = (ROOT / "docs/spec/policy-approval-v1.md").read_text("utf-8")
    assert CHARTER_LABEL.decode() in page
    assert APPROVAL_LABEL.decode() in page
    for number in (MAX_APPROVAL_BYTES, MAX_CHARTER_BYTES):
        assert f"{number:,}".replace(",", " ") in page
