"""The table of claims, and what is asked without a policy."""

from typing import Any

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Evidence
from cloister.attestation.evidence_rules import AtLeast, OneOf, Rule, Unchecked, claim
from cloister.attestation.verdict import appraise_claims, default_rules, require_complete
from cloister.errors import MalformedError
from cloister.tee.snp.fields import FIELDS
from cloister.tee.snp.layout import MEDIA_TYPE
from cloister.tee.snp.verifier import SnpVerifier
from cloister.testing.manufacturers.amd import SimulatedAmd

AMD = SimulatedAmd(b"fields", "Turin")
CHIP = AMD.chip()


def claims(*, revocations: bytes | None = None, **changes: Any) -> Claims:
    return SnpVerifier([AMD.anchor]).verify(
        Evidence(MEDIA_TYPE, CHIP.report(**changes)),
        AMD.endorsements(CHIP, revocations=revocations),
        at=AMD.now,
    )


def refused_by(found: Claims, rules: dict[str, Rule]) -> list[str]:
    verdict = appraise_claims(found, FIELDS, default_rules(FIELDS) | rules)
    assert verdict.accepted == (not verdict.reasons)
    return [reason.detail.partition(":")[0] for reason in verdict.reasons]


def test_every_field_is_a_claim() -> None:
    """Of a report of the newest version; and every claim but the compound ones is a field."""
    found = claims()
    assert {field.path for field in FIELDS if claim(found, field.path) is None} == set()
    assert len({field.path for field in FIELDS}) == len(FIELDS)
    leaves = {
        f"{name}.{inner}"
        if isinstance(value, dict) and name in ("policy", "platform_info")
        else name
        for name, value in found.vendor.items()
        for inner in (value if isinstance(value, dict) else [""])
    }
    assert leaves - {field.path for field in FIELDS} - {"cpuid"} == set()


@pytest.mark.spec("SNP-32")
def test_the_defaults_accept_a_sound_report() -> None:
    """And say what nobody looked at."""
    verdict = appraise_claims(claims(), FIELDS, default_rules(FIELDS))
    assert verdict.accepted
    assert {"measurement", "report_data"} <= {each.rule for each in verdict.not_checked}


@pytest.mark.spec("SNP-32")
@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"policy": 0x30000 | 1 << 19}, "debug"),
        ({"policy": 0x30000 | 1 << 18}, "policy.migrate_ma"),
        ({"policy": 0x30000 | 1 << 33}, "policy.unknown"),
        ({"revocations": b""}, "revocation_checked"),
    ],
)
def test_the_defaults_refuse(changes: dict[str, Any], path: str) -> None:
    """Debug, migration, bits nobody knows, and revocation that nobody looked at."""
    assert refused_by(claims(**changes), {}) == [path]


def test_versions_of_parts() -> None:
    """Each part on its own; a part that the product does not have refuses."""
    found = claims()
    assert refused_by(found, {"reported_tcb": AtLeast({"snp": 24, "microcode": 219})}) == []
    assert refused_by(found, {"reported_tcb": AtLeast({"snp": 25})}) == ["reported_tcb"]
    assert refused_by(found, {"committed_tcb": AtLeast({"none": 0})}) == ["committed_tcb"]


def test_what_an_old_report_does_not_say_satisfies_nothing() -> None:
    """Mitigations and the processor's name are absent before their versions."""
    old = claims(version=2)
    assert refused_by(old, {"current_mit_vector": OneOf((0,))}) == ["current_mit_vector"]
    assert refused_by(old, {"cpuid.family": OneOf((0,))}) == ["cpuid.family"]


@pytest.mark.parametrize("path", [field.path for field in FIELDS if field.required])
def test_a_policy_speaks_about_the_required(path: str) -> None:
    """Leaving one out is an error."""
    rules = {name: rule for name, rule in default_rules(FIELDS).items() if name != path}
    with pytest.raises(MalformedError) as e:
        require_complete(FIELDS, rules)
    assert e.value.code == "policy.invalid"
    require_complete(FIELDS, rules | {path: Unchecked("said so")})
