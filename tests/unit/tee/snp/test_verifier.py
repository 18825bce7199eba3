"""SNP reports are judged against pinned roots, step by step."""

import dataclasses
from typing import Any

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.errors import (
    CloisterError,
    ConfigError,
    EndorsementError,
    EvidenceError,
    MalformedError,
    UnavailableError,
)
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE
from cloister.tee.snp.layout import MEDIA_TYPE, PRODUCTS, Product
from cloister.tee.snp.roots import AMD_ROOTS
from cloister.tee.snp.verifier import SnpVerifier
from cloister.testing.manufacturers.amd import SimulatedAmd, SimulatedChip

AMDS = {product: SimulatedAmd(b"verifier", product) for product in PRODUCTS}
AMD = AMDS["Genoa"]
CHIP = AMD.chip()
DATA = b"d" * 64


def verify(
    body: bytes,
    *,
    amd: SimulatedAmd = AMD,
    chip: SimulatedChip = CHIP,
    endorsements: list[Endorsement] | None = None,
    at: int | None = None,
    media_type: str = MEDIA_TYPE,
) -> Claims:
    given = amd.endorsements(chip) if endorsements is None else endorsements
    return SnpVerifier([amd.anchor]).verify(
        Evidence(media_type, body), given, at=amd.now if at is None else at
    )


def refused(code: str, kind: type[CloisterError], body: bytes, **arguments: Any) -> None:
    with pytest.raises(kind) as e:
        verify(body, **arguments)
    assert e.value.code == code


@pytest.mark.spec("SNP-20")
def test_there_is_no_built_in_anchor() -> None:
    """A verifier without anchors cannot be made, nor one with something else."""
    for anchors, code in (([], "config.missing"), ([b"short"], "config.value")):
        with pytest.raises(ConfigError) as e:
            SnpVerifier(anchors)
        assert e.value.code == code


@pytest.mark.spec("SNP-1", "SNP-21")
def test_another_kind_is_refused() -> None:
    """It is not looked into."""
    refused("evidence.kind", EvidenceError, CHIP.report(), media_type="application/other")


@pytest.mark.spec("SNP-29", "SNP-30")
@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("kind", ["VCEK", "VLEK"])
@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_what_a_genuine_report_says(product: Product, kind: Any, version: int) -> None:
    """Of every product, by both kinds of key, in every version; never rooted in hardware here."""
    amd = AMDS[product]
    chip = amd.chip(kind=kind)
    body = chip.report(version=version, report_data=DATA, measurement=b"M" * 48, vmpl=1)
    claims = verify(body, amd=amd, chip=chip)
    assert (claims.root_of_trust, claims.anchor) == ("snp", amd.anchor)
    assert (claims.hardware_rooted, claims.debug) == (False, False)
    assert (claims.measurement, claims.report_data) == (b"M" * 48, DATA)
    assert (claims.status, claims.advisories, claims.security_version) == ("", (), 24)
    assert claims.hardware_id == (chip.chip_id if kind == "VCEK" else b"")
    assert claims.vendor["product"] == product
    assert claims.vendor["signing_key"] == kind
    assert claims.vendor["csp_id"] == ("" if kind == "VCEK" else "CN=cloud.example")
    assert claims.vendor["vmpl"] == 1
    assert claims.vendor["reported_tcb"] == chip.tcb
    assert claims.vendor["current_version"] == {"major": 1, "minor": 55, "build": 29}
    assert ("cpuid" in claims.vendor) == (version >= 3)
    assert ("current_mit_vector" in claims.vendor) == (version == 5)


@pytest.mark.spec("SNP-23")
def test_simulated_evidence_is_refused_under_amds_roots() -> None:
    """What a simulated manufacturer signs stays a simulation."""
    for amd in AMDS.values():
        chip = amd.chip()
        verifier = SnpVerifier([root.sha256 for root in AMD_ROOTS])
        with pytest.raises(EndorsementError) as e:
            verifier.verify(Evidence(MEDIA_TYPE, chip.report()), amd.endorsements(chip), at=amd.now)
        assert e.value.code == "endorsement.anchor"


@pytest.mark.spec("SNP-21")
@pytest.mark.parametrize("changes", [{"key_info": 0x1C}, {"key_info": 2}])
def test_a_report_that_nobody_signs_is_refused(changes: dict[str, int]) -> None:
    """No signing key, or one that the platform hides."""
    refused("evidence.signature", EvidenceError, CHIP.report(**changes))


@pytest.mark.spec("SNP-21")
def test_malformed_reports() -> None:
    """Before any cryptography."""
    refused("evidence.malformed", MalformedError, CHIP.report()[:-1])
    refused("endorsement.missing", UnavailableError, CHIP.report(), endorsements=[])


