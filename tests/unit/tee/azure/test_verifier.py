"""Azure's VMs: each part under its own root of trust, and all of them bound together."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.digest import sha256
from cloister.errors import (
    CloisterError,
    ConfigError,
    EndorsementError,
    EvidenceError,
    MalformedError,
)
from cloister.tee.azure.layout import SNP_TYPE, TDX_TYPE, AzureEvidence, HclReport
from cloister.tee.azure.verifier import TD_QUOTE_TYPE, AzureSnpVerifier, AzureTdxVerifier
from cloister.tee.snp.roots import AMD_ROOTS
from cloister.testing.manufacturers.azure import SimulatedAzureVm

VM = SimulatedAzureVm(b"verifier")
NONCE = b"n" * 32
ANCHOR = b"a" * 32


def verify(body: bytes, *, media_type: str = SNP_TYPE) -> Claims:
    return AzureSnpVerifier([VM.amd.anchor]).verify(
        Evidence(media_type, body), VM.endorsements(), at=VM.amd.now
    )


def refused(code: str, kind: type[CloisterError], body: bytes, **arguments: Any) -> None:
    with pytest.raises(kind) as e:
        verify(body, **arguments)
    assert e.value.code == code


class FakeTdx:
    """Stands for the verifier of TD quotes: a quote is its report data behind a word."""

    def __init__(self, anchors: Sequence[bytes]) -> None:
        self.anchors = tuple(anchors)

    def verify(self, evidence: Evidence, endorsements: Sequence[Endorsement], *, at: int) -> Claims:
        assert evidence.media_type == TD_QUOTE_TYPE
        if not evidence.body.startswith(b"genuine") or not endorsements:
            raise EvidenceError("no TD quote", code="evidence.signature")
        return Claims(
            root_of_trust="tdx",
            anchor=self.anchors[0],
            hardware_rooted=False,
            measurement=b"m" * 48,
            report_data=evidence.body[7:],
            debug=False,
            security_version=at,
            status="UpToDate",
            advisories=("INTEL-SA-0",),
            hardware_id=b"chip",
            vendor={"tee_tcb_svn": b"svn"},
        )


def tdx(td_quote: bytes, *, runtime: bytes | None = None) -> Claims:
    data = json.dumps(VM.runtime()).encode() if runtime is None else runtime
    hcl = HclReport("tdx", bytes(1184), data)
    body = AzureEvidence.of(hcl, VM.tpm.quote(NONCE), td_quote=td_quote).to_bytes()
    return AzureTdxVerifier([ANCHOR], FakeTdx).verify(
        Evidence(TDX_TYPE, body), [Endorsement("a/b", b"c")], at=7
    )


@pytest.mark.spec("AZ-20")
def test_anchors_are_those_of_the_report() -> None:
    """None is a mistake."""
    with pytest.raises(ConfigError) as e:
        AzureSnpVerifier([])
    assert e.value.code == "config.missing"


@pytest.mark.spec("AZ-1", "AZ-21")
def test_another_kind_is_refused() -> None:
    """Not looked into; a TD is not an SNP guest."""
    for media_type in ("a/b", TDX_TYPE):
        refused("evidence.kind", EvidenceError, VM.evidence(NONCE), media_type=media_type)


@pytest.mark.spec("AZ-26", "AZ-27")
def test_what_a_genuine_vm_says() -> None:
    """The report's claims, the nonce of the quote, and everything under its own name."""
    claims = verify(VM.evidence(NONCE, measurement=b"M" * 48))
    assert (claims.root_of_trust, claims.anchor) == ("azure-snp", VM.amd.anchor)
    assert (claims.hardware_rooted, claims.debug) == (False, False)
    assert (claims.measurement, claims.report_data) == (b"M" * 48, NONCE)
    assert claims.hardware_id == VM.chip.chip_id
    assert claims.vendor["ak"] == sha256(VM.tpm.ak)
    assert claims.vendor["user_data"] == bytes(64)
    for name in ("vm_configuration", "snp", "tpm"):
        assert isinstance(claims.vendor[name], dict)


@pytest.mark.spec("AZ-22")
def test_simulated_evidence_is_refused_under_amds_roots() -> None:
    """The report inside is judged as any."""
    with pytest.raises(EndorsementError) as e:
        AzureSnpVerifier([root.sha256 for root in AMD_ROOTS]).verify(
            Evidence(SNP_TYPE, VM.evidence(NONCE)), VM.endorsements(), at=VM.amd.now
        )
    assert e.value.code == "endorsement.anchor"


