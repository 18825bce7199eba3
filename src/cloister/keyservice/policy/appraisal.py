"""The decision: does this environment, with this code, satisfy the policy for this workload?

Pure. The caller has verified the evidence, and has checked that its report data binds the launch
measurement, the workload and everything else of the request (`cloister.attestation.binding`).

Spec: release-policy-v1, clauses POL-50 to POL-61.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

from cloister.attestation.claims import Claims
from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import AttestationResult, NotChecked, RuleHit
from cloister.errors import AppraisalError, ReleaseDeniedError
from cloister.keyservice.policy.canonical import policy_hash
from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.rules import NO_DEVICES, Rule, rules

__all__ = ["appraise", "appraise_named"]

_SIMULATED: Final = "sim"  # says nothing besides what every result has


def appraise(
    policy: Policy,
    workload: str,
    claims: Claims,
    measurement: LaunchMeasurement,
    *,
    volume_roots: Mapping[str, bytes],
    devices: Mapping[str, Claims] = NO_DEVICES,
) -> AttestationResult:
    """Return what was established, where every rule of the policy holds for this workload.

    The numbered procedure, each step in `rules`: (1) the workload is named; (2) the root of trust
    is named; (3) so is its platform; (4) the launcher's image; (5) debug; (6) security version;
    (7) code; (8) runtime; (9) every volume. The first that does not hold decides.

    Args:
        policy: The policy in force.
        workload: The role that is asked for; untrusted.
        claims: Facts from evidence that has been verified.
        measurement: What that evidence binds.
        volume_roots: Name of a volume in the policy to the state that is anchored for it; absent
            where the key service does not know the volume.
        devices: Kind to the claims of accelerators, bound to the processor's.

    Raises:
        AppraisalError: A rule does not hold; the error names it with expected and found.
        ReleaseDeniedError: The workload or a volume is unknown.
        MalformedError: The policy was built by hand and is none.

    Spec: release-policy-v1, clauses POL-50 to POL-61.
    """
    return appraise_named(
        policy_hash(policy),
        policy,
        workload,
        claims,
        measurement,
        volume_roots=volume_roots,
        devices=devices,
    )


def appraise_named(
    name: bytes,
    policy: Policy,
    workload: str,
    claims: Claims,
    measurement: LaunchMeasurement,
    *,
    volume_roots: Mapping[str, bytes],
    devices: Mapping[str, Claims] = NO_DEVICES,
) -> AttestationResult:
    """Do what `appraise` does, where the caller knows the policy's hash already.

    For the key service, which finds policies by their hash: hashing again costs more than judging.
    """
    checked: list[RuleHit] = []
    not_checked: list[NotChecked] = []
    found = rules(
        policy,
        workload,
        claims,
        measurement=measurement,
        volume_roots=volume_roots,
        devices=devices,
    )
    for rule in found:
        if rule.verdict == "holds":
            checked.append(RuleHit(rule.path, rule.expected, rule.found))
        elif rule.verdict == "unchecked":
            not_checked.append(NotChecked(rule.path, rule.reason))
        else:
            _refuse(rule)
    return AttestationResult(
        policy=name,
        workload=workload,
        root_of_trust=claims.root_of_trust,
        # Of a machine with accelerators all of it is, or none.
        hardware_rooted=all(each.hardware_rooted for each in (claims, *devices.values())),
        anchor=claims.anchor,
        measurement=claims.measurement,
        security_version=claims.security_version,
        debug=claims.debug,
        launch=measurement,
        checked=tuple(checked),
        not_checked=tuple(not_checked),
        vendor={} if claims.root_of_trust == _SIMULATED else claims.vendor,
    )


def _refuse(rule: Rule) -> NoReturn:
    if rule.code.startswith("release."):
        raise ReleaseDeniedError(
            f"{rule.sentence}", code=rule.code, detail=f"{rule.path}: found {rule.found}"
        )
    raise AppraisalError(
        f"{rule.sentence}",
        code=rule.code,
        rule=rule.path,
        expected=rule.expected,
        found=rule.found,
        hint=f"it nearly is {rule.nearest}" if rule.nearest else None,
    )
