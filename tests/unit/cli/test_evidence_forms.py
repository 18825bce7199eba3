"""`cloister evidence verify` on wrappers of others: found by themselves, never judged unbound."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cloister.attestation.cmw import (
    CmwCollection,
    CmwRecord,
    CmwTag,
    write_cbor_cmw,
    write_json_cmw,
)
from cloister.attestation.ratls import (
    CMW_EXTENSION,
    DICE_EXTENSION,
    GRAMINE_EXTENSION,
    claims_buffer,
    cmw_extension,
    report_data_of_buffer,
    report_data_of_key,
    tagged_evidence,
)
from cloister.crypto.digest import sha256
from cloister.crypto.x509 import TLSKey
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from unit.cli.test_evidence import INSTANT, NOW, code, run

TDX, SNP = "application/vnd.cloister.tdx", "application/vnd.cloister.snp"
NONCE = b"given out by the peer"
INTEL = SimulatedIntel(b"seed", at=NOW)


class Certified:
    """A simulated TD's certificate, and what vouches for its quote."""

    def __init__(
        self, folder: Path, form: str, *, about: TLSKey | None = None, **case: Any
    ) -> None:
        key = TLSKey.generate()
        spki = (about or key).public_key_info()
        buffer = claims_buffer(key.public_key_info(), NONCE)
        report_data = {
            DICE_EXTENSION: report_data_of_buffer(claims_buffer(spki, NONCE)).value,
            CMW_EXTENSION: report_data_of_key(spki).value,
            GRAMINE_EXTENSION: sha256(spki) + bytes(32),
        }[form]
        minted = INTEL.mint(IntelCase("tdx5", report_data=report_data, **case))
        value = {
            DICE_EXTENSION: lambda: tagged_evidence(minted.evidence, buffer),
            CMW_EXTENSION: lambda: cmw_extension(minted.evidence),
            GRAMINE_EXTENSION: lambda: minted.quote,
        }[form]()
        self.path, self.collateral = folder / "peer.pem", folder / "collateral.json"
        self.path.write_bytes(
            key.self_signed(extension=form, value=value, at=NOW - 3600, lifetime_s=86400)
        )
        self.collateral.write_bytes(minted.collateral)
        self.words = (
            *("verify", self.path, "--kind", "tdx", "--at", INSTANT, "--json"),
            *("--endorsements", self.collateral, "--anchor", "sha256:" + INTEL.anchor.hex()),
        )

    def judge(self, *words: str | Path) -> tuple[int, dict[str, Any]]:
        """Judge it under the simulated root."""
        done = run(*self.words, *words)
        return done.exit_code, json.loads(done.stdout)


FORMS = [DICE_EXTENSION, CMW_EXTENSION, GRAMINE_EXTENSION]


@pytest.mark.spec("INT-31", "INT-40")
@pytest.mark.parametrize("form", FORMS)
def test_a_certificate_about_its_own_key_is_accepted(tmp_path: Path, form: str) -> None:
    """And its report data counts as checked, since the key is in it."""
    status, record = Certified(tmp_path, form).judge()
    assert (status, record["verdict"]) == (0, "accept"), record["reasons"]
    left_out = {each["rule"] for each in record["not_checked"]}
    assert "report_data" not in left_out
    assert ("certificate.nonce" in left_out) == (form != DICE_EXTENSION)


@pytest.mark.spec("INT-31")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("words", [(), ("--format", "certificate")])
def test_genuine_evidence_about_another_key_is_refused(
    tmp_path: Path, form: str, words: tuple[str, ...]
) -> None:
    """By its own code, and no option judges it without the key."""
    status, record = Certified(tmp_path, form, about=TLSKey.generate()).judge(*words)
    assert (status, [each["code"] for each in record["reasons"]]) == (77, ["evidence.binding"])


