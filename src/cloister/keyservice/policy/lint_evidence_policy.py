"""The part of lint that looks at evidence policies.

Yields (severity, code, path, message); `lint` adds places and hints. An `error` is a rule that can
never hold, one that holds always, or one that undoes the policy; a `warning` deserves a second
look; a `note` says what nobody looks at.

Spec: evidence-policy-v1, clauses EVP-20 to EVP-27.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from cloister.attestation.evidence_rules import (
    AtLeast,
    Field,
    OneOf,
    Rule,
    Unchecked,
    Within,
    as_text,
)
from cloister.keyservice.policy.evidence import MANUFACTURER, EvidencePolicy
from cloister.keyservice.policy.node import join, quote
from cloister.tee.corim import ReferenceValues
from cloister.tee.registry import by_name
from cloister.tee.vocabulary import Shape, shape_of
from cloister.wire import Value

__all__ = ["findings_beside_references", "findings_of_evidence_policy"]

_Found = tuple[Literal["error", "warning", "note"], str, str, str]

_MANY: Final = 32
_FLAGS: Final = 2
_OLD: Final = ("OutOfDate", "OutOfDateConfigurationNeeded")
# Bits that should be clear: what it means where a policy accepts them.
_CLEAR: Final[Mapping[str, str]] = {
    "migratable": "a TD that may be moved to another machine is accepted",
    "policy.migrate_ma": "a guest that an agent may move is accepted",
}
# A rule that asks for what another rule excludes: claim, its value there and how it is spelled,
# and what is excluded.
_EXCLUDES: Final[Sequence[tuple[str, str | bool, str, str]]] = (
    ("event_log.format", "none", "none", "event_log.system."),
    ("event_log.format", "ccel", "ccel", "event_log.system."),
    ("chip_id_masked", True, "set", "hardware_id"),
    ("signing_key", "VCEK", "VCEK", "csp_id"),
)


def findings_of_evidence_policy(policy: EvidencePolicy, table: Sequence[Field]) -> Iterator[_Found]:
    """Yield what is wrong or left open in a valid evidence policy.

    Args:
        policy: A valid one.
        table: The claims of its kind.
    """
    yield from _anchors(policy)
    if all(isinstance(rule, Unchecked) for rule in policy.rules.values()):
        message = "no rule checks anything, so the policy accepts nothing"
        yield "error", "lint.nothing-checked", "claims", message
    prefix = _prefix(policy.kind)
    for field in table:
        rule = policy.rules.get(field.path)
        place = join("claims", field.path)
        name = field.path.removeprefix(prefix)
        if rule is not None:
            yield from _rule(rule, place, name, shape_of(policy.kind, field.path))
        yield from _purpose(field, rule, place, name)
    yield from _excluded(policy, prefix)


def findings_beside_references(
    policy: EvidencePolicy, table: Sequence[Field], references: ReferenceValues
) -> Iterator[_Found]:
    """Yield where a policy and a file with reference values do not say the same.

    Args:
        policy: A valid one.
        table: The claims of its kind.
        references: Of the same kind, from a file whose signature was judged.
    """
    for field in table:
        place = join("claims", field.path)
        rule = policy.rules.get(field.path)
        given = [state[field.path] for _, state in references.states if field.path in state]
        values = [value for each in given if isinstance(each, OneOf) for value in each.values]
        bounds = [each for each in given if not isinstance(each, OneOf)]
        if given and (rule is None or isinstance(rule, Unchecked)):
            message = "there is a reference value for this, and no rule reads it"
            yield "error", "lint.reference-unread", place, message
        elif given and isinstance(rule, OneOf):
            yield from _beside(rule, values, place)
        if any(isinstance(rule, AtLeast) and each != rule for each in bounds):
            message = "the reference value is another bound"
            yield "error", "lint.reference-unread", place, message
        if not given and field.form == "bytes" and isinstance(rule, OneOf) and _says(rule):
            message = "the file with reference values says nothing of this claim"
            yield "warning", "lint.reference-unset", place, message
    for line in references.unread:
        message = f"the file says something that is not read here: {line}"
        yield "warning", "lint.reference-unknown", "", message


def _beside(rule: OneOf, values: Sequence[Value], place: str) -> Iterator[_Found]:
    for value in dict.fromkeys(value for value in values if value not in rule.values):
        message = f"no rule accepts the reference value {as_text(value)}"
        yield "error", "lint.reference-unread", place, message
    for number, value in enumerate(rule.values):
        if value not in values:
            message = "nobody set this value: it is not in the file with reference values"
            yield "error", "lint.reference-unset", f"{place}[{number}]", message


def _says(rule: OneOf) -> bool:
    """Whether a rule compares with more than what stands for nothing: empty, or zeros."""
    return any(isinstance(value, bytes) and any(value) for value in rule.values)


def _prefix(kind: str) -> str:
    """Return how the claims of a kind's processor begin, where it is within another kind."""
    return f"{kind.removeprefix('azure-')}." if kind.startswith("azure-") else ""


