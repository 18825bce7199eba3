"""Evidence policies: what they may say, and every way in which a text says none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cloister.attestation.evidence_rules import AtLeast, Field, OneOf, Unchecked, Within
from cloister.errors import MalformedError
from cloister.keyservice.policy.evidence import EvidencePolicy, parse_evidence_policy

NONE = Unchecked("no policy was given")
FIELDS = (
    Field("status", "text", required=True, default=NONE, about="version"),
    Field("advisories", "texts", required=True, default=NONE, about="weaknesses"),
    Field("policy.debug", "boolean", required=True, default=NONE, about="inspectable"),
    Field("mr_td", "bytes", required=False, default=NONE, about="image"),
    Field("svn", "integer", required=False, default=NONE, about="number"),
    Field("tcb", "versions", required=False, default=NONE, about="parts"),
)
GOOD = """
evidence_policy: cloister/v1
kind: tdx
anchors: [manufacturer, "sha256:{anchor}"]
claims:
  status: {{one_of: [UpToDate, SWHardeningNeeded]}}
  advisories: {{within: [INTEL-SA-00615]}}
  policy.debug: {{one_of: [clear]}}
  mr_td: {{one_of: ["00ff"]}}
  svn: {{at_least: 3}}
  tcb: {{at_least: {{snp: 5, tee: 0}}}}
""".format(anchor="ab" * 32)


def table(kind: str) -> Sequence[Field] | None:
    """The claims of the one kind that there is here."""
    return FIELDS if kind == "tdx" else None


def parse(text: str) -> EvidencePolicy:
    """Read a policy."""
    return parse_evidence_policy(text.encode(), source="p.yaml", fields=table)


@pytest.mark.spec("EVP-1")
@pytest.mark.spec("EVP-4")
def test_a_policy_reads_as_its_rules() -> None:
    """Each word by the form of its claim."""
    policy = parse(GOOD)
    assert policy.kind == "tdx"
    assert policy.anchors == ("manufacturer", "sha256:" + "ab" * 32)
    assert policy.rules == {
        "status": OneOf(("UpToDate", "SWHardeningNeeded")),
        "advisories": Within(("INTEL-SA-00615",)),
        "policy.debug": OneOf((False,)),
        "mr_td": OneOf((b"\x00\xff",)),
        "svn": AtLeast(3),
        "tcb": AtLeast({"snp": 5, "tee": 0}),
    }


@pytest.mark.spec("EVP-6")
def test_the_hash_names_what_is_said() -> None:
    """Neither comments nor the order of claims, and everything else."""
    policy = parse(GOOD)
    lines = GOOD.strip().splitlines()
    moved = "\n".join([*lines[:4], lines[5], lines[4], *lines[6:]])
    assert parse(moved + "\n# comment\n").hash == policy.hash
    for old, new in [("at_least: 3", "at_least: 4"), ("clear", "set"), ("00ff", "00fe")]:
        assert parse(GOOD.replace(old, new)).hash != policy.hash
    left_out = GOOD.replace("{at_least: 3}", "{unchecked: one machine only}")
    assert parse(left_out).rules["svn"] == Unchecked("one machine only")
    assert parse(left_out).hash != policy.hash


@pytest.mark.spec("EVP-2")
@pytest.mark.parametrize("name", ["status", "advisories", "policy.debug"])
def test_what_must_be_said_is_said(name: str) -> None:
    """A check that was forgotten is an error, not a check less."""
    lines = [line for line in GOOD.splitlines() if not line.startswith(f"  {name}:")]
    with pytest.raises(MalformedError, match="nothing is said") as e:
        parse("\n".join(lines))
    assert e.value.code == "policy.invalid"


@pytest.mark.spec("EVP-3")
@pytest.mark.spec("EVP-5")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("evidence_policy: cloister/v1", "evidence_policy: cloister/v2"),
        ("evidence_policy: cloister/v1", ""),
        ("kind: tdx", "kind: sgx"),
        ("kind: tdx", "kind: [tdx]"),
        ("kind: tdx", "kind: tdx\nmore: 1"),
        ("[manufacturer,", "[anybody,"),
        ("anchors: [manufacturer, ", "anchors: [manufacturer, manufacturer, "),
        ('anchors: [manufacturer, "sha256:' + "ab" * 32 + '"]', "anchors: []"),
        ("status: {one_of: [UpToDate, SWHardeningNeeded]}", "status: UpToDate"),
        ("status: {one_of: [UpToDate, SWHardeningNeeded]}", "status: {one_of: []}"),
        ("status: {one_of: [UpToDate, SWHardeningNeeded]}", "status: {one_of: UpToDate}"),
        ("status: {one_of: [UpToDate, SWHardeningNeeded]}", "status: {one_of: [3]}"),
        ("status: {one_of: [UpToDate, SWHardeningNeeded]}", "status: {at_least: 3}"),
        ("status: {one_of: [UpToDate, SWHardeningNeeded]}", "status: {unchecked: short}"),
        ("status: {one_of: [UpToDate, SWHardeningNeeded]}", 'status: {unchecked: "         "}'),
        ("status: {one_of: [UpToDate, SWHardeningNeeded]}", "status: {}"),
        ("status: {one_of: [UpToDate, SWHardeningNeeded]}", "status: {one_of: [a], within: [b]}"),
        ("within: [INTEL-SA-00615]", "within: [3]"),
        ("within: [INTEL-SA-00615]", "within: [A, A]"),
        ("within: [INTEL-SA-00615]", "one_of: [A]"),
        ("one_of: [clear]", "one_of: [false]"),
        ("one_of: [clear]", "one_of: [no]"),
        ("one_of: [clear]", "one_of: [cleared]"),
        ('"00ff"', '"00f"'),
        ('"00ff"', '"00FF"'),
        ('"00ff"', '"0x00"'),
        ("at_least: 3", "at_least: -3"),
        ("at_least: 3", 'at_least: "3"'),
        ("at_least: 3", "within: [a]"),
        ("{snp: 5, tee: 0}", "{}"),
        ("{snp: 5, tee: 0}", "{snp: five}"),
        ("{snp: 5, tee: 0}", "5"),
        ("  svn:", "  svm:"),
    ],
)
def test_what_is_no_policy_is_refused(old: str, new: str) -> None:
    """With the line, before any evidence is looked at."""
    assert old in GOOD
    with pytest.raises(MalformedError) as e:
        parse(GOOD.replace(old, new))
    assert e.value.code == "policy.invalid"


@pytest.mark.spec("EVP-3")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "policy.malformed"),
        (b"\xff", "policy.malformed"),
        (b"[1, 2]", "policy.invalid"),
        (b"a: &x 1", "policy.malformed"),
        (b"claims: 1", "policy.invalid"),
        (b" " * 262_145, "policy.too-large"),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes, code: str) -> None:
    """Before anything of it is believed."""
    with pytest.raises(MalformedError) as e:
        parse_evidence_policy(data, source="p.yaml", fields=table)
    assert e.value.code == code


def test_every_problem_is_listed() -> None:
    """So that one look at the text is enough."""
    bad = GOOD.replace("[clear]", "[false]").replace("at_least: 3", "at_least: x")
    with pytest.raises(MalformedError) as e:
        parse(bad)
    assert e.value.detail is not None
    assert len(e.value.detail.splitlines()) == 2
