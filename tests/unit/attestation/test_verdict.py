"""Verdicts: every reason at once, and no acceptance without a rule that held."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence_rules import Field, OneOf, Unchecked, Within
from cloister.attestation.verdict import appraise_claims, default_rules, refusal
from cloister.errors import EvidenceError, MalformedError, UnavailableError

FIELDS = (
    Field("status", "text", required=True, default=OneOf(("UpToDate",)), about="version"),
    Field("advisories", "texts", required=True, default=Within(()), about="weaknesses"),
    Field("debug", "boolean", required=True, default=OneOf((False,)), about="inspectable"),
    Field("mr", "bytes", required=False, default=Unchecked("no policy was given"), about="image"),
)
CLAIMS = Claims(
    root_of_trust="tdx",
    anchor=b"a" * 32,
    hardware_rooted=True,
    measurement=b"m",
    report_data=b"r" * 64,
    debug=False,
    security_version=3,
    status="UpToDate",
    advisories=(),
    hardware_id=b"",
    vendor={"mr": b"\x01", "list": [1, {"x": b"\x02"}]},
)


def test_genuine_and_as_asked_is_accepted() -> None:
    """With what held and what nobody looked at."""
    verdict = appraise_claims(CLAIMS, FIELDS, default_rules(FIELDS))
    assert (verdict.accepted, verdict.decided, verdict.reasons) == (True, True, ())
    assert [hit.rule for hit in verdict.checked] == ["status", "advisories", "debug"]
    assert [left.rule for left in verdict.not_checked] == ["mr"]
    record = verdict.as_record()
    assert record["verdict"] == "accept"
    assert json.loads(json.dumps(record))["claims"]["list"] == [1, {"x": "02"}]


@pytest.mark.spec("EVP-11")
def test_every_reason_is_given() -> None:
    """Not the first only."""
    claims = dataclasses.replace(CLAIMS, status="OutOfDate", debug=True, advisories=("SA-9",))
    verdict = appraise_claims(claims, FIELDS, default_rules(FIELDS))
    assert not verdict.accepted
    assert verdict.status == "OutOfDate"
    assert [(reason.expected, reason.found) for reason in verdict.reasons] == [
        ("UpToDate", "OutOfDate"),
        ("only an empty list", "[SA-9]"),
        ("false", "true"),
    ]


@pytest.mark.spec("EVP-12")
def test_rules_that_check_nothing_accept_nothing() -> None:
    """Everything unchecked is not a policy."""
    rules = {field.path: Unchecked("why not") for field in FIELDS}
    verdict = appraise_claims(CLAIMS, FIELDS, rules)
    assert not verdict.accepted
    assert verdict.reasons[0].code == "appraisal.claim"


def test_rules_speak_about_what_they_must_and_about_nothing_unknown() -> None:
    """A rule left out, or with a mistyped name, is an error before anything is judged."""
    for rules in [
        {},
        {path: rule for path, rule in default_rules(FIELDS).items() if path != "debug"},
        default_rules(FIELDS) | {"statu": OneOf(("UpToDate",))},
    ]:
        with pytest.raises(MalformedError) as e:
            appraise_claims(CLAIMS, FIELDS, rules)
        assert e.value.code == "policy.invalid"


@pytest.mark.spec("EVP-2")
def test_what_a_policy_does_not_mention_is_listed() -> None:
    """A field that need not be spoken about is never silently skipped."""
    rules = {path: rule for path, rule in default_rules(FIELDS).items() if path != "mr"}
    verdict = appraise_claims(CLAIMS, FIELDS, rules)
    assert [(left.rule, left.reason) for left in verdict.not_checked] == [
        ("mr", "the policy does not mention it")
    ]


def test_a_refusal_has_its_code_and_stale_collateral_decides_nothing() -> None:
    """Two different things for whoever waits."""
    refused = refusal(EvidenceError("no", code="evidence.signature"))
    stale = refusal(UnavailableError("old", code="endorsement.stale"))
    assert (refused.accepted, refused.decided) == (False, True)
    assert (stale.accepted, stale.decided) == (False, False)
    assert stale.as_record()["reasons"] == [
        {"code": "endorsement.stale", "detail": "old", "expected": "", "found": ""}
    ]
    assert refused.as_record()["hardware_rooted"] is False
