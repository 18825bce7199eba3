"""What went wrong in other verifiers of AMD's, TPMs' and Azure's evidence does not go wrong here.

Each test is named after a report of the field, by its public thread.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Evidence
from cloister.attestation.evidence_rules import Field, OneOf, Rule
from cloister.attestation.verdict import (
    appraise_claims,
    default_rules,
    refusal,
    require_complete,
)
from cloister.crypto.digest import sha256
from cloister.errors import CloisterError, EndorsementError, EvidenceError, MalformedError
from cloister.tee.azure.fields import SNP_FIELDS_OF_AZURE
from cloister.tee.azure.layout import SNP_TYPE, AzureEvidence
from cloister.tee.azure.verifier import AzureSnpVerifier
from cloister.tee.snp.fields import FIELDS as SNP_FIELDS
from cloister.tee.snp.layout import MEDIA_TYPE as SNP_REPORT
from cloister.tee.snp.verifier import SnpVerifier
from cloister.tee.tpm.fields import FIELDS as TPM_FIELDS
from cloister.tee.tpm.layout import MEDIA_TYPE as TPM_QUOTE
from cloister.tee.tpm.layout import TpmEvidence
from cloister.tee.tpm.verifier import TpmVerifier
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.azure import SimulatedAzureVm
from cloister.testing.manufacturers.tpm import SimulatedTpm

AMD = SimulatedAmd(b"field", "Genoa")
CHIP = AMD.chip()
TPM = SimulatedTpm(b"field")
VM = SimulatedAzureVm(b"field")
NONCE = b"n" * 32


def snp(body: bytes, **given: Any) -> Claims:
    return SnpVerifier([AMD.anchor]).verify(
        Evidence(SNP_REPORT, body), AMD.endorsements(CHIP, **given), at=AMD.now
    )


def accepted(claims: Claims, **rules: Rule) -> bool:
    return appraise_claims(claims, SNP_FIELDS, default_rules(SNP_FIELDS) | rules).accepted


def test_snpguest_57_amds_certificates_are_read_as_they_are() -> None:
    """Serial zero, no key identifiers, a trailer that DER leaves out: and still judged."""
    assert accepted(snp(CHIP.report()))


def test_c8s_72_zen4c_parts_are_genoa() -> None:
    """Their reports are judged under Genoa's chain and no other."""
    assert snp(CHIP.report(cpuid=b"\x19\xa0\x02")).vendor["product"] == "Genoa"
    verifier = SnpVerifier([AMD.anchor])
    for name in ("Siena", "Bergamo-A0", "Genoa-B1"):
        chip = AMD.chip(product_name=name)
        report = Evidence(SNP_REPORT, chip.report(cpuid=b"\x19\xa0\x02"))
        claims = verifier.verify(report, AMD.endorsements(chip), at=AMD.now)
        assert claims.vendor["product"] == "Genoa"
    for name in ("Milan-B0", "Sienna", "genoa", "-Genoa"):
        chip = AMD.chip(product_name=name)
        with pytest.raises(EndorsementError) as e:
            verifier.verify(Evidence(SNP_REPORT, chip.report()), AMD.endorsements(chip), at=AMD.now)
        assert e.value.code == "endorsement.mismatch"
    other = SimulatedAmd(b"field", "Turin", now=AMD.now)
    chip = other.chip(product_name="Siena")
    with pytest.raises(EndorsementError):
        SnpVerifier([other.anchor]).verify(
            Evidence(SNP_REPORT, chip.report()), other.endorsements(chip), at=AMD.now
        )