@pytest.mark.spec("AZ-22")
def test_a_forged_report_is_refused() -> None:
    """Another chip's certificate, and a bit of the report."""
    with pytest.raises(EndorsementError) as e:
        AzureSnpVerifier([VM.amd.anchor]).verify(
            Evidence(SNP_TYPE, VM.evidence(NONCE)),
            VM.amd.endorsements(VM.amd.chip("other")),
            at=VM.amd.now,
        )
    assert e.value.code == "endorsement.mismatch"
    parts = AzureEvidence.from_bytes(VM.evidence(NONCE))
    changed = bytearray(parts.report)
    changed[0x90] ^= 1
    refused(
        "evidence.signature",
        EvidenceError,
        dataclasses.replace(parts, report=bytes(changed)).to_bytes(),
    )


@pytest.mark.spec("AZ-23")
@pytest.mark.parametrize("vmpl", [1, 2, 3])
def test_a_report_that_the_guest_asked_for_is_refused(vmpl: int) -> None:
    """It can put the hash of any key into a report of its own; the firmware runs at level 0."""
    refused("evidence.parts", EvidenceError, VM.evidence(NONCE, vmpl=vmpl))


@pytest.mark.spec("AZ-24")
def test_the_report_covers_the_runtime_data() -> None:
    """Another key under a genuine report; a space more; other bytes behind the hash."""
    parts = AzureEvidence.from_bytes(VM.evidence(NONCE))
    other = json.dumps(SimulatedAzureVm(b"other").runtime()).encode()
    for runtime in (other, parts.runtime_data + b" ", b""):
        changed = dataclasses.replace(parts, runtime_data=runtime)
        refused("evidence.parts", EvidenceError, changed.to_bytes())
    digest = hashlib.sha256(parts.runtime_data).digest()
    for bound in (digest + b"\1" * 32, bytes(32) + digest, bytes(64)):
        refused("evidence.parts", EvidenceError, VM.evidence(NONCE, report_data=bound))


@pytest.mark.spec("AZ-25")
def test_the_quote_is_by_the_key_that_the_report_covers() -> None:
    """A genuine quote of another vTPM, which its own VM would send, is refused: no half of two."""
    other = SimulatedAzureVm(b"other")
    refused("evidence.signature", EvidenceError, VM.evidence(NONCE, quote=other.tpm.quote(NONCE)))


@pytest.mark.spec("AZ-25")
def test_values_and_log_belong_to_the_quote() -> None:
    """As for any TPM."""
    quote = VM.tpm.quote(NONCE)
    values = dataclasses.replace(quote, values=quote.values[::-1])
    refused("evidence.parts", EvidenceError, VM.evidence(NONCE, quote=values))
    log = dataclasses.replace(quote, event_log=SimulatedAzureVm(b"x").tpm.log()[:-20])
    refused("evidence.malformed", MalformedError, VM.evidence(NONCE, quote=log))


@pytest.mark.spec("AZ-25")
def test_a_key_of_the_guest_is_no_attestation_key() -> None:
    """The runtime data names others too: only the attestation key counts."""
    keys = VM.runtime()["keys"]
    renamed = json.dumps(VM.runtime(keys=[keys[0] | {"kid": "HCLEkPub"}])).encode()
    refused("evidence.malformed", MalformedError, VM.evidence(NONCE, runtime=renamed))


@pytest.mark.spec("AZ-28")
def test_every_flipped_bit_is_refused() -> None:
    """One bit in every seventeenth byte in front of the log, whose words nobody signs."""
    body = VM.evidence(NONCE, quote=VM.tpm.quote(NONCE, log=b""))
    assert verify(body)
    for place in range(0, len(body), 17):
        changed = body[:place] + bytes([body[place] ^ 1 << place % 8]) + body[place + 1 :]
        with pytest.raises((MalformedError, EvidenceError, EndorsementError)):
            verify(changed)


@pytest.mark.spec("AZ-22", "AZ-26")
def test_a_td() -> None:
    """The inner verifier judges the TD quote; its word on the platform stays."""
    data = json.dumps(VM.runtime()).encode()
    claims = tdx(b"genuine" + sha256(data).ljust(64, b"\0"))
    assert (claims.root_of_trust, claims.anchor) == ("azure-tdx", ANCHOR)
    assert (claims.status, claims.advisories) == ("UpToDate", ("INTEL-SA-0",))
    assert (claims.report_data, claims.security_version) == (NONCE, 7)
    assert claims.vendor["tdx"] == {"tee_tcb_svn": b"svn"}


@pytest.mark.spec("AZ-22", "AZ-24")
def test_a_td_whose_quote_is_not_good() -> None:
    """Forged, or about other runtime data."""
    data = json.dumps(VM.runtime()).encode()
    for td_quote, code in (
        (b"forged!" + sha256(data).ljust(64, b"\0"), "evidence.signature"),
        (b"genuine" + bytes(64), "evidence.parts"),
        (b"genuine" + sha256(data), "evidence.parts"),
    ):
        with pytest.raises(EvidenceError) as e:
            tdx(td_quote)
        assert e.value.code == code
