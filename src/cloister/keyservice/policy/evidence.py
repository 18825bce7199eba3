"""Evidence policies: what genuine evidence of one kind must say, as text that people write.

Nothing is optional: what a kind's table requires has a rule, or `{unchecked: <reason>}`. Words are
those of `cloister.attestation.evidence_rules`.

Spec: evidence-policy-v1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cloister.attestation.evidence_rules import AtLeast, Field, Form, OneOf, Rule, Unchecked, Within
from cloister.crypto.digest import framed, sha256
from cloister.errors import MalformedError
from cloister.keyservice.policy.document import read_document
from cloister.keyservice.policy.node import (
    IntegerNode,
    ListNode,
    MapNode,
    Node,
    PolicyProblem,
    Problems,
    TextNode,
    UnusableNode,
    join,
    quote,
)
from cloister.wire import Value, encode

__all__ = [
    "MANUFACTURER",
    "MAX_EVIDENCE_POLICY_BYTES",
    "EvidenceDiagnosis",
    "EvidencePolicy",
    "claims_tree",
    "diagnose_evidence_policy",
    "is_evidence_policy",
    "parse_evidence_policy",
    "read_anchors",
    "read_claim_rules",
]

MAX_EVIDENCE_POLICY_BYTES: Final = 262_144
MANUFACTURER: Final = "manufacturer"
_LABEL: Final = b"cloister/evidence-policy/v1"
_FORMAT: Final = "cloister/v1"
_KEYS: Final = ("evidence_policy", "kind", "anchors", "claims")
_ANCHOR: Final = re.compile(r"manufacturer|sha256:[0-9a-f]{64}")
_MAX_VALUES: Final = 256
_MAX_TEXT: Final = 1024
_MAX_OCTETS: Final = 512
_MIN_REASON: Final = 8
_MAX_REASON: Final = 300
_BITS: Final = {"set": True, "clear": False}

# Which words may judge a claim of which form.
_WORDS: Final[Mapping[Form, tuple[str, ...]]] = MappingProxyType(
    {
        "bytes": ("one_of",),
        "text": ("one_of",),
        "integer": ("one_of", "at_least"),
        "boolean": ("one_of",),
        "texts": ("within",),
        "versions": ("at_least",),
    }
)
_VALUES: Final[Mapping[Form, str]] = MappingProxyType(
    {
        "bytes": "lower-case hex digits, in quotes",
        "text": "a text",
        "integer": "an integer from 0",
        "boolean": "'set' or 'clear'",
        "texts": "a text",
        "versions": "a map of names to integers from 0",
    }
)


@dataclass(frozen=True, slots=True)
class EvidencePolicy:
    """What evidence of one kind must say.

    Attributes:
        kind: Registry name of the root of trust.
        anchors: `manufacturer` for the roots that the package pins, or `sha256:` of a root.
        rules: Path of a claim to its rule.
    """

    kind: str
    anchors: tuple[str, ...]
    rules: Mapping[str, Rule]

    @property
    def hash(self) -> bytes:
        """Return the 32 bytes that name this policy."""
        rules: dict[str, Value] = {path: _rule_value(rule) for path, rule in self.rules.items()}
        tree: Value = {"kind": self.kind, "anchors": list(self.anchors), "claims": rules}
        return sha256(framed(_LABEL, encode(tree)))


@dataclass(frozen=True, slots=True)
class EvidenceDiagnosis:
    """What reading a text found.

    Attributes:
        policy: The policy, where there was no problem.
        problems: Why there is none, all of them.
        positions: Path to (line, column), for messages about parts of a good policy.
    """

    policy: EvidencePolicy | None
    problems: tuple[PolicyProblem, ...]
    positions: Mapping[str, tuple[int, int]]


def is_evidence_policy(data: bytes) -> bool:
    """Tell whether a text calls itself an evidence policy, valid or not."""
    if len(data) > MAX_EVIDENCE_POLICY_BYTES:
        return False
    try:
        root = read_document(data.decode("utf-8", "strict"), Problems())
    except UnicodeDecodeError:
        return False
    return isinstance(root, MapNode) and root.get(_KEYS[0]) is not None


def parse_evidence_policy(
    data: bytes, *, source: str, fields: Callable[[str], Sequence[Field] | None]
) -> EvidencePolicy:
    """Read an evidence policy from untrusted text.

    Args:
        data: Untrusted; UTF-8 of at most `MAX_EVIDENCE_POLICY_BYTES`.
        source: What the text is called, for messages.
        fields: The claims of a kind; None for a kind that there is not.

    Raises:
        MalformedError: `policy.too-large`, `policy.malformed`, or `policy.invalid` with every
            problem in `detail`.
    """
    found = diagnose_evidence_policy(data, source=source, fields=fields)
    if found.policy is not None:
        return found.policy
    raise MalformedError(
        f"{source}: {found.problems[0]}",
        code="policy.malformed" if any(p.malformed for p in found.problems) else "policy.invalid",
        offset=found.problems[0].line,
        detail="\n".join(str(problem) for problem in found.problems),
    )


def diagnose_evidence_policy(
    data: bytes, *, source: str, fields: Callable[[str], Sequence[Field] | None]
) -> EvidenceDiagnosis:
    """Find everything that is wrong with a text, in one pass.

    Raises:
        MalformedError: `policy.too-large` only; nothing of such a text is looked at.
    """
    if len(data) > MAX_EVIDENCE_POLICY_BYTES:
        raise MalformedError(
            f"{source}: an evidence policy has at most {MAX_EVIDENCE_POLICY_BYTES} bytes",
            code="policy.too-large",
        )
    problems = Problems()
    policy: EvidencePolicy | None = None
    try:
        root = read_document(data.decode("utf-8", "strict"), problems)
    except UnicodeDecodeError:
        problems.add(Node(1, 1), "", message="the text is not UTF-8", malformed=True)
    else:
        policy = None if root is None else _read(root, problems, fields)
    good = policy if not problems.found else None
    return EvidenceDiagnosis(good, tuple(problems.found), dict(problems.positions))


def read_claim_rules(
    node: Node, path: str, problems: Problems, fields: Sequence[Field]
) -> dict[str, Rule]:
    """Return the rules of a `claims` map; whoever calls looks at `problems` before using them."""
    if not isinstance(node, MapNode):
        problems.add(node, path, message="expected a map of claims to rules")
        return {}
    known = {field.path: field for field in fields}
    rules: dict[str, Rule] = {}
    for key, value in node.entries:
        place = join(path, key.text)
        problems.positions[place] = (key.line, key.column)
        field = known.get(key.text)
        if field is None:
            problems.add(key, place, message=f"unknown claim; known here: {', '.join(known)}")
            continue
        problems.positions[place] = (key.line, key.column)
        rule = _rule(value, place, problems, field)
        if rule is not None:
            rules[field.path] = rule
    named = {key.text for key, _ in node.entries}
    for field in fields:
        if field.required and field.path not in named:
            problems.add(
                node,
                path,
                message=f"nothing is said about {quote(field.path)} ({field.about})",
                hint="give a rule, or {unchecked: <reason>}",
            )
    return rules


def read_anchors(node: Node, path: str, problems: Problems) -> tuple[str, ...]:
    """Return who may vouch; whoever calls looks at `problems` before using them."""
    _remember(node, path, problems)
    accepted = _texts(node, path, problems, minimum=1)
    if not all(_ANCHOR.fullmatch(anchor) for anchor in accepted):
        problems.add(node, path, message=f"expected '{MANUFACTURER}' or sha256: and 64 hex digits")
    return tuple(accepted)


def claims_tree(rules: Mapping[str, Rule]) -> dict[str, Value]:
    """Return rules as the tree that `read_claim_rules` reads, spelled as people write them."""
    return {path: _as_written(_rule_value(rule)) for path, rule in rules.items()}


def _as_written(value: Value) -> Value:
    if isinstance(value, bool):
        return "set" if value else "clear"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_as_written(each) for each in value]
    if isinstance(value, dict):
        return {name: _as_written(each) for name, each in value.items()}
    return value


def _read(
    root: Node, problems: Problems, fields: Callable[[str], Sequence[Field] | None]
) -> EvidencePolicy | None:
    if not isinstance(root, MapNode):
        problems.add(root, "", message="an evidence policy is a map")
        return None
    for key, _ in root.entries:
        problems.positions[key.text] = (key.line, key.column)
        if key.text not in _KEYS:
            problems.add(key, key.text, message=f"unknown key; known here: {', '.join(_KEYS)}")
    parts = {name: root.get(name) for name in _KEYS}
    for name, part in parts.items():
        if part is None:
            problems.add(root, "", message=f"the key {quote(name)} is missing")
    version, kind, anchors, claims = parts.values()
    if version is None or kind is None or anchors is None or claims is None:
        return None
    if not isinstance(version, TextNode) or version.text != _FORMAT:
        problems.add(version, "evidence_policy", message=f"expected {quote(_FORMAT)}")
    table = fields(kind.text) if isinstance(kind, TextNode) else None
    if table is None or not isinstance(kind, TextNode):
        problems.add(kind, "kind", message="there is no such kind of evidence")
        return None
    accepted = read_anchors(anchors, "anchors", problems)
    rules = read_claim_rules(claims, "claims", problems, table)
    return EvidencePolicy(kind.text, accepted, MappingProxyType(rules))


def _remember(node: Node, place: str, problems: Problems) -> None:
    """Note where each value of a list stands."""
    for number, item in enumerate(node.items if isinstance(node, ListNode) else ()):
        problems.positions[f"{place}[{number}]"] = (item.line, item.column)


def _rule(node: Node, path: str, problems: Problems, field: Field) -> Rule | None:
    words = (*_WORDS[field.form], "unchecked")
    if not isinstance(node, MapNode) or len(node.entries) != 1:
        problems.add(node, path, message=f"expected a map with one of {', '.join(words)}")
        return None
    key, value = node.entries[0]
    if key.text not in words:
        problems.add(
            key, path, message=f"{quote(key.text)} does not judge this; {', '.join(words)} do"
        )
        return None
    _remember(value, path, problems)
    if key.text == "unchecked":
        return _unchecked(value, path, problems)
    if key.text == "within":
        return Within(tuple(_texts(value, path, problems, minimum=0)))
    if key.text == "at_least":
        return _at_least(value, path, problems, field.form)
    return _one_of(value, path, problems, field.form)


def _unchecked(node: Node, path: str, problems: Problems) -> Rule | None:
    if (
        isinstance(node, TextNode)
        and _MIN_REASON <= len(node.text) <= _MAX_REASON
        and node.text.strip()
    ):
        return Unchecked(node.text)
    problems.add(node, path, message="expected a reason of 8 to 300 characters")
    return None


def _one_of(node: Node, path: str, problems: Problems, form: Form) -> Rule | None:
    if not isinstance(node, ListNode) or not 0 < len(node.items) <= _MAX_VALUES:
        problems.add(
            node, path, message=f"expected a list of 1 to {_MAX_VALUES} values: {_VALUES[form]}"
        )
        return None
    values = [_value(item, form) for item in node.items]
    for item, value in zip(node.items, values, strict=True):
        if value is None:
            found = item.what if isinstance(item, UnusableNode) else "something else"
            problems.add(item, path, message=f"expected {_VALUES[form]}; found {found}")
    return OneOf(tuple(value for value in values if value is not None))


def _value(node: Node, form: Form) -> Value:
    if form == "integer":
        return node.number if isinstance(node, IntegerNode) and node.number >= 0 else None
    if not isinstance(node, TextNode) or len(node.text) > _MAX_TEXT:
        return None
    if form == "boolean":
        return _BITS.get(node.text)
    if form == "text":
        return node.text
    return _octets(node.text)


def _octets(text: str) -> bytes | None:
    if len(text) > 2 * _MAX_OCTETS or not re.fullmatch(r"(?:[0-9a-f]{2})*", text):
        return None
    return bytes.fromhex(text)


def _at_least(node: Node, path: str, problems: Problems, form: Form) -> Rule | None:
    if form == "integer" and isinstance(node, IntegerNode) and node.number >= 0:
        return AtLeast(node.number)
    if form == "versions" and isinstance(node, MapNode) and 0 < len(node.entries) <= _MAX_VALUES:
        parts = {
            key.text: part.number
            for key, part in node.entries
            if isinstance(part, IntegerNode) and part.number >= 0
        }
        if len(parts) == len(node.entries):
            return AtLeast(MappingProxyType(parts))
    problems.add(node, path, message=f"expected {_VALUES[form]}")
    return None


def _texts(node: Node, path: str, problems: Problems, *, minimum: int) -> list[str]:
    if isinstance(node, ListNode) and minimum <= len(node.items) <= _MAX_VALUES:
        texts = [
            item.text
            for item in node.items
            if isinstance(item, TextNode) and 0 < len(item.text) <= _MAX_TEXT
        ]
        if len(texts) == len(node.items) and len(set(texts)) == len(texts):
            return texts
    problems.add(
        node, path, message=f"expected a list of {minimum} to {_MAX_VALUES} different texts"
    )
    return []


def _rule_value(rule: Rule) -> Value:
    if isinstance(rule, OneOf):
        return {"one_of": list(rule.values)}
    if isinstance(rule, Within):
        return {"within": list(rule.values)}
    if isinstance(rule, AtLeast):
        least = rule.minimum
        return {"at_least": least if isinstance(least, int) else dict(least)}
    return {"unchecked": rule.reason}
