"""Genuine evidence of Azure's confidential VMs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.evidence_rules import OneOf, Unchecked
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.digest import sha256
from cloister.errors import CloisterError, EndorsementError, EvidenceError
from cloister.tee.azure.fields import SNP_FIELDS_OF_AZURE
from cloister.tee.azure.layout import SNP_TYPE, TDX_TYPE, AzureEvidence, HclReport, RuntimeData
from cloister.tee.azure.tdx import TDX_FIELDS_OF_AZURE, azure_tdx_verifier
from cloister.tee.azure.verifier import AzureSnpVerifier, AzureTdxVerifier
from cloister.tee.intel.endorsements import COLLATERAL_TYPE
from cloister.tee.intel.roots import INTEL_ROOTS
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE
from cloister.tee.snp.layout import Report
from cloister.tee.snp.roots import AMD_ROOTS
from cloister.tee.tpm.layout import Quote, QuoteParts, Signature
from evidence_samples import folder, instant, load, mutations

SAMPLES: Final = ("hcl-kinvolk-snp", "snp-coco-v1", "tdx-coco-v0")
MUTATIONS: Final = 1000
VERIFIER: Final = AzureSnpVerifier([root.sha256 for root in AMD_ROOTS])


class Sample:
    """One folder."""

    def __init__(self, name: str) -> None:
        self.path: Final[Path] = folder("azure") / name
        self.text: Final[dict[str, Any]] = load(self.path / "sample.json")
        self.raw: Final = (self.path / "hcl_report.bin").read_bytes()
        self.hcl: Final = HclReport.from_bytes(self.raw)

    def quote(self) -> QuoteParts:
        """The quote; these samples have RSA's bytes alone."""
        message = (self.path / "tpm_quote.msg").read_bytes()
        value = (self.path / "tpm_quote.sig").read_bytes()
        values = load(self.path / "pcrs.json")["pcrs"]
        return QuoteParts(
            message,
            Signature("RSASSA", "sha256", value).to_bytes(),
            tuple(bytes.fromhex(values[str(i)]) for _, i in Quote.from_bytes(message).places()),
            b"",
        )


def endorsements(sample: Sample, *, listed: bool) -> list[Endorsement]:
    chain = (sample.path / sample.text["snp_chain"]).read_bytes()
    found = [
        Endorsement(CERTIFICATE_TYPE, (sample.path / "vcek.der").read_bytes()),
        Endorsement(CHAIN_TYPE, chain),
    ]
    crl = (folder("snp") / "_amd" / "milan.crl.der").read_bytes()
    return found + ([Endorsement(LIST_TYPE, crl)] if listed else [])


def test_every_sample_is_here() -> None:
    """None was added that nobody judges."""
    assert {path.parent.name for path in folder("azure").glob("*/sample.json")} == set(SAMPLES)


@pytest.mark.spec("AZ-3", "AZ-4")
@pytest.mark.parametrize("name", SAMPLES)
def test_the_vtpms_report(name: str) -> None:
    """What the sample says that a parser must find; the hardware's report covers it."""
    sample = Sample(name)
    wanted, hcl = sample.text["expected_fields"], sample.hcl
    assert sample.raw.startswith(hcl.to_bytes())
    assert hcl.platform == {2: "snp", 4: "tdx"}[wanted["hw_report_type"]]
    assert len(hcl.runtime_data) == wanted["runtime_data_length"]
    assert sha256(hcl.runtime_data).hex() == wanted["runtime_data_sha256"]
    place = {"snp": 0x50, "tdx": 128}[hcl.platform]
    bound = hcl.hardware[place : place + 64]
    assert bound.hex() == wanted["report_data"]
    assert bound == sha256(hcl.runtime_data).ljust(64, b"\0")
    runtime = RuntimeData.from_bytes(hcl.runtime_data)
    assert runtime.configuration == wanted["vm_configuration"]
    assert runtime.user_data.hex() == wanted.get("user_data", "")


@pytest.mark.spec("AZ-26", "AZ-27", "AZ-29")
def test_a_genuine_snp_vm() -> None:
    """Accepted with its nonce, rooted in AMD's hardware; not with another nonce."""
    sample = Sample("snp-coco-v1")
    body = AzureEvidence.of(sample.hcl, sample.quote()).to_bytes()
    nonce = bytes.fromhex(sample.text["expect"]["nonce"])
    for listed, at in ((False, instant(sample.text["verify_at"])), (True, 1750000000)):
        claims = VERIFIER.verify(
            Evidence(SNP_TYPE, body), endorsements(sample, listed=listed), at=at
        )
        assert claims.hardware_rooted
        rules = default_rules(SNP_FIELDS_OF_AZURE) | {"report_data": OneOf((nonce,))}
        verdict = appraise_claims(claims, SNP_FIELDS_OF_AZURE, rules)
        assert verdict.accepted == listed
        rules["snp.revocation_checked"] = Unchecked("the sample has no list for it")
        assert appraise_claims(claims, SNP_FIELDS_OF_AZURE, rules).accepted
        rules["report_data"] = OneOf((b"another",))
        assert not appraise_claims(claims, SNP_FIELDS_OF_AZURE, rules).accepted
    wanted, tpm = sample.text["expected_fields"]["tpm_quote"], claims.vendor["tpm"]
    assert isinstance(tpm, dict)
    assert tpm["clock"] == wanted["clock"]
    pcr_digest = tpm["pcr_digest"]
    assert isinstance(pcr_digest, bytes)
    assert pcr_digest.hex() == wanted["pcr_digest"]


