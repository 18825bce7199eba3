"""Rules beside claims, the nearest value, and what two policies say otherwise."""

from __future__ import annotations

from typing import Final

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence_rules import AtLeast, Field, OneOf, Rule, Unchecked, Within
from cloister.attestation.explanation import Change, changes, rule_lines
from cloister.attestation.verdict import appraise_claims
from cloister.wire import Value

NONE: Final = Unchecked("no policy was given")


def field(path: str, form: str) -> Field:
    """A claim that nothing is asked of by default."""
    return Field(path, form, required=False, default=NONE, about=f"about {path}")  # type: ignore[arg-type]  # a form


FIELDS: Final = (
    field("measurement", "bytes"),
    field("rtmr1", "bytes"),
    field("status", "text"),
    field("advisories", "texts"),
    field("debug", "boolean"),
    field("svn", "integer"),
    field("tcb", "versions"),
)
VENDOR: Final[dict[str, Value]] = {"rtmr1": b"\x11" * 48, "svn": 7, "tcb": {"snp": 19, "tee": 1}}
CLAIMS: Final = Claims(
    root_of_trust="tdx",
    anchor=bytes(32),
    hardware_rooted=False,
    measurement=b"\xaa" * 48,
    report_data=bytes(64),
    debug=False,
    security_version=0,
    status="OutOfDate",
    advisories=("INTEL-SA-00001", "INTEL-SA-00002"),
    hardware_id=b"",
    vendor=VENDOR,
)


@pytest.mark.spec("EVP-30", "EVP-31")
@pytest.mark.parametrize(
    ("path", "rule", "outcome", "nearest"),
    [
        ("measurement", OneOf((b"\xaa" * 48,)), "holds", ""),
        ("measurement", OneOf((b"b", b"\xaa" * 48)), "holds", "value 2 of 2"),
        (
            "measurement",
            OneOf((b"\xbb" * 48, b"\xaa" * 47 + b"\xab")),
            "does not hold",
            f"nearest is {'aa' * 47}ab: 1 of 48 bytes differ",
        ),
        (
            "measurement",
            OneOf((b"\xaa" * 32,)),
            "does not hold",
            "no value of the policy has 48 bytes",
        ),
        ("status", OneOf(("UpToDate", "OutOfDat")), "does not hold", "nearest is OutOfDat"),
        ("status", OneOf(("x",)), "does not hold", ""),
        ("svn", OneOf((1, 9, 20)), "does not hold", "nearest is 9"),
        ("svn", AtLeast(8), "does not hold", ""),
        ("svn", AtLeast(7), "holds", ""),
        ("debug", OneOf((True,)), "does not hold", ""),
        (
            "advisories",
            Within(("INTEL-SA-00002",)),
            "does not hold",
            "not in the list: INTEL-SA-00001",
        ),
        ("advisories", Within(("INTEL-SA-00001", "INTEL-SA-00002")), "holds", ""),
        (
            "tcb",
            AtLeast({"snp": 20, "tee": 1, "fmc": 1}),
            "does not hold",
            "snp is 19 and not 20; fmc is absent and not 1",
        ),
        ("tcb", AtLeast({"snp": 19}), "holds", ""),
        ("tcb", Unchecked("not known here"), "unchecked", ""),
    ],
)
def test_each_rule_is_explained(path: str, rule: Rule, outcome: str, nearest: str) -> None:
    """With the value that matched or is nearest."""
    lines = {line.path: line for line in rule_lines(CLAIMS, FIELDS, {path: rule})}
    assert [line.path for line in lines.values()] == [each.path for each in FIELDS]
    line = lines[path]
    assert (line.outcome, line.nearest) == (outcome, nearest)
    assert line.as_record()["rule"] == path
    others = {each.outcome for name, each in lines.items() if name != path}
    assert others == {"unchecked"}


@pytest.mark.spec("EVP-31")
def test_values_that_were_swapped_are_found() -> None:
    """A value of one claim that the policy expects of another."""
    rules = {"measurement": OneOf((b"\x11" * 48,)), "rtmr1": OneOf((b"\xaa" * 48,))}
    first, second = rule_lines(CLAIMS, FIELDS, rules)[:2]
    assert first.nearest == "the policy expects this value of rtmr1"
    assert second.nearest == "the policy expects this value of measurement"


def test_a_claim_that_is_not_there() -> None:
    """Is near to nothing."""
    rules: dict[str, Rule] = {"rtmr9": OneOf((b"\x11" * 48,))}
    [line] = rule_lines(CLAIMS, (field("rtmr9", "bytes"),), rules)
    assert (line.found, line.nearest) == ("absent", "the evidence has no such claim")


@pytest.mark.spec("EVP-33")
def test_what_two_policies_say_otherwise() -> None:
    """Only that."""
    before = rule_lines(CLAIMS, FIELDS, {"svn": AtLeast(8), "debug": OneOf((False,))})
    after = rule_lines(CLAIMS, FIELDS, {"svn": AtLeast(7), "debug": OneOf((False,))})
    assert changes(before, after) == (Change("svn", "does not hold", "holds"),)
    assert changes(before, before) == ()
    assert changes((), after) == ()


@pytest.mark.spec("EVP-30")
def test_lines_say_what_a_verdict_decides() -> None:
    """By the same rules, claim by claim."""
    rules: dict[str, Rule] = {
        "svn": AtLeast(8),
        "debug": OneOf((False,)),
        "tcb": Unchecked("not known here"),
    }
    verdict = appraise_claims(CLAIMS, FIELDS, rules)
    lines = rule_lines(CLAIMS, FIELDS, rules)
    holding = [line.path for line in lines if line.outcome == "holds"]
    failing = [line.path for line in lines if line.outcome == "does not hold"]
    assert holding == [each.rule for each in verdict.checked]
    assert failing == [each.detail.partition(":")[0] for each in verdict.reasons]
    left_out = {line.path: line.reason for line in lines if line.outcome == "unchecked"}
    assert left_out == {each.rule: each.reason for each in verdict.not_checked}
