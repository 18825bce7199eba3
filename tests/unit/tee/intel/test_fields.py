"""What policies can say of Intel's platforms."""

from __future__ import annotations

from cloister.attestation.evidence_rules import claim
from cloister.tee.intel.fields import PLATFORM_FIELDS, as_date
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

AT = 1767225600


def test_a_date_is_a_number_that_grows() -> None:
    """Policies compare it."""
    assert as_date(1710288000) == 20240313
    assert as_date(AT) > as_date(AT - 86400)


def test_every_field_has_its_claim() -> None:
    """A rule about a claim that never stands there would refuse everything."""
    intel = SimulatedIntel(b"fields", at=AT)
    minted = intel.mint(IntelCase("sgx3"))
    claims = SgxVerifier((intel.anchor,)).verify(minted.evidence, minted.endorsements, at=AT)
    assert [each.path for each in PLATFORM_FIELDS if claim(claims, each.path) is None] == []