def _anchors(policy: EvidencePolicy) -> Iterator[_Found]:
    root = by_name(policy.kind)
    pinned = frozenset[bytes]() if root is None else root.manufacturer_roots()
    own = {f"sha256:{digest.hex()}" for digest in pinned}
    for number, anchor in enumerate(policy.anchors):
        place = f"anchors[{number}]"
        if anchor == MANUFACTURER and not pinned:
            message = "the package pins no root for this kind: this names nobody"
            yield "warning", "lint.anchor-nobody", place, message
        elif anchor in own and MANUFACTURER in policy.anchors:
            message = "this root is among the manufacturer's, which are named as well"
            yield "warning", "lint.anchor-twice", place, message
        elif anchor != MANUFACTURER and anchor not in own:
            message = "this root is not the manufacturer's: what it vouches for is not hardware"
            yield "warning", "lint.anchor-foreign", place, message


def _rule(rule: Rule, place: str, name: str, shape: Shape) -> Iterator[_Found]:
    if isinstance(rule, Unchecked):
        yield "note", "lint.unchecked", place, f"not checked: {rule.reason}"
    elif isinstance(rule, AtLeast):
        yield from _at_least(rule, place, shape)
    elif isinstance(rule, Within):
        yield from _texts(rule.values, place, shape)
    else:
        yield from _one_of(rule, place, name, shape)


def _one_of(rule: OneOf, place: str, name: str, shape: Shape) -> Iterator[_Found]:
    texts = [value for value in rule.values if isinstance(value, str)]
    yield from _texts(texts, place, shape)
    seen: list[object] = []
    for number, value in enumerate(rule.values):
        if not isinstance(value, str) and any(type(s) is type(value) and s == value for s in seen):
            message = f"{as_text(value)} stands here twice"
            yield "error", "lint.value-twice", f"{place}[{number}]", message
        seen.append(value)
        if isinstance(value, bytes):
            yield from _octets(value, f"{place}[{number}]", name, shape)
    flags = {value for value in rule.values if isinstance(value, bool)}
    if len(flags) == _FLAGS:
        message = "both set and clear are accepted, so nothing is checked"
        yield "error", "lint.always", place, message
    if len(rule.values) > _MANY:
        message = f"{len(rule.values)} values are accepted: is each of them still in use?"
        yield "note", "lint.values-many", place, message


def _octets(value: bytes, place: str, name: str, shape: Shape) -> Iterator[_Found]:
    if shape.sizes and len(value) not in shape.sizes:
        sizes = " or ".join(str(size) for size in sorted(shape.sizes)[-4:])
        message = f"this has {len(value)} bytes and never matches: the claim has {sizes}"
        yield "error", "lint.value-length", place, message
    elif name == "measurement" and not any(value):
        message = "a measurement of zeros stands for nothing, or for debug mode"
        yield "error", "lint.value-zero", place, message


