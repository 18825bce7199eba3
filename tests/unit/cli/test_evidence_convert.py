"""`cloister evidence convert`: other forms of the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloister.attestation.cmw import CmwCollection, CmwRecord, CmwTag, read_cmw, write_cbor_cmw
from cloister.attestation.evidence import Evidence
from unit.cli.test_evidence import code, run

SNP, THEIRS = "application/vnd.cloister.snp", "application/vnd.amd.sev-snp.attestation-report"
BODY = b"\x03\0\0\0 some report"


def convert(path: Path, out: str, to: str, *words: str) -> bytes:
    """Convert a file; returns what was written."""
    made = path.with_name(out)
    done = run("convert", path, made, "--kind", "snp", "--to", to, *words, "--json")
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["media_type"] == SNP
    assert made.stat().st_mode & 0o077 == 0
    return made.read_bytes()


def test_there_and_back(tmp_path: Path) -> None:
    """Raw, CMW in JSON, CMW in CBOR, an envelope, raw."""
    raw = tmp_path / "raw"
    raw.write_bytes(BODY)
    as_json = convert(raw, "json", "cmw-json")
    assert read_cmw(as_json) == ("json", CmwRecord(THEIRS, BODY, 4))
    as_cbor = convert(tmp_path / "json", "cbor", "cmw-cbor")
    assert read_cmw(as_cbor) == ("cbor", CmwRecord(THEIRS, BODY, 4))
    assert convert(tmp_path / "cbor", "envelope", "envelope") == Evidence(SNP, BODY).to_bytes()
    assert convert(tmp_path / "envelope", "again", "raw") == BODY


def test_a_tag_stands_for_a_number_that_the_user_names(tmp_path: Path) -> None:
    """In both directions; without it, it stands for nothing."""
    raw = tmp_path / "raw"
    raw.write_bytes(BODY)
    tagged = convert(raw, "tag", "cmw-tag", "--content-format", "30001")
    assert read_cmw(tagged) == ("cbor", CmwTag(30001, BODY))
    assert convert(tmp_path / "tag", "back", "raw", "--content-format", "30001") == BODY
    words = ("convert", tmp_path / "tag", tmp_path / "x", "--kind", "snp")
    assert code(*words, "--to", "raw") == "evidence.kind"
    assert code(*words, "--to", "raw", "--content-format", "30002") == "config.value"
    assert code("convert", raw, tmp_path / "x", "--kind", "snp", "--to", "cmw-tag") == (
        "config.missing"
    )


def test_an_item_of_a_collection(tmp_path: Path) -> None:
    """By its labels, of two that fit."""
    first, second = (CmwRecord(SNP, BODY + n, 4) for n in (b"1", b"2"))
    inner = CmwCollection(None, ((7, second),))
    path = tmp_path / "both"
    path.write_bytes(write_cbor_cmw(CmwCollection(None, (("a", first), ("b", inner)))))
    assert convert(path, "one", "raw", "--item", "a") == BODY + b"1"
    assert convert(path, "two", "raw", "--item", "b/7") == BODY + b"2"
    words = ("convert", path, tmp_path / "x", "--kind", "snp", "--to", "raw")
    assert code(*words) == "evidence.kind"
    assert code(*words, "--item", "c") == "config.value"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--kind", "vax", "--to", "raw"), "config.value"),
        (("--kind", "snp", "--to", "paper"), "config.value"),
        (("--kind", "snp", "--to", "raw", "--item", "a"), "cmw.malformed"),
    ],
)
def test_mistakes(tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    """Nothing is written."""
    raw = tmp_path / "raw"
    raw.write_bytes(BODY)
    assert code("convert", raw, tmp_path / "x", *words) == expected
    assert not (tmp_path / "x").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A file that is there stays."""
    raw = tmp_path / "raw"
    raw.write_bytes(BODY)
    assert code("convert", raw, raw, "--kind", "snp", "--to", "cmw-json") == "config.exists"
    assert raw.read_bytes() == BODY


def test_people_read_what_was_written(tmp_path: Path) -> None:
    """And that nobody judged it."""
    raw = tmp_path / "raw"
    raw.write_bytes(BODY)
    done = run("convert", raw, tmp_path / "x", "--kind", "snp", "--to", "cmw-json")
    assert "cmw-json" in done.stdout
    assert "not judged" in done.stderr
