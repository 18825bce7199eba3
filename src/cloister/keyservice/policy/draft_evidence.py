"""An evidence policy as text: complete, commented, and free of lint errors.

What comes out is for a person to read and change; it is read back before it is returned.

Spec: reference-values-v1, clauses REF-30 to REF-32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.attestation.evidence_rules import AtLeast, Field, OneOf, Rule, Unchecked, Within
from cloister.errors import MalformedError
from cloister.keyservice.policy.evidence import MANUFACTURER, parse_evidence_policy
from cloister.keyservice.policy.lint import lint_text
from cloister.wire import Value

__all__ = ["EvidenceDraft", "draft_evidence_policy"]

_UNKNOWN: Final = Unchecked("nobody has said yet what is accepted here")
_WIDTH: Final = 98


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceDraft:
    """The facts that a draft is written from.

    Attributes:
        kind: The kind of evidence.
        anchors: As the policy spells them.
        rules: By claim; what the kind requires beside them gets its default, or a reason.
        sources: What the values come from, a line each.
        unread: What the source says and the policy does not, a line each.
    """

    kind: str
    anchors: Sequence[str] = (MANUFACTURER,)
    rules: Mapping[str, Rule]
    sources: Sequence[str]
    unread: Sequence[str]


def draft_evidence_policy(draft: EvidenceDraft, table: Sequence[Field]) -> str:
    """Return YAML that says what `draft` says.

    Raises:
        MalformedError: The facts make no policy, or one with lint errors (`policy.invalid`).
    """
    text = "\n".join(_lines(draft, table)) + "\n"
    data = text.encode()
    parsed = parse_evidence_policy(
        data, source="draft", fields=lambda kind: table if kind == draft.kind else None
    )
    if any(parsed.rules.get(path) != rule for path, rule in draft.rules.items()):
        raise MalformedError("the draft does not say what was asked for", code="policy.invalid")
    wrong = [each for each in lint_text(data, source="draft") if each.severity == "error"]
    if wrong:
        raise MalformedError(
            f"{wrong[0].path}: {wrong[0].message}",
            code="policy.invalid",
            detail="\n".join(f"{each.code} {each.path}: {each.message}" for each in wrong),
        )
    return text


def _lines(draft: EvidenceDraft, table: Sequence[Field]) -> Iterator[str]:
    yield "# What evidence must say. Read it, and look at: cloister policy lint"
    for line in draft.sources:
        yield _comment(f"From {line}")
    for line in draft.unread:
        yield _comment(f"NOT in this policy: {line}")
    yield "evidence_policy: cloister/v1"
    yield f"kind: {draft.kind}"
    yield f"anchors: [{', '.join(json.dumps(each) for each in draft.anchors)}]"
    yield "claims:"
    for field in table:
        rule = draft.rules.get(field.path)
        if rule is None and not field.required:
            continue
        yield _comment(field.about, indent="  ")
        yield f"  {_name(field.path)}: {_rule(rule if rule is not None else _default(field))}"


def _default(field: Field) -> Rule:
    return _UNKNOWN if isinstance(field.default, Unchecked) else field.default


def _comment(text: str, *, indent: str = "") -> str:
    """Write a line that nothing in it can end."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return f"{indent}# {plain[:_WIDTH]}{'…' if len(plain) > _WIDTH else ''}"


def _rule(rule: Rule) -> str:
    if isinstance(rule, OneOf):
        return "{one_of: [" + ", ".join(_value(value) for value in rule.values) + "]}"
    if isinstance(rule, Within):
        return "{within: [" + ", ".join(json.dumps(each) for each in rule.values) + "]}"
    if isinstance(rule, AtLeast):
        least = rule.minimum
        if isinstance(least, int):
            return f"{{at_least: {least}}}"
        parts = ", ".join(f"{json.dumps(name)}: {number}" for name, number in least.items())
        return f"{{at_least: {{{parts}}}}}"
    return f"{{unchecked: {json.dumps(rule.reason, ensure_ascii=False)}}}"


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "set" if value else "clear"
    if isinstance(value, bytes):
        return json.dumps(value.hex())
    return json.dumps(value, ensure_ascii=False)


def _name(path: str) -> str:
    return path if path.replace("_", "").isalnum() else json.dumps(path)