def _texts(texts: Sequence[str], place: str, shape: Shape) -> Iterator[_Found]:
    spelled: dict[str, str] = {}
    for number, text in enumerate(texts):
        where = f"{place}[{number}]"
        plain = re.sub(r"[\s_-]", "", text).casefold()
        if plain in spelled:
            message = f"{quote(text)} is {quote(spelled[plain])} again, spelled otherwise"
            yield "error", "lint.value-twice", where, message
        spelled.setdefault(plain, text)
        yield from _text(text, where, shape)


def _text(text: str, place: str, shape: Shape) -> Iterator[_Found]:
    if shape.words is not None and text not in shape.words:
        near = difflib.get_close_matches(text, shape.words, 1)
        folded = [word for word in shape.words if word.casefold() == text.casefold()]
        words = ", ".join(quote(word) for word in sorted(shape.words)) or "nothing at all"
        meant = next(iter(folded + near), "")
        said = f"is {quote(meant)} meant?" if meant else f"it says {words}"
        message = f"evidence of this kind never says {quote(text)} here: {said}"
        yield "error", "lint.value-unknown", place, message
    elif shape.pattern and not re.fullmatch(shape.pattern, text):
        message = f"{quote(text)} is no such name: they are written like {shape.example}"
        yield "error", "lint.value-form", place, message


def _at_least(rule: AtLeast, place: str, shape: Shape) -> Iterator[_Found]:
    least = rule.minimum
    if isinstance(least, int):
        if least == 0:
            message = "every number is at least 0, so nothing is checked"
            yield "error", "lint.at-least-zero", place, message
        return
    if not any(least.values()):
        message = "every part is at least 0, so nothing is checked"
        yield "error", "lint.at-least-zero", place, message
    for part, number in least.items():
        if shape.parts and part not in shape.parts:
            known = ", ".join(sorted(shape.parts))
            message = f"there is no part {quote(part)}, so the rule never holds; there are {known}"
            yield "error", "lint.part-unknown", place, message
        elif number == 0 and any(least.values()):
            message = f"at least 0 checks nothing of {quote(part)}"
            yield "note", "lint.part-zero", place, message


def _purpose(field: Field, rule: Rule | None, place: str, name: str) -> Iterator[_Found]:
    """Find rules that undo what a policy is for."""
    accepts_set = isinstance(rule, Unchecked) or (isinstance(rule, OneOf) and True in rule.values)
    if name == "debug" and field.required and accepts_set:
        message = "an environment that can be inspected from outside is accepted"
        yield "error", "lint.debug", place, message
    if name in _CLEAR and accepts_set:
        yield "warning", "lint.bit-accepted", place, _CLEAR[name]
    if name == "measurement" and field.required and isinstance(rule, Unchecked):
        message = "what runs there is not checked: anybody's program is accepted"
        yield "warning", "lint.measurement-unchecked", place, message
    if name == "status" and isinstance(rule, OneOf):
        for old in (word for word in _OLD if word in rule.values):
            message = f"{old} means that known weaknesses are open there"
            yield "warning", "lint.status-old", place, message
    if name == "hardware_id" and (rule is None or isinstance(rule, Unchecked)):
        message = "which machine it is is not checked: any genuine one is accepted"
        yield "note", "lint.hardware-id-unchecked", place, message
    if name == "report_data" and isinstance(rule, OneOf):
        message = "this accepts the same evidence again and again; --nonce overrides it"
        yield "note", "lint.report-data-fixed", place, message


def _excluded(policy: EvidencePolicy, prefix: str) -> Iterator[_Found]:
    for claim, value, spelled, excluded in _EXCLUDES:
        rule = policy.rules.get(f"{prefix}{claim}") or policy.rules.get(claim)
        if not isinstance(rule, OneOf) or rule.values != (value,):
            continue
        for path, other in policy.rules.items():
            asks = isinstance(other, OneOf) and all(each not in (b"", "") for each in other.values)
            if path.removeprefix(prefix).startswith(excluded) and asks:
                message = f"nobody sets this where {claim} is {spelled}"
                yield "error", "lint.value-unset", join("claims", path), message
