"""Evidence policies written from facts."""

from __future__ import annotations

import pytest

from cloister.attestation.evidence_rules import AtLeast, Field, OneOf, Rule, Unchecked, Within
from cloister.errors import MalformedError
from cloister.keyservice.policy.draft_evidence import EvidenceDraft, draft_evidence_policy
from cloister.keyservice.policy.evidence import parse_evidence_policy
from cloister.keyservice.policy.lint import lint_text
from cloister.tee.registry import ROOTS_OF_TRUST, by_name


def table(kind: str) -> tuple[Field, ...]:
    """A kind's claims."""
    root = by_name(kind)
    assert root is not None
    return root.fields()


def draft(kind: str, rules: dict[str, Rule], *unread: str) -> str:
    """A draft from one source."""
    facts = EvidenceDraft(kind=kind, rules=rules, sources=["somewhere"], unread=unread)
    return draft_evidence_policy(facts, table(kind))


@pytest.mark.spec("REF-30", "REF-31")
def test_a_draft_says_what_was_asked_for() -> None:
    """And the strict defaults for the rest; what has none says that nobody has said it."""
    rules: dict[str, Rule] = {
        "measurement": OneOf((b"\1" * 48, b"\2" * 48)),
        "status": OneOf(("UpToDate", "SWHardeningNeeded")),
        "advisories": Within(("INTEL-SA-00615",)),
        "tcb": AtLeast({"pcesvn": 5, "01": 0}),
        "qe_svn": AtLeast(3),
        "event_log.format": OneOf(("dstack",)),
        "rtmr3": Unchecked("what runs inside extends it: “later”"),
    }
    text = draft("tdx", rules)
    parsed = parse_evidence_policy(text.encode(), source="d", fields=table)
    assert {path: parsed.rules[path] for path in rules} == rules
    assert parsed.rules["debug"] == OneOf((False,))
    assert isinstance(parsed.rules["rtmr0"], Unchecked)
    assert parsed.anchors == ("manufacturer",)
    assert not [each for each in lint_text(text.encode(), source="d") if each.severity == "error"]


@pytest.mark.parametrize("kind", [root.name for root in ROOTS_OF_TRUST if root.name != "tpm"])
def test_every_kind_has_a_draft(kind: str) -> None:
    """With one value."""
    size = {"sgx": 32, "sim": 32, "cca": 32}.get(kind, 48)
    assert f"kind: {kind}\n" in draft(kind, {"measurement": OneOf((b"\1" * size,))})


@pytest.mark.spec("REF-30")
def test_what_is_unread_is_a_comment_that_nothing_ends() -> None:
    """Whatever characters it has."""
    rules: dict[str, Rule] = {"measurement": OneOf((b"\1" * 48,))}
    text = draft("tdx", rules, "a\nkind: sim", "b\u2028c", "x" * 500)
    lines = [line for line in text.splitlines() if line.startswith("# NOT in this policy")]
    assert len(lines) == 3
    assert lines[0] == "# NOT in this policy: a\N{REPLACEMENT CHARACTER}kind: sim"
    assert all(len(line) < 110 for line in lines)
    parse_evidence_policy(text.encode(), source="d", fields=table)


@pytest.mark.spec("REF-31")
@pytest.mark.parametrize(
    "rules",
    [
        {"measurement": OneOf((b"\1" * 32,))},
        {"measurement": OneOf((b"\1" * 48,)), "debug": OneOf((True,))},
        {"measurement": OneOf((b"\1" * 48,)), "qe_svn": AtLeast(0)},
        {"nothing": OneOf((b"\1",))},
        {"measurement": OneOf(())},
    ],
)
def test_what_makes_no_policy_is_not_handed_out(rules: dict[str, Rule]) -> None:
    """Nor what lint finds an error in, nor less than was asked for."""
    with pytest.raises(MalformedError) as e:
        draft("tdx", rules)
    assert e.value.code == "policy.invalid"
