"""The rules of a release: what a request must show. No socket, no clock.

Invariant: `decide` changes nothing. It raises, or says what the requester is entitled to.

Spec: key-release-v1, clauses KR-19 to KR-27, whose numbers the steps below carry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement
from cloister.attestation.result import AttestationResult
from cloister.crypto.digest import require_equal
from cloister.crypto.signature import VerifyingKey
from cloister.errors import (
    AppraisalError,
    EvidenceError,
    ReleaseDeniedError,
)
from cloister.keyservice.messages import ReleaseRequest
from cloister.keyservice.policy import Policy, policy_from_canonical
from cloister.keyservice.policy.appraisal import appraise_named
from cloister.keyservice.policy.evidence_roots import accepted_roots
from cloister.keyservice.policy.model import CodeVolume, Workload
from cloister.keyservice.records import PolicyRecord, Records, VolumeRecord
from cloister.tee.registry import RootOfTrust, by_media_type

__all__ = [
    "CODE_MOUNT",
    "Approval",
    "Claim",
    "decide",
    "require_service",
]

CODE_MOUNT: Final = "/code"


@dataclass(frozen=True, slots=True)
class Claim:
    """One volume that the workload is entitled to, and how."""

    name: str
    access: str
    record: VolumeRecord


@dataclass(frozen=True, slots=True)
class Approval:
    """What a request is entitled to, before leases are taken."""

    record: PolicyRecord
    policy: Policy
    workload: Workload
    result: AttestationResult
    volumes: dict[str, Claim]


def decide(
    request: ReleaseRequest, *, records: Records, own: Sequence[Endorsement], at: int
) -> Approval:
    """Decide whether the requester is what the policy names.

    The caller has checked the service's identity (`require_service`) and spent the nonce. Leases
    and the certificate are the caller's too: they change state.

    Args:
        request: Well-formed, otherwise untrusted.
        records: What the owner applied and registered.
        own: Endorsements that the service has itself; see KR-100.
        at: Now, in seconds since the epoch.

    Raises:
        RefusedError: The first rule that did not hold, by its code.
        MalformedError: The evidence, or an endorsement, does not parse.
        UnavailableError: An endorsement is missing, or does not count now: nothing was decided.

    Spec: key-release-v1, clauses KR-21 to KR-27.
    """
    # KR-21. The policy is one that the owner applied, and no successor has replaced it.
    record = records.policy(request.policy)
    if record is None:
        raise ReleaseDeniedError(
            "the key service does not know this policy",
            code="release.policy-unknown",
            hint="cloister policy apply",
        )
    if not record.current:
        raise ReleaseDeniedError(
            f"policy {record.name} was replaced by a newer one", code="release.policy-changed"
        )
    policy = _parsed(record.canonical)
    # KR-22. The policy names the workload.
    workload = policy.workloads.get(request.workload)
    if workload is None:
        raise ReleaseDeniedError(
            f"policy {record.name} has no workload {request.workload}",
            code="release.workload-unknown",
        )
    # KR-23, KR-24. The policy names the root of trust, and the evidence is genuine by its anchors.
    root = by_media_type(request.evidence.media_type)
    claims = _verify(request, root, policy, own=own, at=at)
    # KR-25. The evidence binds this request, and nothing else.
    require_equal(
        claims.report_data,
        root.bound(request.report_data()),
        error=EvidenceError("the evidence was made for another request", code="evidence.binding"),
    )
    # A volume that another charter governs is as good as none.
    governor = records.governor(policy.namespace)
    # KR-26. Measurement, version, debug, code, runtime and volumes: the policy's own rules.
    known = {
        name: volume
        for name, rule in policy.volumes.items()
        if (volume := records.volume_in(bytes.fromhex(rule.id), governor)) is not None
    }
    result = appraise_named(
        record.hash,
        policy,
        request.workload,
        claims,
        request.measurement,
        volume_roots={name: volume.root for name, volume in known.items()},
    )
    # KR-27. Every volume that the policy names for the workload is registered.
    return Approval(record, policy, workload, result, _claims_by_mount(workload, known))


@lru_cache(maxsize=64)
def _parsed(canonical: bytes) -> Policy:
    return policy_from_canonical(canonical)


def require_service(named: bytes, service: bytes) -> None:
    """KR-19. Raise unless the message was meant for this service.

    Raises:
        EvidenceError: It was made for another one (code `evidence.binding`).
    """
    require_equal(
        named,
        service,
        error=EvidenceError("the request is meant for another service", code="evidence.binding"),
    )


def _verify(
    request: ReleaseRequest,
    root: RootOfTrust,
    policy: Policy,
    *,
    own: Sequence[Endorsement],
    at: int,
) -> Claims:
    anchors = _accepted_anchors(policy, root)
    # KR-100. What was issued last counts, whoever has it: a host cannot hold a newer list back.
    endorsements = root.choose(request.evidence, request.endorsements, own)
    return root.verifier(anchors).verify(request.evidence, endorsements, at=at)


def _accepted_anchors(policy: Policy, root: RootOfTrust) -> list[VerifyingKey] | list[bytes]:
    roots = policy.roots_of_trust
    if root.name == "sim" and roots.sim is not None:
        return [VerifyingKey.from_text(text) for text in roots.sim.anchors]
    if root.name in roots.genuine:
        return sorted(accepted_roots(root.name, roots.genuine[root.name]))
    raise AppraisalError(
        f"the policy does not accept evidence of root of trust {root.name}",
        code="appraisal.root-of-trust",
        rule="roots_of_trust",
        expected=", ".join(roots.names) or "none",
        found=root.name,
    )


def _claims_by_mount(workload: Workload, known: Mapping[str, VolumeRecord]) -> dict[str, Claim]:
    claims = {
        path: Claim(mount.volume, mount.access, _registered(mount.volume, known))
        for path, mount in workload.volumes.items()
    }
    if isinstance(workload.code, CodeVolume):
        name = workload.code.volume
        claims[CODE_MOUNT] = Claim(name, "read", _registered(name, known))
    return claims


def _registered(name: str, known: Mapping[str, VolumeRecord]) -> VolumeRecord:
    record = known.get(name)
    if record is None:
        raise ReleaseDeniedError(
            f"the key service has no key for volume {name}",
            code="release.volume-unknown",
            hint="seal the volume in this trust domain, or correct its id in the policy",
        )
    return record
