"""What an EAR says of a verdict about hardware: claims in the manufacturer's spelling, bounded.

Spec: ear-v1, clauses EAR-36 to EAR-39.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cloister.attestation.result import NotChecked
from cloister.errors import MalformedError
from cloister.wire import Fields, Value
from cloister.wire.strict_json import write_json

__all__ = ["VERDICT_CLAIM", "VERDICT_VERSION", "VerdictFacts", "VerdictWord", "read_verdict"]

VerdictWord = Literal["accept", "reject", "undecided"]

VERDICT_CLAIM: Final = "cloister_verdict"
VERDICT_VERSION: Final = 1
MAX_CLAIMS: Final = 512
MAX_CLAIMS_BYTES: Final = 65536
_MAX_REASONS: Final = 64
_MAX_RULES: Final = 1024
_MAX_TEXT: Final = 4096
_MAX_NAME: Final = 255
_WORDS: Final[tuple[VerdictWord, ...]] = ("accept", "reject", "undecided")


@dataclass(frozen=True, slots=True)
class VerdictFacts:
    """What only Cloister's own tokens say of one piece of evidence.

    Attributes:
        root_of_trust: Registry name, such as `tdx`.
        verdict: Whether it was accepted.
        hardware_rooted: True only where a root of the manufacturer's that the package pins vouched.
        status: The manufacturer's word for the platform's version.
        reasons: Code and detail of each reason why it is not accepted.
        checked: The rules that held, by their claims' paths.
        not_checked: What nobody looked at.
        claims: What genuine evidence says, in the manufacturer's spelling, bytes as hex digits;
            None where it is not known to be genuine.
    """

    root_of_trust: str
    verdict: VerdictWord
    hardware_rooted: bool
    status: str
    reasons: tuple[tuple[str, str], ...]
    checked: tuple[str, ...]
    not_checked: tuple[NotChecked, ...]
    claims: Mapping[str, Value] | None

    @property
    def debug(self) -> bool:
        """Whether the evidence says that its environment can be inspected from outside."""
        return self.claims is not None and self.claims.get("debug") is True

    def as_record(self) -> dict[str, object]:
        """Return the claim's members, as they stand in a token and as `--json` prints them."""
        record: dict[str, object] = {
            "version": VERDICT_VERSION,
            "root_of_trust": self.root_of_trust,
            "verdict": self.verdict,
            "hardware_rooted": self.hardware_rooted,
            "status": self.status,
            "reasons": [{"code": code, "detail": detail} for code, detail in self.reasons],
            "checked": list(self.checked),
            "not_checked": [
                {"rule": item.rule, "reason": item.reason} for item in self.not_checked
            ],
        }
        return record if self.claims is None else record | {"claims": dict(self.claims)}


def read_verdict(fields: Fields) -> VerdictFacts:
    """Read the claim from an untrusted claims-set.

    Raises:
        MalformedError: It has another form, or contradicts itself (`token.malformed`).

    Spec: ear-v1, clauses EAR-36 and EAR-37.
    """
    fields.constant("version", VERDICT_VERSION)
    word = fields.text("verdict", max_length=_MAX_NAME)
    verdict = next((each for each in _WORDS if each == word), None)
    if verdict is None:
        raise _malformed("a verdict is accept, reject or undecided")
    found = VerdictFacts(
        root_of_trust=fields.text("root_of_trust", max_length=_MAX_NAME),
        verdict=verdict,
        hardware_rooted=fields.boolean("hardware_rooted"),
        status=fields.text("status", max_length=_MAX_NAME),
        reasons=tuple(_reason(item) for item in fields.array("reasons", max_items=_MAX_REASONS)),
        checked=tuple(fields.texts("checked", max_items=_MAX_RULES, max_length=_MAX_TEXT)),
        not_checked=tuple(
            _not_checked(item) for item in fields.array("not_checked", max_items=_MAX_RULES)
        ),
        claims=_claims(fields.anything("claims")) if fields.has("claims") else None,
    )
    fields.end()
    _require_consistent(found)
    return found


def _require_consistent(facts: VerdictFacts) -> None:
    if not facts.root_of_trust:
        raise _malformed("root_of_trust is empty")
    if (facts.verdict == "accept") != (not facts.reasons):
        raise _malformed("a verdict has reasons where, and only where, it does not accept")
    if facts.claims is None:
        if facts.verdict == "accept" or facts.hardware_rooted or facts.checked:
            raise _malformed("nothing is known of evidence without claims")
    elif facts.claims.get("root_of_trust") != facts.root_of_trust or not isinstance(
        facts.claims.get("debug"), bool
    ):
        raise _malformed("a verdict's claims are of its root of trust, and say debug")
    if facts.verdict == "accept" and not facts.checked:
        raise _malformed("a verdict without rules accepts nothing")


def _claims(value: Value) -> Mapping[str, Value]:
    if not isinstance(value, dict) or not 0 < len(value) <= MAX_CLAIMS:
        raise _malformed(f"a verdict has 1 to {MAX_CLAIMS} claims")
    if not all(0 < len(name) <= _MAX_NAME for name in value):
        raise _malformed(f"the name of a claim has 1 to {_MAX_NAME} characters")
    _require_plain(value)
    if len(write_json(value)) > MAX_CLAIMS_BYTES:
        raise _malformed(f"a verdict's claims have at most {MAX_CLAIMS_BYTES} bytes")
    return value


def _require_plain(value: object) -> None:
    """Refuse fractions; depth was bounded when the token was read."""
    if isinstance(value, dict):
        for each in value.values():
            _require_plain(each)
    elif isinstance(value, list):
        for each in value:
            _require_plain(each)
    elif value is not None and not isinstance(value, bool | int | str):
        raise _malformed("claims are texts, integers, truths, and lists and objects of them")


def _reason(item: Value) -> tuple[str, str]:
    fields = Fields(item, what="EAR reason", code="token.malformed")
    found = (
        fields.text("code", max_length=_MAX_NAME),
        fields.text("detail", max_length=_MAX_TEXT),
    )
    fields.end()
    return found


def _not_checked(item: Value) -> NotChecked:
    fields = Fields(item, what="EAR check left out", code="token.malformed")
    found = NotChecked(
        rule=fields.text("rule", max_length=_MAX_TEXT),
        reason=fields.text("reason", max_length=_MAX_TEXT),
    )
    fields.end()
    return found


def _malformed(problem: str) -> MalformedError:
    return MalformedError(problem, code="token.malformed")