@pytest.mark.parametrize("form", FORMS)
def test_a_bound_certificate_does_not_excuse_its_evidence(tmp_path: Path, form: str) -> None:
    """A debuggable TD is refused in a certificate as it is alone; a forged quote, too."""
    status, record = Certified(tmp_path, form, debug=True).judge()
    assert (status, record["reasons"][0]["code"]) == (77, "appraisal.claim")
    forged = Certified(tmp_path, form, forged=frozenset({"quote"})).judge()[1]
    assert forged["reasons"][0]["code"] == "evidence.signature"


@pytest.mark.spec("INT-32")
def test_the_nonce_of_a_certificate_is_the_one_that_was_given_out(tmp_path: Path) -> None:
    """Only the interoperable form has a place for it."""
    made = Certified(tmp_path, DICE_EXTENSION)
    assert made.judge("--nonce", NONCE.hex())[0] == 0
    status, record = made.judge("--nonce", (b"x" * 16).hex())
    assert (status, record["reasons"][0]["code"]) == (77, "evidence.binding")
    for form in (CMW_EXTENSION, GRAMINE_EXTENSION):
        status, record = Certified(tmp_path, form).judge("--nonce", NONCE.hex())
        assert (status, record["reasons"][0]["code"]) == (77, "evidence.binding")


@pytest.mark.spec("INT-31")
def test_a_policys_own_rule_for_the_report_data_holds_besides(tmp_path: Path) -> None:
    """The certificate's key does not take its place."""
    from unit.cli.test_evidence import POLICY  # noqa: PLC0415  # where it is used

    made = Certified(tmp_path, DICE_EXTENSION)
    _, record = made.judge()
    facts = {
        "anchor": INTEL.anchor.hex(),
        "measurement": record["claims"]["measurement"],
        "status": "UpToDate",
    }
    policy = tmp_path / "policy.yaml"
    found = record["claims"]["report_data"]
    for wanted, status in ((found, 0), ("00" * 64, 77)):
        rule = "report_data: {{one_of: ['" + wanted + "']}}"
        text = POLICY.replace("report_data: {{unchecked: given by another rule}}", rule)
        policy.write_text(text.format(**facts))
        assert made.judge("--policy", policy)[0] == status


@pytest.mark.parametrize("other", ["sgx", "snp"])
def test_a_certificate_of_another_kind_is_refused(tmp_path: Path, other: str) -> None:
    """What it carries does not decide as what it is judged."""
    made = Certified(tmp_path, DICE_EXTENSION)
    anchor = "sha256:" + INTEL.anchor.hex()
    done = run("verify", made.path, "--kind", other, "--at", INSTANT, "--anchor", anchor, "--json")
    record = json.loads(done.stdout)
    assert (done.exit_code, record["reasons"][0]["code"]) == (77, "evidence.kind")


def snp(folder: Path) -> tuple[bytes, tuple[str | Path, ...]]:
    """A simulated report, and the words that judge it."""
    amd = SimulatedAmd(b"seed", "Milan", now=NOW)
    chip = amd.chip()
    words: list[str | Path] = ["--kind", "snp", "--at", INSTANT, "--json"]
    words += ["--anchor", "sha256:" + amd.anchor.hex()]
    for number, each in enumerate(amd.endorsements(chip)):
        path = folder / f"endorsement-{number}"
        path.write_bytes(each.body)
        words += ["--endorsements", path]
    return chip.report(version=3), tuple(words)


@pytest.mark.spec("INT-40")
@pytest.mark.parametrize("name", [SNP, "application/vnd.amd.sev-snp.attestation-report"])
def test_a_cmw_is_found_by_itself(tmp_path: Path, name: str) -> None:
    """In CBOR and JSON, alone and in a collection with something else."""
    report, words = snp(tmp_path)
    record, path = CmwRecord(name, report, 4), tmp_path / "evidence.cmw"
    other = CmwRecord("application/x", b"x", None)
    both = CmwCollection("1.2.3", (("cpu", record), ("other", other)))
    for data in map(write_cbor_cmw, (record, both)):
        path.write_bytes(data)
        assert run("verify", path, *words).exit_code == 0
    for data in map(write_json_cmw, (record, both)):
        path.write_bytes(data + b"\n")
        assert run("verify", path, *words).exit_code == 0
        assert run("verify", path, *words, "--format", "cmw").exit_code == 0


