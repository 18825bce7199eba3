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
from cloister.attestation.evidence import Endorsement, Evidence, ReportData
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
from cloister.keyservice.policy.networks import mounts_of, require_index
from cloister.keyservice.policy.rules import NO_DEVICES
from cloister.keyservice.records import PolicyRecord, Records, VolumeRecord
from cloister.tee.composite import (
    COMPOSITE_MEDIA_TYPE,
    CompositeEvidence,
    PartVerifier,
    verify_composite,
)
from cloister.tee.registry import RootOfTrust, by_media_type

__all__ = [
    "CODE_MOUNT",
    "Approval",
    "Claim",
    "decide",
    "establish",
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
    """What a request is entitled to, before leases are taken.

    Attributes:
        record: The current policy, as it is kept.
        policy: What it says.
        workload: The role.
        index: Of the instance, where those of its role are numbered; None elsewhere.
        result: What the evidence came to.
        volumes: Mount point to volume.
    """

    record: PolicyRecord
    policy: Policy
    workload: Workload
    index: int | None
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
    # KR-25. It binds this request, and nothing else.
    claims, devices = establish(
        request.evidence,
        request.endorsements,
        policy,
        nonce=request.nonce,
        request=request.report_data(),
        own=own,
        at=at,
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
        devices=devices,
    )
    # MEM-17. Where instances are numbered, this one has a number of its role's.
    index = require_index(policy, request.workload, request.instance)
    # KR-27. Every volume that the policy names for the workload is registered.
    return Approval(
        record, policy, workload, index, result, _claims_by_mount(workload, request.instance, known)
    )


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


def establish(
    evidence: Evidence,
    endorsements: Sequence[Endorsement],
    policy: Policy,
    *,
    nonce: bytes,
    request: ReportData,
    own: Sequence[Endorsement],
    at: int,
) -> tuple[Claims, Mapping[str, Claims]]:
    """Return what genuine evidence for this very request says, of the processor and beside it.

    Args:
        evidence: Untrusted.
        endorsements: Untrusted; what came along with it.
        policy: Whose anchors count.
        nonce: The judge's own, never used before.
        request: What the evidence must have bound.
        own: Endorsements that the judge has himself.
        at: Now, in seconds since the epoch.

    Raises:
        RefusedError: It is not what the policy accepts, not genuine, or made for something else.
        MalformedError: The evidence, or an endorsement, does not parse.
        UnavailableError: An endorsement is missing, or does not count now.
    """
    if evidence.media_type == COMPOSITE_MEDIA_TYPE:
        return _establish_composite(
            evidence, endorsements, policy, nonce=nonce, request=request, own=own, at=at
        )
    root = by_media_type(evidence.media_type)
    anchors = _accepted_anchors(policy, root)
    section = policy.roots_of_trust.genuine.get(root.name)
    if section is not None and section.devices:
        raise EvidenceError(
            "the policy asks for evidence of the accelerators as well", code="evidence.parts"
        )
    # KR-100. What was issued last counts, whoever has it: a host cannot hold a newer list back.
    chosen = root.choose(evidence, endorsements, own)
    claims = root.verifier(anchors).verify(evidence, chosen, at=at)
    require_equal(
        claims.report_data,
        root.bound(request),
        error=EvidenceError("the evidence was made for another request", code="evidence.binding"),
    )
    return claims, NO_DEVICES


def _establish_composite(
    evidence: Evidence,
    sent: Sequence[Endorsement],
    policy: Policy,
    *,
    nonce: bytes,
    request: ReportData,
    own: Sequence[Endorsement],
    at: int,
) -> tuple[Claims, Mapping[str, Claims]]:
    """KR-104. Do the same for a processor with accelerators: both for each other, or nothing."""
    parts = CompositeEvidence.from_evidence(evidence)
    cpu, gpu = by_media_type(parts.cpu.media_type), by_media_type(parts.gpu.media_type)
    section = policy.roots_of_trust.genuine.get(cpu.name)
    device = None if section is None else section.devices.get(gpu.name)
    if section is None or device is None:
        raise _not_accepted(policy, f"{cpu.name} with {gpu.name}")
    # What vouches for a processor has media types of its own; the rest is the accelerators'.
    of_cpu = tuple(each for each in sent if each.media_type in cpu.endorsed_by)
    of_gpu = tuple(each for each in sent if each.media_type not in cpu.endorsed_by)
    found = verify_composite(
        parts,
        {
            "cpu": PartVerifier(
                cpu.verifier(sorted(accepted_roots(cpu.name, section))),
                cpu.choose(parts.cpu, of_cpu, own),
            ),
            "gpu": PartVerifier(gpu.verifier(sorted(accepted_roots(gpu.name, device))), of_gpu),
        },
        nonce=nonce,
        request=request,
        at=at,
    )
    return found.cpu, {gpu.name: found.gpu}


def _accepted_anchors(policy: Policy, root: RootOfTrust) -> list[VerifyingKey] | list[bytes]:
    roots = policy.roots_of_trust
    if root.name == "sim" and roots.sim is not None:
        return [VerifyingKey.from_text(text) for text in roots.sim.anchors]
    if root.name in roots.genuine:
        return sorted(accepted_roots(root.name, roots.genuine[root.name]))
    raise _not_accepted(policy, root.name)


def _not_accepted(policy: Policy, found: str) -> AppraisalError:
    return AppraisalError(
        f"the policy does not accept evidence of root of trust {found}",
        code="appraisal.root-of-trust",
        rule="roots_of_trust",
        expected=", ".join(policy.roots_of_trust.names) or "none",
        found=found,
    )


def _claims_by_mount(
    workload: Workload, instance: str, known: Mapping[str, VolumeRecord]
) -> dict[str, Claim]:
    # KR-38. Of shards the one of this instance, and nothing of another's.
    claims = {
        path: Claim(mount.volume, mount.access, _registered(mount.volume, known))
        for path, mount in mounts_of(workload, instance).items()
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
