"""Rule by rule what a policy says of claims, and how two policies differ about them. Pure.

Nothing here is a verdict: what does not hold is told as well as what does, the nearest value of a
reference list is named, and nobody may act on it. `appraise_claims` decides.

Spec: evidence-policy-v1, clauses EVP-30 to EVP-33.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cloister.attestation.claims import Claims
from cloister.attestation.evidence_rules import (
    AtLeast,
    Field,
    OneOf,
    Rule,
    Within,
    as_text,
    claim,
    judge,
)
from cloister.attestation.result import NotChecked
from cloister.wire import Value

__all__ = ["Change", "Outcome", "RuleLine", "changes", "rule_lines"]

Outcome = Literal["holds", "does not hold", "unchecked"]
_UNMENTIONED = "the policy does not mention it"


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One rule beside one claim.

    Attributes:
        path: The claim's.
        about: What it tells.
        outcome: Whether the rule holds, or that nobody looks.
        expected: What the rule wants; empty where nobody looks.
        found: What the evidence says.
        nearest: Which reference value matched or is nearest, and how far it is; may be empty.
        reason: Why nobody looks; otherwise empty.
    """

    path: str
    about: str
    outcome: Outcome
    expected: str
    found: str
    nearest: str
    reason: str

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "rule": self.path,
            "about": self.about,
            "outcome": self.outcome,
            "expected": self.expected or None,
            "found": self.found,
            "nearest": self.nearest or None,
            "reason": self.reason or None,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What one policy says otherwise than another."""

    path: str
    before: Outcome
    after: Outcome


def rule_lines(
    claims: Claims, fields: Sequence[Field], rules: Mapping[str, Rule]
) -> tuple[RuleLine, ...]:
    """Put every claim of a kind beside its rule.

    Args:
        claims: From evidence that was verified, or from a record that somebody vouches for.
        fields: The kind's table.
        rules: By path; claims without one are unchecked.
    """
    return tuple(_line(claims, field, rules) for field in fields)


def changes(before: Sequence[RuleLine], after: Sequence[RuleLine]) -> tuple[Change, ...]:
    """Return the claims about which two policies say different things, in the table's order."""
    known = {line.path: line.outcome for line in before}
    return tuple(
        Change(line.path, known[line.path], line.outcome)
        for line in after
        if line.path in known and known[line.path] != line.outcome
    )


def _line(claims: Claims, field: Field, rules: Mapping[str, Rule]) -> RuleLine:
    found = as_text(claim(claims, field.path))
    rule = rules.get(field.path)
    judged = NotChecked(field.path, _UNMENTIONED) if rule is None else judge(field, rule, claims)
    if isinstance(judged, NotChecked) or rule is None:
        reason = judged.reason if isinstance(judged, NotChecked) else _UNMENTIONED
        return RuleLine(field.path, field.about, "unchecked", "", found, "", reason)
    near = _nearest(claim(claims, field.path), field.path, rule, rules)
    outcome: Outcome = "holds" if judged.holds else "does not hold"
    return RuleLine(field.path, field.about, outcome, judged.expected, found, near, "")


def _nearest(found: Value, path: str, rule: Rule, rules: Mapping[str, Rule]) -> str:
    if found is None:
        return "the evidence has no such claim"
    if isinstance(rule, AtLeast):
        return _short(found, rule.minimum)
    if isinstance(rule, Within):
        texts = [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
        outside = [text for text in texts if text not in rule.values]
        return f"not in the list: {', '.join(outside)}" if outside else ""
    return _among(found, path, rule, rules) if isinstance(rule, OneOf) else ""


def _among(found: Value, path: str, rule: OneOf, rules: Mapping[str, Rule]) -> str:
    for number, value in enumerate(rule.values, 1):
        if type(value) is type(found) and value == found:
            return f"value {number} of {len(rule.values)}" if len(rule.values) > 1 else ""
    if isinstance(found, bytes) and any(found):
        elsewhere = [
            name
            for name, other in rules.items()
            if name != path and isinstance(other, OneOf) and found in other.values
        ]
        if elsewhere:
            return f"the policy expects this value of {', '.join(elsewhere)}"
        return _nearest_bytes(found, rule)
    if isinstance(found, str):
        texts = [value for value in rule.values if isinstance(value, str)]
        near = difflib.get_close_matches(found, texts, 1)
        return f"nearest is {near[0]}" if near else ""
    if isinstance(found, int) and not isinstance(found, bool):
        numbers = [value for value in rule.values if type(value) is int]
        return f"nearest is {min(numbers, key=lambda n: abs(n - found))}" if numbers else ""
    return ""


def _nearest_bytes(found: bytes, rule: OneOf) -> str:
    alike = [v for v in rule.values if isinstance(v, bytes) and len(v) == len(found)]
    if not alike:
        return f"no value of the policy has {len(found)} bytes"
    distance, near = min((sum(map(int.__ne__, v, found)), v) for v in alike)
    return f"nearest is {near.hex()}: {distance} of {len(found)} bytes differ"


def _short(found: Value, minimum: int | Mapping[str, int]) -> str:
    """Say which parts fall short, and by how much."""
    if isinstance(minimum, int):
        return ""
    parts = found if isinstance(found, dict) else {}
    missing = [
        f"{name} is {as_text(parts.get(name))} and not {least}"
        for name, least in minimum.items()
        if not (type(value := parts.get(name)) is int and value >= least)
    ]
    return "; ".join(missing)
