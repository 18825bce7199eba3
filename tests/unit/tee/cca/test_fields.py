"""The table of claims speaks about what the verifier says."""

import pytest

from cloister.attestation.evidence_rules import claim
from cloister.attestation.verdict import default_rules, require_complete
from cloister.tee.cca.fields import FIELDS
from cloister.tee.cca.verifier import CcaVerifier
from cloister.testing.manufacturers.cca import SimulatedCca


@pytest.mark.spec("CCA-20")
def test_every_claim_is_in_the_table_and_the_other_way_round() -> None:
    """No claim is out of a policy's reach, and no rule is about nothing."""
    maker = SimulatedCca("fields")
    claims = CcaVerifier([maker.anchor]).verify(maker.evidence(), [maker.key], at=0)
    names = {field.path for field in FIELDS}
    assert {name for name in claims.vendor if name != "extensible"} <= names
    assert all(claim(claims, name) is not None for name in names)
    require_complete(FIELDS, default_rules(FIELDS))
