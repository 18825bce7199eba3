"""Attesters before machines that answer with genuine evidence: what they hand out is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from cloister.attestation.evidence import Endorsement
from cloister.attestation.evidence_rules import OneOf, Unchecked
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.errors import CloisterError
from cloister.tee.azure.attester import AK_HANDLE, HCL_INDEX, AzureAttester
from cloister.tee.azure.fields import SNP_FIELDS_OF_AZURE
from cloister.tee.azure.layout import AzureEvidence
from cloister.tee.azure.metadata import MetadataService
from cloister.tee.azure.verifier import AzureSnpVerifier
from cloister.tee.nvidia.attester import NvidiaAttester
from cloister.tee.nvidia.fields import FIELDS
from cloister.tee.nvidia.layout import GpuReport
from cloister.tee.nvidia.roots import NVIDIA_ROOTS
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE
from cloister.tee.snp.roots import AMD_ROOTS
from cloister.tee.tdx.layout import read_quote
from cloister.tee.tpm.commands import Tpm
from cloister.tee.tpm.exchange import sized
from cloister.testing.azure import MetadataFake
from cloister.testing.nvml import FakeNvml
from evidence_samples import folder, instant, load

QUOTE_SCHEME: Final = bytes.fromhex("0014 000b")


class RecordedVtpm:
    """Answers a guest's commands with what a VM of Azure's once answered."""

    def __init__(self, sample: Path) -> None:
        self.hcl = (sample / "hcl_report.bin").read_bytes()
        self.message = (sample / "tpm_quote.msg").read_bytes()
        self.signature = (sample / "tpm_quote.sig").read_bytes()
        self.pcrs: dict[str, str] = load(sample / "pcrs.json")["pcrs"]
        key = load_pem_public_key((sample / "ak_pub.pem").read_bytes())
        assert isinstance(key, RSAPublicKey)
        self.modulus = key.public_numbers().n.to_bytes(256, "big")

    def exchange(self, command: bytes) -> bytes:
        """Answer one command."""
        code, body = int.from_bytes(command[6:10]), command[10:]
        password = command[:2] == b"\x80\x02"
        answer = {
            0x169: self._nv_public,
            0x14E: self._nv_read,
            0x173: self._read_public,
            0x17E: self._read_pcrs,
            0x158: self._quote,
        }[code](body)
        if password:
            answer = len(answer).to_bytes(4, "big") + answer + b"\0\0\1\0\0"
        size = (10 + len(answer)).to_bytes(4, "big")
        return (b"\x80\x02" if password else b"\x80\x01") + size + bytes(4) + answer

    def _nv_public(self, body: bytes) -> bytes:
        assert int.from_bytes(body[:4]) == HCL_INDEX
        attributes = (1 << 17 | 1 << 18 | 1 << 29).to_bytes(4, "big")
        public = body[:4] + b"\0\x0b" + attributes + b"\0\0" + len(self.hcl).to_bytes(2, "big")
        return sized(public) + sized(b"\0\x0b" + bytes(32))

    def _nv_read(self, body: bytes) -> bytes:
        length, at = int.from_bytes(body[-4:-2]), int.from_bytes(body[-2:])
        return sized(self.hcl[at : at + length])

    def _read_public(self, body: bytes) -> bytes:
        assert int.from_bytes(body[:4]) == AK_HANDLE
        area = bytes.fromhex("0001 000b 00050472 0000 0010 0014 000b 0800 00000000")
        name = sized(b"\0\x0b" + bytes(32))
        return sized(area + sized(self.modulus)) + name + name

    def _read_pcrs(self, body: bytes) -> bytes:
        asked = int.from_bytes(body[7:10], "little")
        eight = [pcr for pcr in range(24) if asked >> pcr & 1][:8]
        bits = sum(1 << pcr for pcr in eight).to_bytes(3, "little")
        head = bytes.fromhex("00000009 00000001 000b 03") + bits + len(eight).to_bytes(4, "big")
        return head + b"".join(sized(bytes.fromhex(self.pcrs[str(pcr)])) for pcr in eight)

    def _quote(self, body: bytes) -> bytes:
        del body
        return sized(self.message) + QUOTE_SCHEME + sized(self.signature)


@pytest.mark.spec("AZ-10", "AZ-11", "AZ-13")
def test_a_genuine_snp_vm() -> None:
    """Its report of 2600 bytes in pieces, its registers in three answers, its key, its quote."""
    sample = folder("azure") / "snp-coco-v1"
    text = load(sample / "sample.json")
    nonce = bytes.fromhex(text["expect"]["nonce"])
    attester = AzureAttester(Tpm(RecordedVtpm(sample)), "snp")
    evidence = attester.collect_over(nonce)
    given = [
        Endorsement(CERTIFICATE_TYPE, (sample / "vcek.der").read_bytes()),
        Endorsement(CHAIN_TYPE, (sample / text["snp_chain"]).read_bytes()),
    ]
    verifier = AzureSnpVerifier([root.sha256 for root in AMD_ROOTS])
    claims = verifier.verify(evidence, given, at=instant(text["verify_at"]))
    rules = default_rules(SNP_FIELDS_OF_AZURE) | {
        "report_data": OneOf((nonce,)),
        "snp.revocation_checked": Unchecked("the sample has no list for it"),
    }
    assert claims.hardware_rooted
    assert appraise_claims(claims, SNP_FIELDS_OF_AZURE, rules).accepted
    with pytest.raises(CloisterError) as e:
        attester.collect_over(b"another nonce")
    assert e.value.code == "attester.failed"


@pytest.mark.spec("AZ-13", "AZ-14")
def test_a_genuine_td() -> None:
    """The metadata service is asked with the TDREPORT that the vTPM has, and its quote is taken."""
    sample = folder("azure") / "tdx-coco-v0"
    nonce = bytes.fromhex(
        load(sample / "sample.json")["expected_fields"]["tpm_quote"]["extra_data"]
    )
    asked: list[bytes] = []

    def quote(report: bytes) -> bytes:
        asked.append(report)
        return (sample / "td_quote.bin").read_bytes()

    vtpm = RecordedVtpm(sample)
    with MetadataFake(quote) as metadata:
        attester = AzureAttester(Tpm(vtpm), "tdx", metadata=MetadataService(metadata.address))
        evidence = attester.collect_over(nonce)
    assert asked == [vtpm.hcl[32:1056]]
    parts = AzureEvidence.from_bytes(evidence.body)
    assert read_quote(parts.report)[1].report_data == asked[0][128:192]


@pytest.mark.spec("NV-50", "NV-51")
@pytest.mark.parametrize(
    ("name", "architecture"), [("hopper-550-90-07", 9), ("blackwell-590-48-01", 10)]
)
def test_a_genuine_gpu(nvml: FakeNvml, name: str, architecture: int) -> None:
    """Report and certificates as the driver gives them are accepted under NVIDIA's roots."""
    sample = folder("nvidia") / name
    report = (sample / "report.bin").read_bytes()
    nonce = GpuReport.from_bytes(report).nonce
    nvml.put("report0", report)
    nvml.put("certificates0", (sample / "cert_chain.pem").read_bytes())
    nvml.put("architecture0", architecture)
    evidence = NvidiaAttester(nvml.library).collect(nonce)
    claims = NvidiaVerifier(tuple(NVIDIA_ROOTS)).verify(
        evidence, [], at=instant("2026-01-01T00:00:00+00:00")
    )
    rules: dict[str, Any] = default_rules(FIELDS) | {
        each: Unchecked("these samples have none") for each in ("measres", "dbgstat", "revocation")
    }
    assert claims.hardware_rooted
    assert appraise_claims(claims, FIELDS, rules | {"report_data": OneOf((nonce,))}).accepted
