"""What the service remembers of a job: its epoch, and its live members. No secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Job", "Member"]


@dataclass(frozen=True, slots=True)
class Member:
    """An instance that was granted a release, until it leaves, lapses or is expelled.

    Attributes:
        role: The workload of the policy.
        instance: The requester's name for itself; with the role, the member's name in the job.
        identity: The SPIFFE ID in its certificate.
        policy: Hash of the policy that admitted it.
        evidence: SHA-256 of the evidence envelope of its newest release.
        result: SHA-256 of the attestation result of that release.
        key_digest: SHA-256 of the HPKE key in that evidence.
        since: When it joined, in seconds since the epoch.
        renewed: When its newest release was granted.
        expires: When the certificate of that release ends, and the membership with it.
    """

    role: str
    instance: str
    identity: str
    policy: bytes
    evidence: bytes
    result: bytes
    key_digest: bytes
    since: int
    renewed: int
    expires: int


@dataclass(frozen=True, slots=True)
class Job:
    """One policy name in a namespace, across its versions.

    Attributes:
        namespace: The tenant.
        name: The policy's name there.
        policy: Hash of the version that every live member was admitted by.
        epoch: Rises by one with each change of the set of members; 0 before the first.
        live: Role to the number of its live members; roles without one are absent.
        soonest: No member's time is over before; None where there is no member.
    """

    namespace: str
    name: str
    policy: bytes
    epoch: int
    live: Mapping[str, int]
    soonest: int | None
