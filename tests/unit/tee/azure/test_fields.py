"""The table of claims, and what is asked without a policy."""

import json

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Evidence
from cloister.attestation.evidence_rules import Field, OneOf, Rule, Unchecked, claim
from cloister.attestation.verdict import appraise_claims, default_rules, require_complete
from cloister.errors import MalformedError
from cloister.tee.azure.fields import SNP_FIELDS_OF_AZURE, azure_fields
from cloister.tee.azure.layout import SNP_TYPE
from cloister.tee.azure.verifier import AzureSnpVerifier
from cloister.testing.manufacturers.azure import SimulatedAzureVm

VM = SimulatedAzureVm(b"fields")
FIELDS = SNP_FIELDS_OF_AZURE


def claims(runtime: bytes | None = None, **report: object) -> Claims:
    quote = VM.tpm.quote(b"n", selection={"sha256": range(24), "sha384": range(24)})
    body = VM.evidence(b"n", runtime=runtime, quote=quote, **report)
    return AzureSnpVerifier([VM.amd.anchor]).verify(
        Evidence(SNP_TYPE, body), VM.endorsements(), at=VM.amd.now
    )


def refused_by(found: Claims, rules: dict[str, Rule]) -> list[str]:
    verdict = appraise_claims(found, FIELDS, default_rules(FIELDS) | rules)
    return [reason.detail.partition(":")[0] for reason in verdict.reasons]


def test_every_field_is_a_claim() -> None:
    """Of a report of the newest version."""
    found = claims(version=5)
    assert {field.path for field in FIELDS if claim(found, field.path) is None} == set()
    assert len({field.path for field in FIELDS}) == len(FIELDS)


@pytest.mark.spec("AZ-29")
def test_the_defaults() -> None:
    """Those of the report and of the quote, and a vTPM that is there."""
    assert refused_by(claims(), {}) == []
    assert refused_by(claims(policy=0xB0000), {}) == ["debug"]
    assert refused_by(claims(policy=0x70000), {}) == ["snp.policy.migrate_ma"]
    configuration = VM.runtime()["vm-configuration"] | {"tpm-enabled": False}
    runtime = json.dumps(VM.runtime(**{"vm-configuration": configuration})).encode()
    assert refused_by(claims(runtime), {}) == ["vm_configuration.tpm-enabled"]


@pytest.mark.spec("AZ-29")
def test_rules_reach_into_every_part() -> None:
    """By the part's name."""
    rules: dict[str, Rule] = {
        "snp.product": OneOf(("Milan",)),
        "tpm.secure_boot": OneOf(("on",)),
        "tpm.pcrs.sha256.23": OneOf((bytes(32),)),
        "vm_configuration.console-enabled": OneOf((False,)),
    }
    assert refused_by(claims(), rules) == ["vm_configuration.console-enabled"]


@pytest.mark.parametrize("path", ["report_data", "measurement", "debug", "snp.reported_tcb"])
def test_a_policy_speaks_about_the_required(path: str) -> None:
    """What the report requires stays required."""
    rules = {name: rule for name, rule in default_rules(FIELDS).items() if name != path}
    with pytest.raises(MalformedError) as e:
        require_complete(FIELDS, rules)
    assert e.value.code == "policy.invalid"


def test_fields_of_another_platform() -> None:
    """They lie below its name; what binds the runtime data is no field."""
    inner = (
        Field("report_data", "bytes", required=True, default=Unchecked("x"), about="y"),
        Field("xfam", "bytes", required=True, default=Unchecked("x"), about="y"),
        Field("status", "text", required=True, default=OneOf(("UpToDate",)), about="y"),
    )
    paths = [field.path for field in azure_fields("tdx", inner)]
    assert paths[:3] == ["tdx.xfam", "status", "report_data"]
    assert len(set(paths)) == len(paths)
