"""What policies can say of enclaves."""

from cloister.attestation.evidence_rules import OneOf, Unchecked, claim
from cloister.tee.sgx.fields import FIELDS
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

AT = 1767225600
INTEL = SimulatedIntel(b"sgx", at=AT)


def test_every_field_has_its_claim() -> None:
    """And stands once."""
    minted = INTEL.mint(IntelCase("sgx3"))
    claims = SgxVerifier((INTEL.anchor,)).verify(minted.evidence, minted.endorsements, at=AT)
    assert [each.path for each in FIELDS if claim(claims, each.path) is None] == []
    assert len({each.path for each in FIELDS}) == len(FIELDS)


def test_a_policy_must_speak_about_these() -> None:
    """And where there is none, debug and status are asked for."""
    required = {each.path for each in FIELDS if each.required}
    assert required == {"measurement", "report_data", "debug", "status", "advisories"}
    defaults = {each.path: each.default for each in FIELDS}
    assert defaults["debug"] == OneOf((False,))
    assert defaults["status"] == OneOf(("UpToDate",))
    assert isinstance(defaults["measurement"], Unchecked)
