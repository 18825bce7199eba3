"""Why a policy accepts or refuses: every rule with what it expected and what was found.

Spec: release-policy-v1, clauses POL-61 and POL-64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloister.attestation.claims import Claims
from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import digest_to_text
from cloister.keyservice.policy.canonical import policy_hash
from cloister.keyservice.policy.description import secrets_of
from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.rules import NO_DEVICES, Rule, rules

__all__ = ["Explanation", "RuleChange", "explain", "rule_changes"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All rules of one decision, judged.

    It shows what `appraise` would do; it is not a decision, and releases nothing.

    Attributes:
        policy: The policy's hash.
        workload: The role that was asked for.
        hardware_rooted: False where no hardware signed.
        rules: In the order in which they decide.
        secrets: What the workload would get by name, with kind and epoch in words; no values.
    """

    policy: bytes
    workload: str
    hardware_rooted: bool
    rules: tuple[Rule, ...]
    secrets: Mapping[str, str]

    @property
    def refused_by(self) -> Rule | None:
        """The rule that decides against, or None where `appraise` would return a result."""
        return next((r for r in self.rules if r.verdict in {"refused", "not reached"}), None)

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints."""
        decided = self.refused_by
        return {
            "policy": digest_to_text(self.policy),
            "workload": self.workload,
            "hardware_rooted": self.hardware_rooted,
            "refused": decided is not None,
            "code": decided.code if decided is not None else None,
            "secrets": dict(self.secrets),
            "rules": [
                {
                    "number": rule.number,
                    "rule": rule.path,
                    "expected": rule.expected,
                    "found": rule.found,
                    "verdict": rule.verdict,
                    "code": rule.code if rule.verdict == "refused" else None,
                    "sentence": rule.sentence or None,
                    "nearest": rule.nearest or None,
                    "reason": rule.reason or None,
                }
                for rule in self.rules
            ],
        }


def explain(
    policy: Policy,
    workload: str,
    claims: Claims,
    measurement: LaunchMeasurement,
    *,
    volume_roots: Mapping[str, bytes],
    devices: Mapping[str, Claims] = NO_DEVICES,
) -> Explanation:
    """Judge every rule, without stopping at the first that does not hold.

    Arguments are those of `appraise`; so is the order, and by construction the outcome.
    """
    found = tuple(
        rules(
            policy,
            workload,
            claims,
            measurement=measurement,
            volume_roots=volume_roots,
            devices=devices,
        )
    )
    named = policy.workloads.get(workload)
    rows = () if named is None else secrets_of(policy, named)
    secrets = {row.label: row.value for row in rows}
    rooted = all(each.hardware_rooted for each in (claims, *devices.values()))
    return Explanation(policy_hash(policy), workload, rooted, found, secrets)


@dataclass(frozen=True, slots=True)
class RuleChange:
    """What one policy says otherwise than another; `absent` where it has no such rule."""

    path: str
    before: str
    after: str


def rule_changes(before: Explanation, after: Explanation) -> tuple[RuleChange, ...]:
    """Return the rules about which two policies differ on one machine, in the order of the second.

    For information only: neither explanation decides anything.
    """
    known = {(rule.number, rule.path): rule.verdict for rule in before.rules}
    found = [
        RuleChange(rule.path, known.get((rule.number, rule.path), "absent"), rule.verdict)
        for rule in after.rules
        if known.get((rule.number, rule.path)) != rule.verdict
    ]
    there = {(rule.number, rule.path) for rule in after.rules}
    found += [
        RuleChange(rule.path, rule.verdict, "absent")
        for rule in before.rules
        if (rule.number, rule.path) not in there
    ]
    return tuple(found)