@pytest.mark.spec("SNP-23")
def test_dates() -> None:
    """The leaf's both ends are in; the issuers' are judged as well."""
    chip = AMD.chip(validity=(AMD.now, AMD.now + 9))
    for at in (AMD.now, AMD.now + 9):
        assert verify(chip.report(), chip=chip, at=at)
    for at in (AMD.now - 1, AMD.now + 10):
        refused("endorsement.expired", EndorsementError, chip.report(), chip=chip, at=at)
    old = AMD.chip(validity=(0, 2**31))
    for at in (AMD.now - 6 * 365 * 86400, AMD.now + 21 * 365 * 86400):
        refused("endorsement.expired", EndorsementError, old.report(), chip=old, at=at)


@pytest.mark.spec("SNP-24")
def test_revocation_that_nobody_looked_at_is_a_claim() -> None:
    """Never silence (the default rules refuse it)."""
    without = AMD.endorsements(CHIP, revocations=b"")
    assert verify(CHIP.report()).vendor["revocation_checked"] is True
    assert verify(CHIP.report(), endorsements=without).vendor["revocation_checked"] is False


@pytest.mark.spec("SNP-24")
def test_a_revoked_issuer_always_refuses() -> None:
    """No rule can allow it."""
    listed = AMD.revocations(serials=(AMD.issuer_serial("VCEK"),))
    given = AMD.endorsements(CHIP, revocations=listed)
    refused("endorsement.revoked", EndorsementError, CHIP.report(), endorsements=given)


@pytest.mark.spec("SNP-26")
def test_the_product_is_the_processors() -> None:
    """A chain of another product, a processor nobody knows; Zen4c is Genoa (c8s#72)."""
    siena = CHIP.report(cpuid=b"\x19\xa0\x02")
    assert verify(siena).vendor["product"] == "Genoa"
    for cpuid, code in (
        (b"\x19\x01\x01", "endorsement.mismatch"),
        (b"\x19\x71\x00", "evidence.kind"),
    ):
        kind = EvidenceError if code == "evidence.kind" else EndorsementError
        refused(code, kind, CHIP.report(cpuid=cpuid))


@pytest.mark.spec("SNP-28")
def test_a_report_signed_by_another_key_is_refused() -> None:
    """Another chip's signature under this chip's certificate."""
    report = CHIP.fields(report_data=DATA)
    other = AMD.chip("other").sign(report.signed_bytes())
    refused(
        "evidence.signature",
        EvidenceError,
        dataclasses.replace(report, signature=other).to_bytes(),
    )


@pytest.mark.spec("SNP-31")
def test_every_flipped_bit_is_refused() -> None:
    """One bit in every third byte of the report, and it is not accepted."""
    body = CHIP.report(report_data=DATA)
    for place in range(0, len(body), 3):
        changed = body[:place] + bytes([body[place] ^ 1 << place % 8]) + body[place + 1 :]
        with pytest.raises((MalformedError, EvidenceError, EndorsementError)):
            verify(changed)


def test_a_masked_chip_has_no_name() -> None:
    """Zeros in the report are no chip: the claim is empty, not 64 zeros that match a list."""
    claims = verify(CHIP.report(chip_id=bytes(64)))
    assert (claims.hardware_id, claims.vendor["chip_id_masked"]) == (b"", True)


def test_a_providers_key_may_name_the_chip() -> None:
    """The firmware signs it as everything else."""
    chip = AMD.chip(kind="VLEK")
    claims = verify(chip.report(chip_id=b"c" * 64), chip=chip)
    assert claims.hardware_id == b"c" * 64


def test_a_chips_key_does_not_stand_for_a_providers() -> None:
    """Chain and certificate of the other kind."""
    provider = AMD.chip(kind="VLEK")
    for body, chip in ((CHIP.report(), provider), (provider.report(), CHIP)):
        refused("endorsement.mismatch", EndorsementError, body, chip=chip)
    mixed = [
        Endorsement(CERTIFICATE_TYPE, CHIP.certificate),
        Endorsement(CHAIN_TYPE, AMD.chain("VLEK")),
    ]
    refused("endorsement.signature", EndorsementError, CHIP.report(), endorsements=mixed)


def test_a_key_of_older_firmware_does_not_vouch_for_newer() -> None:
    """The certificate of a weaker version, which somebody may have broken, under a report."""
    old = AMD.chip(tcb={"snp": 8})
    given = AMD.endorsements(old)
    report = CHIP.fields()
    forged = dataclasses.replace(report, signature=old.sign(report.signed_bytes())).to_bytes()
    refused("endorsement.mismatch", EndorsementError, forged, endorsements=given)
