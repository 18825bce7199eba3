"""Azure's VMs on TDX, with the verifier of TD quotes itself."""

import dataclasses
import json

import pytest

from cloister.attestation.evidence import Evidence
from cloister.attestation.evidence_rules import OneOf, Rule
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.digest import sha256
from cloister.errors import ConfigError, EndorsementError, EvidenceError
from cloister.tee.azure.layout import TDX_TYPE, AzureEvidence, HclReport
from cloister.tee.azure.tdx import TDX_FIELDS_OF_AZURE, azure_tdx_verifier
from cloister.tee.azure.verifier import TD_QUOTE_TYPE
from cloister.tee.intel.roots import INTEL_ROOTS
from cloister.tee.tdx.layout import MEDIA_TYPE
from cloister.testing.manufacturers.azure import SimulatedAzureVm
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

VM = SimulatedAzureVm(b"tdx")
RUNTIME = json.dumps(VM.runtime()).encode()
INTEL = SimulatedIntel(b"tdx", at=VM.amd.now)
NONCE = b"n" * 32
MINTED = INTEL.mint(IntelCase("tdx4", report_data=sha256(RUNTIME).ljust(64, b"\0")))
PARTS = AzureEvidence.of(
    HclReport("tdx", bytes(1184), RUNTIME), VM.tpm.quote(NONCE), td_quote=MINTED.evidence.body
)


def test_the_media_type_is_that_of_td_quotes() -> None:
    """It is written twice, as folders of roots of trust do not know each other."""
    assert TD_QUOTE_TYPE == MEDIA_TYPE


@pytest.mark.spec("AZ-22", "AZ-26", "AZ-29")
def test_a_vm_on_tdx() -> None:
    """Status, registers and PCRs are judged together; a nonce of another request is refused."""
    claims = azure_tdx_verifier([INTEL.anchor]).verify(
        Evidence(TDX_TYPE, PARTS.to_bytes()), MINTED.endorsements, at=VM.amd.now
    )
    assert (claims.root_of_trust, claims.anchor) == ("azure-tdx", INTEL.anchor)
    assert (claims.report_data, claims.hardware_rooted) == (NONCE, False)
    assert claims.status == "UpToDate"
    rules: dict[str, Rule] = default_rules(TDX_FIELDS_OF_AZURE) | {
        "report_data": OneOf((NONCE,)),
        "tpm.secure_boot": OneOf(("on",)),
    }
    assert appraise_claims(claims, TDX_FIELDS_OF_AZURE, rules).reasons == ()
    rules["report_data"] = OneOf((bytes(32),))
    assert not appraise_claims(claims, TDX_FIELDS_OF_AZURE, rules).accepted


@pytest.mark.spec("AZ-24")
def test_a_td_quote_of_something_else_is_refused() -> None:
    """Genuine, but about other report data."""
    other = INTEL.mint(IntelCase("tdx4", report_data=bytes(64)))
    parts = dataclasses.replace(PARTS, report=other.evidence.body)
    with pytest.raises(EvidenceError) as e:
        azure_tdx_verifier([INTEL.anchor]).verify(
            Evidence(TDX_TYPE, parts.to_bytes()), other.endorsements, at=VM.amd.now
        )
    assert e.value.code == "evidence.parts"


def test_anchors_are_intels_or_the_callers() -> None:
    """None is a mistake; a simulation is refused under Intel's own."""
    with pytest.raises(ConfigError) as e:
        azure_tdx_verifier([])
    assert e.value.code == "config.missing"
    with pytest.raises(EndorsementError) as refused:
        azure_tdx_verifier(sorted(INTEL_ROOTS)).verify(
            Evidence(TDX_TYPE, PARTS.to_bytes()), MINTED.endorsements, at=VM.amd.now
        )
    assert refused.value.code == "endorsement.anchor"


def test_names_of_claims_are_unique() -> None:
    """Each part's lie below its own."""
    paths = [field.path for field in TDX_FIELDS_OF_AZURE]
    assert len(set(paths)) == len(paths)
    assert {"status", "tdx.rtmr1", "tpm.pcrs.sha256.7", "report_data"} <= set(paths)
