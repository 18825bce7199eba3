"""The vectors of evidence-interop-v1: through our reader, the second reader, and the generator."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from cloister.attestation import cmw, ratls
from cloister.attestation.claims import Claims
from cloister.attestation.ear_claims import read_claims
from cloister.attestation.media_types import THEIR_MEDIA_TYPES
from cloister.cli import evidence, settings
from cloister.cli import token as token_command
from cloister.crypto.carrier import CarrierCertificate
from cloister.crypto.chain import MAX_CERTIFICATE_BYTES
from cloister.crypto.jose import from_base64url
from cloister.errors import CloisterError
from evidence_samples import folder, load
from spec.test_evidence_command import ALWAYS, FAMILIES, NOT_ALONE, endorsements, kind_of

RUN: Final = CliRunner()
ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs/spec/vectors/evidence-interop-v1"
PAGE: Final = (ROOT / "docs/spec/evidence-interop-v1.md").read_text("utf-8")
CASES: Final = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))
}
CLAIMS: Final = Claims(
    root_of_trust="tdx",
    anchor=bytes(32),
    hardware_rooted=False,
    measurement=bytes(48),
    report_data=b"",
    debug=False,
    security_version=0,
    status="",
    advisories=(),
    hardware_id=b"",
    vendor={},
)


def judge(case: dict[str, Any]) -> None:
    """Read a vector as whoever judges does, and compare what comes out."""
    if "certificate" in case:
        found = ratls.read_certificate_evidence(
            CarrierCertificate.from_der(bytes.fromhex(case["certificate"])),
            media_types=case["media_types"],
            at=case["at"],
        )
        report_data = bytes.fromhex(case["claims"])
        found.require_bound(dataclasses.replace(CLAIMS, report_data=report_data))
        nonce = None if found.nonce is None else found.nonce.hex()
        assert (found.form, nonce) == (case["form"], case["nonce"])
        return
    serialisation, content = cmw.read_cmw(bytes.fromhex(case["cmw"]))
    assert serialisation == case["serialisation"]
    items = [
        {
            "path": list(path),
            "type": item.content_format if isinstance(item, cmw.CmwTag) else item.type,
            "value": item.value.hex(),
            "indicator": None if isinstance(item, cmw.CmwTag) else item.indicator,
        }
        for path, item in cmw.items_in(content)
    ]
    assert items == case["items"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.spec(CASES[name]["clause"])) for name in CASES]
)
def test_our_reader_agrees(name: str) -> None:
    """What is in a wrapper comes out, or it is refused with its code."""
    case = CASES[name]
    if case["expect"] == "ok":
        judge(case)
        return
    with pytest.raises(CloisterError) as caught:
        judge(case)
    assert caught.value.code == case["expect"], caught.value


def test_every_clause_of_reading_has_a_vector() -> None:
    """But for writing, and for what files and nonces are asked for by a user."""
    of_page = set(re.findall(r"^\[(INT-\d+)\]", PAGE, re.MULTILINE))
    of_vectors = {case["clause"] for case in CASES.values()}
    assert of_vectors <= of_page
    assert of_page - of_vectors == {
        *("INT-12", "INT-32", "INT-34", "INT-40", "INT-41"),
        "INT-35",  # what the library of most second readers refuses: unit/crypto/test_carrier.py
    }


def test_at_least_half_are_refusals() -> None:
    """A page is tested by what it refuses."""
    refused = [name for name, case in CASES.items() if case["expect"] != "ok"]
    assert 2 * len(refused) >= len(CASES) > 100


def test_second_reader_agrees() -> None:
    """A reader written from the page alone gives the same for every vector."""
    done = subprocess.run(
        [sys.executable, FOLDER / "reader.py"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_generator_changes_nothing(tmp_path: Path) -> None:
    """Run again elsewhere, it writes the same files."""
    subprocess.run([sys.executable, FOLDER / "generate.py", tmp_path], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    assert made == {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}


@pytest.mark.spec("INT-13")
def test_numbers_and_names_stand_on_the_page_and_in_the_code() -> None:
    """Once each, and alike."""
    for oid in (ratls.DICE_EXTENSION, ratls.CMW_EXTENSION, ratls.GRAMINE_EXTENSION):
        assert oid in PAGE
    for theirs, ours in THEIR_MEDIA_TYPES.items():
        assert f"| `{theirs}` | `{ours}` |" in PAGE
    assert f"{cmw.MAX_CMW_BYTES:,}".replace(",", " ") in PAGE
    assert f"{MAX_CERTIFICATE_BYTES:,}".replace(",", " ") in PAGE
    assert f"CBOR tag {ratls.INTEL_QUOTE_TAG}" in PAGE


@pytest.fixture(autouse=True)
def _memory_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run inside this process here, which nobody could open again for what comes after."""
    monkeypatch.setattr(settings, "hide_memory", lambda: None)


def _told(folder: Path, words: list[str], out: str) -> tuple[int, dict[str, Any], Path]:
    key, token = folder / "key", folder / out
    if not key.exists():
        RUN.invoke(token_command.app, ["new-key", str(key), str(folder / "jwks")])
    words = [*words, "--ear", str(key), "-o", str(token), "--ear-issuer", "me"]
    done = RUN.invoke(evidence.app, [*words, "--ear-audience", "rp", "--ear-nonce", "00" * 8])
    return done.exit_code, json.loads(done.stdout), token


@pytest.mark.parametrize("family", FAMILIES)
def test_genuine_evidence_in_a_wrapper_and_as_a_token(family: str, tmp_path: Path) -> None:
    """The first samples of a kind get the same verdict in a CMW, and an EAR that says it."""
    told = 0
    for described in sorted(folder(family).glob("*/sample.json"))[:3]:
        facts, path = load(described), described.parent
        kind = kind_of(family, path.name)
        checks = facts.get("checks", [{"verify_at": facts.get("verify_at", ALWAYS)}])
        if path.name in NOT_ALONE or not checks:
            continue
        words = ["--kind", kind, "--at", checks[0]["verify_at"], "--json"]
        for each in endorsements(path, family, facts, checks[0]):
            words += ["--endorsements", str(each)]
        status, plain, token = _told(tmp_path, ["verify", str(path), *words], f"{path.name}.ear")
        wrapped = tmp_path / f"{path.name}.cmw"
        convert = ["convert", str(path), str(wrapped), "--kind", kind, "--to", "cmw-cbor"]
        assert RUN.invoke(evidence.app, convert).exit_code == 0
        if family not in {"nvidia"}:  # what lies beside a folder's evidence vouches for it
            done = RUN.invoke(evidence.app, ["verify", str(wrapped), *words])
            if checks[0].get("collateral") or family in {"nitro", "cca"}:
                assert (done.exit_code, json.loads(done.stdout)) == (status, plain)
        _, payload, _ = token.read_text().split(".")
        claims = read_claims(from_base64url(payload, what="payload"))
        assert claims.status == ("contraindicated" if status else "warning")
        assert claims.hardware_rooted == plain["hardware_rooted"]
        told += 1
    assert told
