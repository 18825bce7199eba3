"""Rules over claims: what satisfies them, and what absent or odd claims never do."""

from __future__ import annotations

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence_rules import (
    AtLeast,
    Field,
    Form,
    OneOf,
    Rule,
    Unchecked,
    Within,
    as_text,
    claim,
    judge,
)
from cloister.attestation.result import NotChecked
from cloister.errors import MalformedError

CLAIMS = Claims(
    root_of_trust="tdx",
    anchor=b"a" * 32,
    hardware_rooted=True,
    measurement=b"m",
    report_data=b"r" * 64,
    debug=False,
    security_version=3,
    status="UpToDate",
    advisories=("INTEL-SA-1",),
    hardware_id=b"",
    vendor={"policy": {"debug": False, "minor": 1}, "tcb": {"snp": 5, "tee": 0}, "debug": True},
)


def judged(path: str, rule: Rule, form: Form = "text") -> bool:
    """Whether the rule holds for the claims above."""
    found = judge(Field(path, form, required=True, default=rule, about="x"), rule, CLAIMS)
    assert not isinstance(found, NotChecked)
    return found.holds


@pytest.mark.spec("EVP-10")
@pytest.mark.parametrize(
    ("path", "rule", "holds"),
    [
        ("status", OneOf(("UpToDate", "SWHardeningNeeded")), True),
        ("status", OneOf(("OutOfDate",)), False),
        ("status", OneOf(()), False),
        ("debug", OneOf((False,)), True),
        ("debug", OneOf((0,)), False),
        ("security_version", OneOf((3,)), True),
        ("security_version", AtLeast(3), True),
        ("security_version", AtLeast(4), False),
        ("debug", AtLeast(0), False),
        ("tcb", AtLeast({"snp": 5}), True),
        ("tcb", AtLeast({"snp": 6}), False),
        ("tcb", AtLeast({"snp": 5, "microcode": 0}), False),
        ("status", AtLeast({"snp": 0}), False),
        ("advisories", Within(("INTEL-SA-1", "INTEL-SA-2")), True),
        ("advisories", Within(()), False),
        ("status", Within(("UpToDate",)), False),
        ("policy.debug", OneOf((False,)), True),
        ("policy.absent", OneOf((False,)), False),
        ("policy.debug.deeper", OneOf((False,)), False),
        ("absent", AtLeast(0), False),
        ("absent", Within(()), False),
        ("hardware_id", OneOf((b"",)), True),
    ],
)
def test_a_rule_holds_for_what_it_names_and_for_nothing_else(
    path: str,
    rule: Rule,
    holds: bool,  # noqa: FBT001  # a column of the table above
) -> None:
    """An absent claim satisfies nothing; true is not 1."""
    assert judged(path, rule) is holds


def test_a_vendor_field_cannot_stand_for_a_common_one() -> None:
    """`debug` is what the verifier said, whatever else is called so."""
    assert claim(CLAIMS, "debug") is False


def test_unchecked_says_why() -> None:
    """And there is always a why."""
    rule = Unchecked("the lab has one machine")
    field = Field("status", "text", required=True, default=rule, about="x")
    assert judge(field, rule, CLAIMS) == NotChecked("status", "the lab has one machine")
    for reason in ("", "  "):
        with pytest.raises(MalformedError):
            Unchecked(reason)


def test_claims_are_shown_as_people_read_them() -> None:
    """Bytes as hex, nothing as `absent`."""
    assert as_text({"a": [b"\x01", True, None, 3]}) == "{a: [01, true, absent, 3]}"
