"""Vectors of secret-export-v1, through the code that ships."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloister.crypto.digest import require_equal
from cloister.errors import CloisterError, EvidenceError, MalformedError
from cloister.keyservice.export_messages import (
    EXPORT_CHALLENGE_LABEL,
    EXPORT_CHALLENGE_PATH,
    EXPORT_EVIDENCE_LABEL,
    EXPORT_OPERATION,
    EXPORT_PARTS,
    EXPORT_PATH,
    EXPORT_REQUEST_LABEL,
    EXPORT_VALUE_LABEL,
    MAX_EXPORT_LIFETIME_S,
    MIN_EXPORT_LIFETIME_S,
    ExportGrant,
    ExportRequest,
    SignedExportRequest,
    export_info,
)
from cloister.keyservice.fetching import FETCH_TIMEOUT_S

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/spec/vectors/secret-export-v1"
VECTORS = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.json")}


def body(case: dict[str, Any]) -> None:
    """What is asked, and what evidence of it binds."""
    data = bytes.fromhex(case["body"])
    request = ExportRequest.from_bytes(data)
    assert request.to_bytes() == data
    other = EvidenceError("another request", code="evidence.binding")
    require_equal(request.report_data().value, bytes.fromhex(case["report_data"]), error=other)


def request(case: dict[str, Any]) -> None:
    """A signed request."""
    data = bytes.fromhex(case["request"])
    signed = SignedExportRequest.from_bytes(data)
    signed.open()
    assert signed.to_bytes() == data


def grant(case: dict[str, Any]) -> None:
    """A grant, opened."""
    data = bytes.fromhex(case["grant"])
    assert ExportGrant.from_bytes(data).to_bytes() == data


def info(case: dict[str, Any]) -> None:
    """The context of a seal."""
    found = export_info(
        service=bytes.fromhex(case["service"]),
        nonce=bytes.fromhex(case["nonce"]),
        request=bytes.fromhex(case["sent"]),
    )
    wrong = MalformedError("another place", code="message.malformed")
    require_equal(found, bytes.fromhex(case["info"]), error=wrong)


@pytest.mark.parametrize("name", sorted(VECTORS))
@pytest.mark.spec("EXP-11", "EXP-12", "EXP-13", "EXP-14", "EXP-15")
def test_vectors(name: str) -> None:
    """What the page says is read, or refused with its code."""
    case = VECTORS[name]
    kinds = {"report_data": body, "request": request, "grant": grant, "info": info}
    (run,) = [reader for field, reader in kinds.items() if field in case]
    if case["expect"] == "ok":
        run(case)
        return
    with pytest.raises(CloisterError) as caught:
        run(case)
    assert caught.value.code == case["expect"]


def test_more_than_half_of_the_vectors_fail() -> None:
    """Readers are judged by what they refuse."""
    refused = [name for name, case in VECTORS.items() if case["expect"] != "ok"]
    assert 2 * len(refused) > len(VECTORS) > 30


def test_the_generator_writes_the_same_vectors_again(tmp_path: Path) -> None:
    """A second run of the generator leaves no difference."""
    script = tmp_path / "generate.py"
    script.write_bytes((FOLDER / "generate.py").read_bytes())
    subprocess.run([sys.executable, str(script)], check=True)
    again = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert again == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}


@pytest.mark.spec("EXP-10")
def test_the_page_has_the_labels_paths_and_limits_of_the_code() -> None:
    """They stand once in the page and once in the code, and agree."""
    page = (ROOT / "docs/spec/secret-export-v1.md").read_text("utf-8")
    labels = {
        EXPORT_CHALLENGE_LABEL,
        EXPORT_EVIDENCE_LABEL,
        EXPORT_REQUEST_LABEL,
        EXPORT_VALUE_LABEL,
    }
    assert set(re.findall(r"^\| `(cloister/[^`]+)`", page, re.MULTILINE)) == {
        label.decode() for label in labels
    }
    for word in (EXPORT_CHALLENGE_PATH, EXPORT_PATH, f"`{EXPORT_OPERATION}`"):
        assert word in page
    for number in (MIN_EXPORT_LIFETIME_S, MAX_EXPORT_LIFETIME_S):
        assert f"{number:,}".replace(",", " ") in page
    assert all(f"`{part}`" in page for part in EXPORT_PARTS if part)
    assert f"at most {FETCH_TIMEOUT_S:.0f} s" in page
