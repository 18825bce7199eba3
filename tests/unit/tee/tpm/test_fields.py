"""The table of claims, and what is asked without a policy."""

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Evidence
from cloister.attestation.evidence_rules import OneOf, Rule, claim
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.digest import sha256
from cloister.tee.tpm.fields import FIELDS
from cloister.tee.tpm.layout import MEDIA_TYPE
from cloister.tee.tpm.verifier import TpmVerifier
from cloister.testing.manufacturers.tpm import SimulatedTpm

TPM = SimulatedTpm(b"fields")


def claims(lists: list[bytes] | None = None, **changes: object) -> Claims:
    body = TPM.evidence(b"nonce", selection={"sha256": range(24), "sha384": range(24)}, **changes)
    return TpmVerifier([TPM.anchor]).verify(
        Evidence(MEDIA_TYPE, body), TPM.endorsements(lists=lists), at=TPM.now
    )


def refused_by(found: Claims, rules: dict[str, Rule]) -> list[str]:
    verdict = appraise_claims(found, FIELDS, default_rules(FIELDS) | rules)
    return [reason.detail.partition(":")[0] for reason in verdict.reasons]


def test_every_field_is_a_claim() -> None:
    """Of a quote of everything."""
    found = claims()
    assert {field.path for field in FIELDS if claim(found, field.path) is None} == set()
    assert len({field.path for field in FIELDS}) == len(FIELDS)
    assert set(found.vendor) - {field.path.partition(".")[0] for field in FIELDS} == set()


@pytest.mark.spec("TPM-29")
def test_the_defaults() -> None:
    """A sound quote is accepted; a clock set back and unchecked revocation are not."""
    assert refused_by(claims(), {}) == []
    assert refused_by(claims(safe=False), {}) == ["safe"]
    assert refused_by(claims(lists=[]), {}) == ["revocation_checked"]


@pytest.mark.spec("TPM-29")
def test_rules_on_pcrs() -> None:
    """By bank and index; one that was not quoted satisfies nothing."""
    value = TPM.pcrs("sha256")[7]
    assert refused_by(claims(), {"pcrs.sha256.7": OneOf((value,))}) == []
    assert refused_by(claims(), {"pcrs.sha256.4": OneOf((value,))}) == ["pcrs.sha256.4"]
    body = TPM.evidence(b"", selection={"sha256": (4,)})
    few = TpmVerifier([sha256(TPM.ak)]).verify(Evidence(MEDIA_TYPE, body), [], at=0)
    assert refused_by(few, {"pcrs.sha256.7": OneOf((value,))}) == ["pcrs.sha256.7"]
