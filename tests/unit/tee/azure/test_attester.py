"""Azure's VMs, simulated around a vTPM that is not ours: collected, and accepted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cloister.attestation.evidence import Endorsement, EvidenceVerifier, ReportData
from cloister.attestation.evidence_rules import OneOf
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.digest import sha256
from cloister.errors import CloisterError
from cloister.tee.azure.attester import AK_HANDLE, HCL_INDEX, AzureAttester
from cloister.tee.azure.fields import SNP_FIELDS_OF_AZURE
from cloister.tee.azure.layout import AzureEvidence, HclReport
from cloister.tee.azure.metadata import MetadataService
from cloister.tee.azure.tdx import TDX_FIELDS_OF_AZURE, azure_tdx_verifier
from cloister.tee.azure.verifier import AzureSnpVerifier
from cloister.tee.tpm.commands import Tpm
from cloister.tee.tpm.public import ak_template
from cloister.tee.tpm.transport import TpmTransport
from cloister.testing.azure import Firmware, MetadataFake
from cloister.testing.manufacturers.azure import SimulatedAzureTd, SimulatedAzureVm
from cloister.testing.swtpm import SoftwareTpm

DATA = bytes(range(64))
VM = SimulatedAzureVm(b"attester")
TD = SimulatedAzureTd(b"attester")


@contextmanager
def opened(firmware: Firmware, software: SoftwareTpm) -> Iterator[Tpm]:
    """The vTPM as the guest has it."""
    with software.transport() as transport:
        yield Tpm(firmware.below(transport))


def accepted(verifier: EvidenceVerifier, fields: Any, evidence: Any, given: Any) -> dict[str, Any]:
    """Judge evidence over DATA strictly; returns its claims by the manufacturer's names."""
    claims = verifier.verify(evidence, given, at=VM.amd.now)
    verdict = appraise_claims(
        claims, fields, default_rules(fields) | {"report_data": OneOf((DATA,))}
    )
    assert verdict.accepted, verdict.reasons
    return dict(claims.vendor)


@pytest.mark.spec("AZ-10", "AZ-11")
def test_a_vm_on_snp_is_collected_and_accepted(swtpm: SoftwareTpm) -> None:
    """Report, key and quote belong together, for anybody who trusts AMD."""
    with opened(Firmware(swtpm, VM.hcl), swtpm) as tpm:
        attester = AzureAttester(tpm, "snp")
        evidence = attester.collect(ReportData(DATA))
        shorter = attester.collect_over(DATA[:32])
    verifier = AzureSnpVerifier([VM.amd.anchor])
    found = accepted(verifier, SNP_FIELDS_OF_AZURE, evidence, VM.endorsements())
    assert found["user_data"] == bytes(64)
    claims = verifier.verify(shorter, VM.endorsements(), at=VM.amd.now)
    assert claims.report_data == DATA[:32]


@pytest.mark.spec("AZ-13", "AZ-14")
def test_a_vm_on_tdx_is_collected_and_accepted(swtpm: SoftwareTpm) -> None:
    """The metadata service makes a TD quote of the local report."""
    vouching: list[Endorsement] = []

    def quote(report: bytes) -> bytes:
        minted = TD.mint(report)
        vouching.extend(minted.endorsements)
        return minted.quote

    with MetadataFake(quote) as metadata, opened(Firmware(swtpm, TD.hcl), swtpm) as tpm:
        attester = AzureAttester(tpm, "tdx", metadata=MetadataService(metadata.address))
        evidence = attester.collect(ReportData(DATA))
    verifier = azure_tdx_verifier([TD.intel.anchor])
    assert accepted(verifier, TDX_FIELDS_OF_AZURE, evidence, vouching)


@pytest.mark.spec("AZ-12")
def test_a_new_report_covers_the_guests_data(swtpm: SoftwareTpm) -> None:
    """As soon as the firmware has made it; one that never comes is waited for, not replaced."""
    firmware = Firmware(swtpm, VM.hcl)
    naps: list[float] = []
    user_data = DATA[::-1]
    with opened(firmware, swtpm) as tpm:
        firmware.delay = 12
        attester = AzureAttester(
            tpm, "snp", user_data=user_data, sleep=naps.append, clock=lambda: float(len(naps))
        )
        evidence = attester.collect(ReportData(DATA))
        firmware.delay = 10**6
        with pytest.raises(CloisterError) as e:
            dataclasses.replace(attester, user_data=DATA).collect(ReportData(DATA))
    assert e.value.code == "attester.busy"
    assert 1 <= len(naps) < 50
    found = accepted(
        AzureSnpVerifier([VM.amd.anchor]), SNP_FIELDS_OF_AZURE, evidence, VM.endorsements()
    )
    assert found["user_data"] == user_data