@pytest.mark.spec("AZ-22")
def test_both_ends_of_validity() -> None:
    """Accepted at the first and last second of the certificate, and not one second outside."""
    sample = Sample("snp-coco-v1")
    evidence = Evidence(SNP_TYPE, AzureEvidence.of(sample.hcl, sample.quote()).to_bytes())
    given = endorsements(sample, listed=False)
    first, last = (instant(text) for text in sample.text["vcek_valid"])
    assert VERIFIER.verify(evidence, given, at=first) == VERIFIER.verify(evidence, given, at=last)
    for outside in (first - 1, last + 1):
        with pytest.raises(EndorsementError) as e:
            VERIFIER.verify(evidence, given, at=outside)
        assert e.value.code == "endorsement.expired"


class QuotedTd:
    """Takes the report data of a TD quote of version 4; the binding is what is tested."""

    def __init__(self, anchors: Sequence[bytes]) -> None:
        self.anchor: Final = anchors[0]

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        del endorsements, at
        bound = evidence.body[568:632]
        return Claims("tdx", self.anchor, False, b"", bound, False, 0, "", (), b"", {})  # noqa: FBT003  # the claims in their order


@pytest.mark.spec("AZ-24", "AZ-25")
def test_a_genuine_td() -> None:
    """Its TD quote covers the runtime data, whose key quoted; its parts fit nobody else's."""
    sample, snp = Sample("tdx-coco-v0"), Sample("snp-coco-v1")
    td_quote = (sample.path / "td_quote.bin").read_bytes()
    verifier = AzureTdxVerifier([bytes(32)], QuotedTd)
    parts = AzureEvidence.of(sample.hcl, sample.quote(), td_quote=td_quote)
    claims = verifier.verify(Evidence(TDX_TYPE, parts.to_bytes()), [], at=0)
    assert claims.report_data == b"challenge"
    for changed, code in (
        (dataclasses.replace(parts, quote=snp.quote()), "evidence.signature"),
        (dataclasses.replace(parts, runtime_data=snp.hcl.runtime_data), "evidence.parts"),
        (
            dataclasses.replace(parts, report=td_quote[:600] + b"\1" + td_quote[601:]),
            "evidence.parts",
        ),
    ):
        with pytest.raises(EvidenceError) as e:
            verifier.verify(Evidence(TDX_TYPE, changed.to_bytes()), [], at=0)
        assert e.value.code == code


@pytest.mark.spec("AZ-22", "AZ-26")
def test_a_genuine_td_under_intels_root() -> None:
    """With Intel's collateral of its time: genuine, and its platform's status is told."""
    sample = Sample("tdx-coco-v0")
    td_quote = (sample.path / "td_quote.bin").read_bytes()
    body = AzureEvidence.of(sample.hcl, sample.quote(), td_quote=td_quote).to_bytes()
    td = folder("tdx") / "coco-azure"
    verifier = azure_tdx_verifier(sorted(INTEL_ROOTS))
    for check in load(td / "sample.json")["checks"]:
        given = [Endorsement(COLLATERAL_TYPE, (td / check["collateral"]).read_bytes())]
        claims = verifier.verify(Evidence(TDX_TYPE, body), given, at=instant(check["verify_at"]))
        assert claims.hardware_rooted
        assert claims.report_data == b"challenge"
        assert claims.status == check["expect"]["tcb_status"]
        rules = default_rules(TDX_FIELDS_OF_AZURE)
        verdict = appraise_claims(claims, TDX_FIELDS_OF_AZURE, rules)
        assert [reason.detail.partition(":")[0] for reason in verdict.reasons] == [
            "tdx.sept_ve_disable",
            "status",
            "advisories",
        ]


def test_an_older_report_covers_its_key() -> None:
    """Of 2023; no quote came with it, so nothing more is known."""
    sample = Sample("hcl-kinvolk-snp")
    report = Report.from_bytes(sample.hcl.hardware)
    assert report.report_data[:32] == sha256(sample.hcl.runtime_data)
    assert report.vmpl == 0


@pytest.mark.spec("AZ-28")
@pytest.mark.filterwarnings("ignore")
def test_no_mutation_is_accepted() -> None:
    """A thousand."""
    sample = Sample("snp-coco-v1")
    given, at = endorsements(sample, listed=True), 1750000000
    body = AzureEvidence.of(sample.hcl, sample.quote()).to_bytes()
    for changed in mutations(body, count=MUTATIONS, seed=3):
        with pytest.raises(CloisterError):
            VERIFIER.verify(Evidence(SNP_TYPE, changed), given, at=at)