@pytest.mark.parametrize("fields", [SNP_FIELDS, TPM_FIELDS, SNP_FIELDS_OF_AZURE])
def test_console_3365_a_nonce_is_not_compared_only_if_present(fields: tuple[Field, ...]) -> None:
    """A policy without a word on the nonce is an error, and no nonce satisfies no rule."""
    rules = {name: rule for name, rule in default_rules(fields).items() if name != "report_data"}
    with pytest.raises(MalformedError) as e:
        require_complete(fields, rules)
    assert e.value.code == "policy.invalid"
    body = TpmEvidence(TPM.ak, TPM.quote(b"")).to_bytes()
    claims = TpmVerifier([sha256(TPM.ak)]).verify(Evidence(TPM_QUOTE, body), [], at=0)
    wanted: dict[str, Rule] = {"report_data": OneOf((NONCE,))}
    assert not appraise_claims(claims, TPM_FIELDS, default_rules(TPM_FIELDS) | wanted).accepted


def test_cmcp_608_nothing_expected_accepts_nothing() -> None:
    """A rule of no values, or of none, refuses."""
    claims = snp(CHIP.report(report_data=bytes(64)))
    assert not accepted(claims, report_data=OneOf(()))
    assert not accepted(claims, report_data=OneOf((None,)))


def test_a_masked_chip_is_on_no_list() -> None:
    """Zeros are not a name that an allow list could have taken from an example."""
    claims = snp(CHIP.report(chip_id=bytes(64)))
    assert not accepted(claims, hardware_id=OneOf((bytes(64), CHIP.chip_id)))
    assert accepted(snp(CHIP.report()), hardware_id=OneOf((CHIP.chip_id,)))


def test_revocation_is_not_off_by_default() -> None:
    """No list, no acceptance; a list that is too old decides nothing, and says so."""
    assert not accepted(snp(CHIP.report(), revocations=b""))
    old = AMD.revocations(validity=(AMD.now - 9, AMD.now - 1))
    with pytest.raises(CloisterError) as e:
        snp(CHIP.report(), revocations=old)
    assert (e.value.code, refusal(e.value).decided) == ("endorsement.stale", False)


def test_debug_and_migration_are_not_let_through() -> None:
    """Genuine, and refused by name."""
    for policy in (0xB0000, 0x70000):
        assert not accepted(snp(CHIP.report(policy=policy)))


def test_a_report_from_another_chip_with_the_same_image_is_told_apart() -> None:
    """The relay of a genuine report needs the same report data, which names the channel."""
    claims = snp(CHIP.report(report_data=b"channel of somebody else".ljust(64, b"\0")))
    assert not accepted(claims, report_data=OneOf((b"ours".ljust(64, b"\0"),)))


def test_guest_components_957_no_half_of_a_composite() -> None:
    """A genuine report and a genuine quote of two machines are nobody's evidence."""
    other = SimulatedAzureVm(b"other")
    mixed = dataclasses.replace(
        AzureEvidence.from_bytes(VM.evidence(NONCE)), quote=other.tpm.quote(NONCE)
    )
    with pytest.raises(EvidenceError) as e:
        AzureSnpVerifier([VM.amd.anchor]).verify(
            Evidence(SNP_TYPE, mixed.to_bytes()), VM.endorsements(), at=VM.amd.now
        )
    assert e.value.code == "evidence.signature"


def test_a_bare_report_is_no_azure_evidence_and_the_other_way_round() -> None:
    """No verifier looks into another kind, whatever its bytes are."""
    for kind, body in ((SNP_TYPE, CHIP.report()), (SNP_REPORT, VM.evidence(NONCE))):
        with pytest.raises(MalformedError):
            (AzureSnpVerifier if kind == SNP_TYPE else SnpVerifier)([AMD.anchor]).verify(
                Evidence(kind, body), AMD.endorsements(CHIP), at=AMD.now
            )


def test_a_quote_that_software_made_up_is_refused() -> None:
    """Signed by the key that was pinned, but not a TPM's statement: no magic, no quote."""
    quote = TPM.quote(NONCE)
    message = b"\0" + quote.message[1:]
    forged = dataclasses.replace(quote, message=message, signature=TPM.sign(message))
    with pytest.raises(MalformedError) as e:
        TpmVerifier([sha256(TPM.ak)]).verify(
            Evidence(TPM_QUOTE, TpmEvidence(TPM.ak, forged).to_bytes()), [], at=0
        )
    assert e.value.code == "evidence.malformed"
