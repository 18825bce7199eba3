"""The verdict about one piece of evidence: accepted or not, and every reason. Pure.

Example::

    verdict = appraise_claims(claims, fields, rules)
    verdict.accepted, verdict.status, verdict.reasons
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cloister.attestation.claims import Claims
from cloister.attestation.evidence_rules import Field, Rule, as_text, judge
from cloister.attestation.result import NotChecked, RuleHit
from cloister.errors import CloisterError, MalformedError, UnavailableError
from cloister.wire import Value

__all__ = ["Reason", "Verdict", "appraise_claims", "default_rules", "refusal", "require_complete"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why evidence is not accepted: a registered code, and what was expected and found."""

    code: str
    detail: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about evidence.

    Attributes:
        accepted: Whether it is genuine and every rule holds.
        decided: False where endorsements were missing or stale: it may be accepted another time.
        status: The manufacturer's word for the platform's version; empty where there is none.
        reasons: Why not, all of them; empty where it is accepted.
        checked: The rules that held.
        not_checked: What nobody looked at, with reasons.
        claims: What genuine evidence says; None where it is not known to be genuine.
    """

    accepted: bool
    decided: bool
    status: str
    reasons: tuple[Reason, ...]
    checked: tuple[RuleHit, ...]
    not_checked: tuple[NotChecked, ...]
    claims: Claims | None

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "verdict": "accept" if self.accepted else "reject",
            "decided": self.decided,
            "status": self.status,
            "reasons": [
                {
                    "code": reason.code,
                    "detail": reason.detail,
                    "expected": reason.expected,
                    "found": reason.found,
                }
                for reason in self.reasons
            ],
            "claims": {} if self.claims is None else _record(self.claims),
            "hardware_rooted": self.claims is not None and self.claims.hardware_rooted,
            "not_checked": [
                {"rule": each.rule, "reason": each.reason} for each in self.not_checked
            ],
        }


def default_rules(fields: Sequence[Field]) -> dict[str, Rule]:
    """Return what is asked where nobody wrote a policy."""
    return {field.path: field.default for field in fields}


def require_complete(fields: Sequence[Field], rules: Mapping[str, Rule]) -> None:
    """Check that rules speak about what they must, and about nothing that is not there.

    Raises:
        MalformedError: They do not (`policy.invalid`).
    """
    known = {field.path for field in fields}
    unknown = sorted(set(rules) - known)
    missing = [field.path for field in fields if field.required and field.path not in rules]
    if unknown:
        raise MalformedError(f"no claim is called {unknown[0]}", code="policy.invalid")
    if missing:
        raise MalformedError(
            f"nothing is said about {missing[0]}",
            code="policy.invalid",
            hint="give a value, a bound, or unchecked: and why",
        )


def appraise_claims(claims: Claims, fields: Sequence[Field], rules: Mapping[str, Rule]) -> Verdict:
    """Apply every rule to claims that were verified.

    Args:
        claims: From genuine evidence.
        fields: The root of trust's table.
        rules: By path; what the table requires is there (`require_complete`).

    Raises:
        MalformedError: The rules are not complete (`policy.invalid`).
    """
    require_complete(fields, rules)
    reasons: list[Reason] = []
    checked: list[RuleHit] = []
    not_checked: list[NotChecked] = []
    for field in fields:
        rule = rules.get(field.path)
        if rule is None:
            not_checked.append(NotChecked(field.path, "the policy does not mention it"))
            continue
        judged = judge(field, rule, claims)
        if isinstance(judged, NotChecked):
            not_checked.append(judged)
        elif judged.holds:
            checked.append(RuleHit(judged.path, judged.expected, judged.found))
        else:
            detail = f"{field.path}: {field.about}"
            reasons.append(Reason("appraisal.claim", detail, judged.expected, judged.found))
    if not checked and not reasons:
        reasons.append(Reason("appraisal.claim", "no rule checks anything", "a rule", "none"))
    return Verdict(
        accepted=not reasons,
        decided=True,
        status=claims.status,
        reasons=tuple(reasons),
        checked=tuple(checked),
        not_checked=tuple(not_checked),
        claims=claims,
    )


def refusal(error: CloisterError) -> Verdict:
    """Make the verdict about evidence whose verification raised."""
    return Verdict(
        accepted=False,
        decided=not isinstance(error, UnavailableError),
        status="",
        reasons=(Reason(error.code, error.detail or error.public, "", ""),),
        checked=(),
        not_checked=(),
        claims=None,
    )


def _record(claims: Claims) -> dict[str, object]:
    common: dict[str, object] = {
        "root_of_trust": claims.root_of_trust,
        "anchor": claims.anchor.hex(),
        "measurement": claims.measurement.hex(),
        "report_data": claims.report_data.hex(),
        "debug": claims.debug,
        "security_version": claims.security_version,
        "status": claims.status,
        "advisories": list(claims.advisories),
        "hardware_id": claims.hardware_id.hex(),
    }
    return common | {name: _json(value) for name, value in claims.vendor.items()}


def _json(value: Value) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_json(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _json(each) for name, each in value.items()}
    return value if isinstance(value, (bool, int, str)) or value is None else as_text(value)
