"""Who is in a job: how members join, renew, leave, are expelled and lapse. Pure rules.

Invariants:
    1. A job's epoch rises by one with every change of its set of members, for ever, and not when a
       member renews.
    2. A live member was admitted by the job's current policy, and its certificate has not ended.
    3. A role never has more live members than its policy allows, nor a job more than
       `MAX_MEMBERS`.
    4. Where a role's instances are numbered, no two live members have one index.

`lapse` comes first: the other functions take a job whose lapsed members are gone.

Spec: membership-v1, clauses MEM-1 to MEM-19.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from cloister.crypto.digest import same_bytes
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.member_records import Job, Member
from cloister.keyservice.policy.networks import instance_index

__all__ = [
    "MAX_MEMBERS",
    "Admission",
    "Departure",
    "admit",
    "displaced",
    "has_lapses",
    "lapse",
    "new_job",
    "part",
]

MAX_MEMBERS: Final = 1000


@dataclass(frozen=True, slots=True)
class Admission:
    """The job with a member that joined or renewed, and whose places it took."""

    job: Job
    member: Member
    gone: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Departure:
    """The job without the members that are gone from it."""

    job: Job
    gone: tuple[Member, ...]


def new_job(namespace: str, name: str, *, policy: bytes) -> Job:
    """Return a job that nobody has joined yet."""
    return Job(namespace, name, policy, epoch=0, live={}, soonest=None)


def has_lapses(job: Job, *, policy: bytes, at: int) -> bool:
    """Tell whether `lapse` may find anything; saves looking at every member."""
    return job.policy != policy or (job.soonest is not None and at >= job.soonest)


def lapse(job: Job, members: Iterable[Member], *, policy: bytes, at: int) -> Departure:
    """MEM-5, MEM-6. Take out whose time is over, and whom an older version of the policy admitted.

    Args:
        job: As it is remembered.
        members: All of its members.
        policy: Hash of the current version.
        at: Now, in seconds since the epoch.
    """
    staying: list[Member] = []
    gone: list[Member] = []
    for member in members:
        stays = member.policy == policy and at < member.expires
        (staying if stays else gone).append(member)
    changed = replace(
        job,
        policy=policy,
        epoch=job.epoch + (1 if gone else 0),
        live=dict(Counter(member.role for member in staying)),
        soonest=min((member.expires for member in staying), default=None),
    )
    return Departure(changed, tuple(gone))


def displaced(
    members: Iterable[Member], candidate: Member, *, index: int | None
) -> tuple[Member, ...]:
    """MEM-18. Return the live members whose place a candidate takes: of its role and index.

    Args:
        members: Of the job, without lapsed ones.
        candidate: Whom the policy would admit now.
        index: Its own, or None where the instances of its role are not numbered.
    """
    if index is None:
        return ()
    return tuple(
        member
        for member in members
        if member.role == candidate.role
        and member.instance != candidate.instance
        and instance_index(member.instance) == index
    )


def admit(
    job: Job,
    candidate: Member,
    *,
    present: Member | None,
    gone: tuple[Member, ...],
    expelled: bool,
    maximum: int | None,
) -> Admission:
    """Let somebody in, or renew whoever shows the key of the present member of that name.

    Args:
        job: Without lapsed members.
        candidate: Whom the policy would admit now.
        present: The live member of the same role and instance.
        gone: Whose place it takes (`displaced`).
        expelled: Whether the candidate's key was expelled under this policy.
        maximum: How many members the policy allows in the role; None where it does not say.

    Raises:
        ReleaseDeniedError: `release.expelled`; `release.instance-taken`, another key has that name
            and is live; `release.too-many`.
    """
    # MEM-10. An expelled key gets nothing again under the version that it was expelled from.
    if expelled:
        raise ReleaseDeniedError(
            f"the owner expelled this instance of {candidate.role}", code="release.expelled"
        )
    expires = candidate.expires
    soonest = expires if job.soonest is None else min(job.soonest, expires)
    if present is not None:
        # MEM-11. A name belongs to one key while its holder is live.
        if not same_bytes(present.key_digest, candidate.key_digest):
            raise ReleaseDeniedError(
                f"{candidate.role}/{candidate.instance} is the name of another live member",
                code="release.instance-taken",
                hint="choose another instance name, or wait until that member has left or lapsed",
            )
        # MEM-3. The same key renews: the set stays as it is, and so does the epoch.
        renewed = replace(job, soonest=soonest)
        return Admission(renewed, replace(candidate, since=present.since), ())
    # MEM-18. Whose place it takes is out before it is in.
    job = part(job, gone).job
    soonest = expires if job.soonest is None else min(job.soonest, expires)
    # MEM-12, MEM-13. As many as the policy allows, and never more than a job can hold.
    taken = job.live.get(candidate.role, 0)
    if (maximum is not None and taken >= maximum) or sum(job.live.values()) >= MAX_MEMBERS:
        raise ReleaseDeniedError(
            f"there are as many live members of {candidate.role} as there may be",
            code="release.too-many",
            hint="a member that leaves, lapses or is expelled frees its place",
        )
    # MEM-2. The set changes, and the epoch with it.
    joined = replace(
        job,
        epoch=job.epoch + 1,
        live={**job.live, candidate.role: taken + 1},
        soonest=soonest,
    )
    return Admission(joined, candidate, gone)


def part(job: Job, gone: Iterable[Member]) -> Departure:
    """MEM-4. Take live members out together, because they leave or are expelled."""
    leaving = tuple(gone)
    live = Counter(job.live)
    live.subtract(member.role for member in leaving)
    left = {role: count for role, count in live.items() if count}
    changed = replace(
        job,
        epoch=job.epoch + (1 if leaving else 0),
        live=left,
        soonest=job.soonest if left else None,
    )
    return Departure(changed, leaving)