@pytest.mark.spec("AZ-10")
def test_a_vm_of_the_other_kind_says_which_it_is(swtpm: SoftwareTpm) -> None:
    """Before anything is quoted."""
    with opened(Firmware(swtpm, TD.hcl), swtpm) as tpm, pytest.raises(CloisterError) as e:
        AzureAttester(tpm, "snp").collect(ReportData(DATA))
    assert (e.value.code, e.value.hint) == ("machine.attester", "--kind azure-tdx")


def test_a_machine_that_is_no_azure_vm_says_so(swtpm: SoftwareTpm) -> None:
    """No report; then a report and no key."""
    with swtpm.transport() as transport, pytest.raises(CloisterError) as e:
        AzureAttester(Tpm(transport), "snp").collect(ReportData(DATA))
    assert e.value.code == "machine.attester"
    runtime = VM.runtime(keys=VM.runtime()["keys"][:1])
    swtpm.store(HCL_INDEX, VM.hcl(str(runtime).replace("'", '"').encode()).to_bytes()[:1300])
    with swtpm.transport() as transport, pytest.raises(CloisterError) as cut:
        AzureAttester(Tpm(transport), "snp").collect(ReportData(DATA))
    assert cut.value.code == "evidence.malformed"


@pytest.mark.spec("AZ-11")
def test_a_key_that_the_report_does_not_name_is_not_used(swtpm: SoftwareTpm) -> None:
    """The report is another VM's, or the key was replaced."""
    swtpm.persist(AK_HANDLE)
    keys = VM.runtime()["keys"][:1]
    runtime = str(VM.runtime(keys=keys)).replace("'", '"').replace("True", "true")
    hcl = VM.hcl(runtime.replace("False", "false").encode())
    swtpm.store(HCL_INDEX, hcl.to_bytes())
    with swtpm.transport() as transport, pytest.raises(CloisterError) as e:
        AzureAttester(Tpm(transport), "snp").collect(ReportData(DATA))
    assert e.value.code == "attester.failed"


@pytest.mark.spec("AZ-11")
def test_a_key_that_signs_anything_is_not_used(swtpm: SoftwareTpm) -> None:
    """Though the report names it: what it signs need not be the vTPM's word."""
    unrestricted = bytearray(ak_template("rsa"))
    unrestricted[5] &= 0xFE
    firmware = Firmware(swtpm, VM.hcl, template=bytes(unrestricted))
    with opened(firmware, swtpm) as tpm, pytest.raises(CloisterError) as e:
        AzureAttester(tpm, "snp").collect(ReportData(DATA))
    assert (e.value.code, e.value.detail) == ("machine.attester", "it is no restricted signing key")


@pytest.mark.spec("AZ-13")
def test_a_report_that_covers_something_else_is_not_given_out(swtpm: SoftwareTpm) -> None:
    """On SNP by its report data, on TDX by that of the quote; and what cannot be read."""

    def other(runtime: bytes) -> HclReport:
        return VM.hcl(runtime, report_data=sha256(b"other").ljust(64, b"\0"))

    def unread(runtime: bytes) -> HclReport:
        return HclReport("snp", bytes(1184), runtime)

    for mint, code in ((other, "attester.failed"), (unread, "machine.attester")):
        with SoftwareTpm() as software, opened(Firmware(software, mint), software) as tpm:
            with pytest.raises(CloisterError) as e:
                AzureAttester(tpm, "snp").collect(ReportData(DATA))
            assert e.value.code == code
    with (
        MetadataFake(lambda _report: TD.mint(bytes(1024)).quote) as metadata,
        opened(Firmware(swtpm, TD.hcl), swtpm) as tpm,
        pytest.raises(CloisterError) as e,
    ):
        AzureAttester(tpm, "tdx", metadata=MetadataService(metadata.address)).collect(
            ReportData(DATA)
        )
    assert e.value.code == "attester.failed"


def test_the_quote_can_be_of_some_registers(swtpm: SoftwareTpm) -> None:
    """Those of SHA-256 that the caller names."""
    with opened(Firmware(swtpm, VM.hcl), swtpm) as tpm:
        evidence = AzureAttester(tpm, "snp", pcrs=(0, 7)).collect(ReportData(DATA))
    assert len(AzureEvidence.from_bytes(evidence.body).quote.values) == 2


@pytest.mark.parametrize("changes", [{"user_data": b"short"}, {"pcrs": ()}, {"pcrs": (7, 0)}])
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any]) -> None:
    """Before anything is asked."""

    class Nobody(TpmTransport):
        def exchange(self, command: bytes) -> bytes:
            raise AssertionError(command)

    with pytest.raises(CloisterError) as e:
        AzureAttester(Tpm(Nobody()), "snp", **changes)
    assert e.value.code == "config.value"
    for data in (b"", bytes(65)):
        with pytest.raises(CloisterError) as length:
            AzureAttester(Tpm(Nobody()), "snp").collect_over(data)
        assert length.value.code == "caller.misuse"
