"""The table of claims speaks about what the verifier says."""

import pytest

from cloister.attestation.evidence_rules import claim
from cloister.attestation.verdict import default_rules, require_complete
from cloister.tee.nvidia.fields import FIELDS
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.testing.manufacturers.nvidia import SimulatedNvidia


@pytest.mark.spec("NV-40")
def test_every_claim_of_the_vendor_is_in_the_table_and_the_other_way_round() -> None:
    """No claim is out of a policy's reach, and no rule is about nothing."""
    maker = SimulatedNvidia("fields", at=1_800_000_000)
    gpu = maker.gpu("BLACKWELL")
    claims = NvidiaVerifier(maker.anchors).verify(gpu.evidence(bytes(32)), [gpu.chain], at=maker.at)
    names = {field.path for field in FIELDS}
    assert set(claims.vendor) <= names
    assert all(claim(claims, name) is not None for name in names)
    require_complete(FIELDS, default_rules(FIELDS))
