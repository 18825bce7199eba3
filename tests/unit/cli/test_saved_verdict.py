"""Records of verdicts, read back in the claims' own types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloister.attestation.evidence import Evidence
from cloister.attestation.evidence_rules import claim
from cloister.attestation.verdict import appraise_claims, default_rules, refusal
from cloister.cli.saved_verdict import read_saved
from cloister.errors import ConfigError, EvidenceError
from cloister.tee.registry import by_name
from cloister.testing.manufacturers.amd import SimulatedAmd

NOW = 1_800_000_000


def test_claims_come_back_as_they_were(tmp_path: Path) -> None:
    """Every one of the kind's table, nested ones and versions included."""
    amd = SimulatedAmd(b"seed", "Milan", now=NOW)
    chip = amd.chip()
    root = by_name("snp")
    assert root is not None
    table = root.fields()
    verifier = root.verifier([amd.anchor])
    found = Evidence(root.media_types[0], chip.report(version=3))
    claims = verifier.verify(found, amd.endorsements(chip), at=NOW)
    verdict = appraise_claims(claims, table, default_rules(table))
    path = tmp_path / "verdict.json"
    path.write_text(json.dumps(verdict.as_record()))
    saved = read_saved(path)
    assert saved is not None
    assert (saved.kind, saved.verdict) == ("snp", "accept" if verdict.accepted else "reject")
    again = saved.to_claims(table)
    assert again.anchor == claims.anchor
    for field in table:
        assert claim(again, field.path) == claim(claims, field.path), field.path


def test_a_refusal_has_no_claims(tmp_path: Path) -> None:
    """And no kind."""
    error = EvidenceError("it is forged", code="evidence.signature")
    path = tmp_path / "verdict.json"
    path.write_text(json.dumps(refusal(error).as_record()))
    saved = read_saved(path)
    assert saved is not None
    assert (saved.kind, dict(saved.claims)) == ("", {})


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1]", "\x04\x00\x02", "{" * 100_000])
def test_other_files_are_no_records(tmp_path: Path, text: str) -> None:
    """They may be evidence."""
    path = tmp_path / "file"
    path.write_text(text)
    assert read_saved(path) is None
    assert read_saved(tmp_path) is None


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Is named."""
    with pytest.raises(ConfigError) as e:
        read_saved(tmp_path / "nowhere")
    assert e.value.code == "config.file"
