"""Rows of jobs, their members and expelled keys. Pure.

Each job has a table of its own for its members, so that asking about one job reads no other's rows.
"""

from __future__ import annotations

from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.keyservice.member_records import Job, Member
from cloister.wire import Fields, Value, encode

__all__ = [
    "EXPELLED_TABLE",
    "JOBS_TABLE",
    "expelled_key",
    "job_from_row",
    "job_key",
    "job_to_row",
    "member_from_row",
    "member_key",
    "member_to_row",
    "members_table",
]

JOBS_TABLE: Final = "jobs"
EXPELLED_TABLE: Final = "expelled"
_MAX_ROW: Final = 8192


def job_key(namespace: str, name: str) -> bytes:
    """Return the key of a job's row."""
    return encode([namespace, name])


def members_table(namespace: str, name: str) -> str:
    """Return the table of one job's members; names of policies have no slash."""
    return f"members/{namespace}/{name}"


def member_key(role: str, instance: str) -> bytes:
    """Return the key of a member's row."""
    return encode([role, instance])


def expelled_key(policy: bytes, key_digest: bytes) -> bytes:
    """Return the key of an expelled key's row; both parts have 32 bytes."""
    return policy + key_digest


def job_to_row(job: Job) -> bytes:
    """Return a job's row."""
    live: dict[str, Value] = dict(job.live)
    value: dict[str, Value] = {
        "namespace": job.namespace,
        "name": job.name,
        "policy": job.policy,
        "epoch": job.epoch,
        "live": live,
    }
    if job.soonest is not None:
        value["soonest"] = job.soonest
    return encode(value)


def job_from_row(data: bytes) -> Job:
    """Read a job's row."""
    fields = Fields.decode(data, what="job row", max_bytes=_MAX_ROW)
    live = fields.submap("live")
    soonest = fields.integer("soonest") if fields.has("soonest") else None
    job = Job(
        namespace=fields.text("namespace"),
        name=fields.text("name"),
        policy=fields.octets("policy", length=DIGEST_BYTES),
        epoch=fields.integer("epoch"),
        live={role: live.integer(role, minimum=1) for role in live.keys()},  # noqa: SIM118  # Fields, not a dict
        soonest=soonest,
    )
    fields.end()
    return job


def member_to_row(member: Member) -> bytes:
    """Return a member's row."""
    return encode(
        {
            "role": member.role,
            "instance": member.instance,
            "identity": member.identity,
            "policy": member.policy,
            "evidence": member.evidence,
            "result": member.result,
            "key": member.key_digest,
            "since": member.since,
            "renewed": member.renewed,
            "expires": member.expires,
        }
    )


def member_from_row(data: bytes) -> Member:
    """Read a member's row."""
    fields = Fields.decode(data, what="member row", max_bytes=_MAX_ROW)
    member = Member(
        role=fields.text("role"),
        instance=fields.text("instance"),
        identity=fields.text("identity"),
        policy=fields.octets("policy", length=DIGEST_BYTES),
        evidence=fields.octets("evidence", length=DIGEST_BYTES),
        result=fields.octets("result", length=DIGEST_BYTES),
        key_digest=fields.octets("key", length=DIGEST_BYTES),
        since=fields.integer("since"),
        renewed=fields.integer("renewed"),
        expires=fields.integer("expires"),
    )
    fields.end()
    return member