@pytest.mark.spec("INT-40")
def test_a_raw_report_and_an_envelope_are_no_cmw(tmp_path: Path) -> None:
    """They are read as before."""
    from cloister.attestation.evidence import Evidence  # noqa: PLC0415  # where it is used

    report, words = snp(tmp_path)
    path = tmp_path / "evidence"
    for data in (report, Evidence(SNP, report).to_bytes()):
        path.write_bytes(data)
        assert run("verify", path, *words).exit_code == 0
        assert run("verify", path, *words, "--format", "plain").exit_code == 0


@pytest.mark.spec("INT-41")
def test_a_file_is_what_the_user_says_or_is_refused(tmp_path: Path) -> None:
    """It is not read as something else then."""
    report, words = snp(tmp_path)
    path = tmp_path / "evidence"
    cases = [
        (report, "cmw", "cmw.malformed"),
        (report, "certificate", "certificate.malformed"),
        (write_cbor_cmw(CmwRecord(SNP, report, 4)), "certificate", "certificate.malformed"),
        (write_cbor_cmw(CmwRecord(SNP, report, 4)), "plain", "evidence.malformed"),
    ]
    for data, form, expected in cases:
        path.write_bytes(data)
        done = run("verify", path, *words, "--format", form)
        assert json.loads(done.stdout)["reasons"][0]["code"] == expected, (form, done.stdout)
    for form in ("vax", "cmw", "certificate"):
        where = path if form == "vax" else tmp_path
        assert code("verify", where, *words, "--format", form) == "config.value"


@pytest.mark.parametrize(
    "cmw",
    [
        CmwRecord("application/x", b"x", 4),
        CmwTag(30001, b"x"),
        CmwRecord(SNP, b"x", 8),
        CmwCollection(None, (("a", CmwRecord(SNP, b"x", 4)), ("b", CmwRecord(SNP, b"x", 4)))),
    ],
)
def test_a_cmw_without_the_one_piece_of_evidence_is_refused(tmp_path: Path, cmw: Any) -> None:
    """And never read as raw bytes."""
    _, words = snp(tmp_path)
    path = tmp_path / "evidence"
    path.write_bytes(write_cbor_cmw(cmw))
    done = run("verify", path, *words)
    assert (done.exit_code, json.loads(done.stdout)["reasons"][0]["code"]) == (77, "evidence.kind")


def test_two_certificates_in_a_file_are_refused(tmp_path: Path) -> None:
    """Which of them was meant, nobody says."""
    made = Certified(tmp_path, DICE_EXTENSION)
    made.path.write_bytes(2 * made.path.read_bytes())
    status, record = made.judge()
    assert (status, record["reasons"][0]["code"]) == (77, "certificate.malformed")


def test_a_certificate_in_der_is_read_too(tmp_path: Path) -> None:
    """By itself."""
    made = Certified(tmp_path, DICE_EXTENSION)
    lines = made.path.read_bytes().splitlines()[1:-1]
    made.path.write_bytes(base64.b64decode(b"".join(lines)))
    assert made.judge()[0] == 0


def test_an_event_log_does_not_go_with_a_wrapper(tmp_path: Path) -> None:
    """The user takes the quote out first."""
    made = Certified(tmp_path, DICE_EXTENSION)
    assert code(*made.words, "--event-log", made.collateral) == "config.value"


def test_show_opens_a_wrapper_and_judges_nothing(tmp_path: Path) -> None:
    """Also where the certificate has expired."""
    made = Certified(tmp_path, DICE_EXTENSION, about=TLSKey.generate())
    done = run("show", made.path, "--kind", "tdx", "--json")
    record = json.loads(done.stdout)
    assert (done.exit_code, record["judged"], record["media_type"]) == (0, False, TDX)
