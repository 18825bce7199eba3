"""`cloister evidence verify` says of every genuine sample what is known of it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from cloister.cli import evidence
from evidence_samples import folder, instant

RUN: Final = CliRunner()
ALWAYS: Final = "2026-01-01T00:00:00Z"
NOT_ALONE: Final = {"hcl-kinvolk-snp", "tdx-coco-v0"}  # parts, and another sample's collateral
FAMILIES: Final = ("sgx", "tdx", "snp", "azure", "tpm", "nvidia", "nitro", "cca")


def kind_of(family: str, name: str) -> str:
    """The kind of a sample's evidence."""
    return f"azure-{name.partition('-')[0]}" if family == "azure" else family


def verdict(path: Path, kind: str, at: str, given: list[Path]) -> tuple[int, dict[str, Any]]:
    """Run the command; returns status and record."""
    words = ["verify", str(path), "--kind", kind, "--at", at, "--json"]
    for each in given:
        words += ["--endorsements", str(each)]
    done = RUN.invoke(evidence.app, words)
    return done.exit_code, json.loads(done.stdout)


def endorsements(
    path: Path, family: str, facts: dict[str, Any], check: dict[str, Any]
) -> list[Path]:
    """What a user names for one check; the folder's own files where that is nothing."""
    names = [check.get("collateral"), check.get("crl")]
    if family == "snp":
        names += [facts["certificates"]["leaf"], facts["certificates"]["chain"]]
    if family == "tpm":
        names.append("ak_pub.pem")
    if family == "cca":
        names.append("cpak.jwk.json")
    return [path / name for name in names if name]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_sample_gets_its_verdict(family: str) -> None:
    """At every instant that it names; statuses are the manufacturers' words."""
    judged = 0
    for described in sorted(folder(family).glob("*/sample.json")):
        facts, path = json.loads(described.read_text("utf-8")), described.parent
        if ("checks" in facts and not facts["checks"]) or path.name in {
            "hcl-kinvolk-snp",
            "tdx-coco-v0",
        }:
            continue  # not to be judged by itself
        usual = {"verify_at": facts.get("verify_at", ALWAYS), "expect": facts.get("expect")}
        for check in facts.get("checks", [usual]):
            given = endorsements(path, family, facts, check)
            status, record = verdict(path, kind_of(family, path.name), check["verify_at"], given)
            expected = check["expect"]["default_verdict"]
            accepted = expected.startswith("accept")
            assert (record["verdict"] == "accept") == accepted, (path, check)
            assert status == (0 if accepted else 77)
            assert bool(record["reasons"]) == (not accepted)
            known = check["expect"].get("tcb_status")
            if known and known != "NoMatchingTcbLevel":
                assert record["status"] == known
            judged += 1
    assert judged


RAW: Final = {
    "sgx": "quote.bin",
    "tdx": "quote.bin",
    "snp": "report.bin",
    "nvidia": "report.bin",
    "nitro": "document.cbor",
    "cca": "token.cbor",
}


@pytest.mark.parametrize("family", RAW)
def test_a_raw_file_gets_the_verdict_of_its_folder(family: str, tmp_path: Path) -> None:
    """Its endorsements behind one option; the record is the same, and so is one of its text."""
    judged = 0
    for described in sorted(folder(family).glob("*/sample.json")):
        facts, path = json.loads(described.read_text("utf-8")), described.parent
        raw = path / RAW[family]
        if not raw.is_file() or ("checks" in facts and not facts["checks"]):
            continue
        usual = {"verify_at": facts.get("verify_at", ALWAYS), "expect": facts.get("expect")}
        for check in facts.get("checks", [usual])[-1:]:
            given = endorsements(path, family, facts, check)
            if family == "nvidia":
                given = [path / "cert_chain.pem"]
            at = check["verify_at"]
            expected = verdict(path, family, at, given)
            text = tmp_path / "text"
            text.write_text(raw.read_bytes().hex())
            for file in (raw, text):
                words = ["verify", str(file), "--kind", family, "--at", at, "--json"]
                if given:
                    words += ["--endorsements", *map(str, given)]
                done = RUN.invoke(evidence.app, words)
                assert (done.exit_code, json.loads(done.stdout)) == expected, (path, check)
            judged += 1
    assert judged


def test_folders_of_collateral_and_chains_serve_every_sample() -> None:
    """Named whole, they give what the one that is about the evidence gives."""
    intel, amd = folder("dcap-collateral"), folder("snp") / "_amd"
    judged = 0
    for family in ("tdx", "snp"):
        for described in sorted(folder(family).glob("*/sample.json")):
            facts, path = json.loads(described.read_text("utf-8")), described.parent
            for check in facts["checks"][-1:]:
                given = [intel]
                if family == "snp":
                    given = [path / facts["certificates"]["leaf"], amd]
                    if not check.get("crl"):
                        continue  # of those that have no list, a folder with lists says so
                status, record = verdict(path, family, check["verify_at"], given)
                alone = verdict(
                    path, family, check["verify_at"], endorsements(path, family, facts, check)
                )
                assert (status, record["verdict"]) == (alone[0], alone[1]["verdict"]), path
                judged += 1
    assert judged


def test_certificates_of_other_chips_are_refused() -> None:
    """For every report, alone and beside nothing else that fits."""
    for described in sorted(folder("snp").glob("*/sample.json")):
        facts, path = json.loads(described.read_text("utf-8")), described.parent
        chain = path / facts["certificates"]["chain"]
        for other in sorted((folder("snp") / "_other_vcek").glob("*.der")):
            at = facts["checks"][0]["verify_at"]
            status, record = verdict(path / "report.bin", "snp", at, [other, chain])
            assert (status, record["verdict"]) == (77, "reject"), (path, other)


def test_one_second_outside_decides_or_refuses() -> None:
    """Both ends of what is valid."""
    for family in ("tdx", "snp"):
        for described in sorted(folder(family).glob("*/sample.json")):
            facts, path = json.loads(described.read_text("utf-8")), described.parent
            for check in facts["checks"]:
                if not check["expect"]["default_verdict"].startswith("accept"):
                    continue
                given = endorsements(path, family, facts, check)
                for name, step in (("valid_from", -1), ("valid_until", 1)):
                    edge = instant(check[name])
                    for at, good in ((edge, True), (edge + step, False)):
                        text = f"{_iso(at)}Z"
                        status, _ = verdict(path, family, text, given)
                        assert (status == 0) == good, (path, check[name], step)


def _iso(at: int) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize("family", ["sgx", "tdx", "snp", "tpm", "nvidia", "nitro", "cca"])
def test_every_sample_is_shown_without_being_judged(family: str) -> None:
    """Whatever is wrong with it otherwise."""
    for described in sorted(folder(family).glob("*/sample.json")):
        path = described.parent
        words = ["show", str(path), "--kind", family, "--json"]
        done = RUN.invoke(evidence.app, words)
        assert done.exit_code == 0, (path, done.exception)
        assert json.loads(done.stdout)["judged"] is False
