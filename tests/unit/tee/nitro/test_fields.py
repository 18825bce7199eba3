"""The table of claims speaks about what the verifier says."""

import pytest

from cloister.attestation.evidence_rules import claim
from cloister.attestation.verdict import default_rules, require_complete
from cloister.tee.nitro.fields import FIELDS
from cloister.tee.nitro.verifier import NitroVerifier
from cloister.testing.manufacturers.nitro import SimulatedNitro


@pytest.mark.spec("NIT-20")
def test_every_claim_is_in_the_table_and_the_other_way_round() -> None:
    """No claim is out of a policy's reach, and no rule is about nothing."""
    maker = SimulatedNitro("fields", at=1_800_000_000)
    document = maker.document(pcrs=dict.fromkeys(range(32), b"p" * 48), nonce=b"n", public_key=b"k")
    claims = NitroVerifier([maker.anchor]).verify(maker.evidence(document), (), at=maker.at)
    names = {field.path for field in FIELDS}
    assert {name for name in claims.vendor if name != "pcrs"} <= names
    assert all(claim(claims, name) is not None for name in names)
    require_complete(FIELDS, default_rules(FIELDS))
