"""The receipt of a job: which instances ran, by which receipts of theirs, on which shards.

It is written by whoever ran the job, whom nobody needs to trust, and has no signature. All that it
claims is checked against the receipts of the instances, each signed by an attested launcher, and
against the policy that it carries, whose hash is in every one of those. No I/O here: files are read
by a function that the caller gives.

Spec: job-receipt-v1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloister.crypto.digest import digest_to_text, sha256
from cloister.errors import AppraisalError, MalformedError, TamperedError
from cloister.keyservice.policy.canonical import (
    canonical_bytes,
    policy_from_canonical,
    policy_hash,
)
from cloister.keyservice.policy.model import Mount, ShardMount
from cloister.keyservice.policy.networks import indexed_roles, instance_index
from cloister.launcher.receipt import MAX_RECEIPT_BYTES, verify_run_receipt
from cloister.training.job_claims import FORMAT, read_claims
from cloister.training.job_plan import plan_job
from cloister.wire.strict_json import read_json

if TYPE_CHECKING:
    from cloister.crypto.signature import VerifyingKey
    from cloister.keyservice.policy.model import Policy
    from cloister.launcher.receipt import VerifiedReceipt
    from cloister.training.job_claims import InstanceClaim, JobClaims, RunClaim
    from cloister.training.supervision import Task

__all__ = [
    "Part",
    "VerifiedJob",
    "VerifiedPart",
    "make_job_receipt",
    "verify_job_receipt",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What is known of one instance when the job has ended.

    Attributes:
        task: Which.
        restarts: How often it was started again.
        status: The exit status of its last process, or None.
        receipts: The receipts of its lives, by the number of the life; a killed one left none.
    """

    task: Task
    restarts: int
    status: int | None
    receipts: Mapping[int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPart:
    """One instance, as its receipts prove it.

    Attributes:
        task: Which.
        restarts: How often the operator says that it was started again.
        runs: The receipts of its lives, oldest first.
        shards: Mount point to the volume that its runs had there.
    """

    task: Task
    restarts: int
    runs: tuple[VerifiedReceipt, ...]
    shards: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedJob:
    """A job receipt that its instances' receipts bear out.

    Attributes:
        policy: The policy of all of them.
        status: `done`, `failed` or `stopped`; `done` is proved, the others are the operator's word.
        until: Roles whose end ended the job, where the operator named some.
        parts: The instances.
        complete: Whether these are all instances that the policy has.
        hardware_rooted: Whether every run had evidence that hardware signed; False for no run.
        shards: Role and mount point to how many of the policy's shards were opened, and of how
            many.
    """

    policy: Policy
    status: str
    until: tuple[str, ...]
    parts: tuple[VerifiedPart, ...]
    complete: bool
    hardware_rooted: bool
    shards: Mapping[tuple[str, str], tuple[int, int]]


def make_job_receipt(
    policy: Policy,
    parts: Sequence[Part],
    *,
    began: int,
    ended: int,
    status: str,
    until: Sequence[str] = (),
) -> bytes:
    """Return the receipt as JSON (JR-1 to JR-6).

    Raises:
        MalformedError: An instance left something that is no receipt.
    """
    document = {
        "format": FORMAT,
        "policy": {
            "digest": digest_to_text(policy_hash(policy)),
            "canonical": canonical_bytes(policy).hex(),
        },
        "began": began,
        "ended": ended,
        "status": status,
        "until": sorted(until),
        "instances": [
            {
                "role": part.task.role,
                "index": part.task.index,
                "restarts": part.restarts,
                "status": part.status,
                "runs": [
                    _run(part.task, number, part.receipts[number])
                    for number in sorted(part.receipts)
                ],
                "shards": {
                    point: {"volume": mount.volume, "id": policy.volumes[mount.volume].id}
                    for point, mount in _shards_of(policy, part.task)
                },
            }
            for part in sorted(parts, key=lambda each: each.task)
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def verify_job_receipt(
    data: bytes,
    read: Callable[[str], bytes],
    *,
    ca: bytes,
    service: VerifyingKey,
    origin: str,
) -> VerifiedJob:
    """Establish that attested instances of the pinned trust domain ran as the receipt says.

    Args:
        data: Untrusted.
        read: Returns a named file beside the receipt, untrusted; names are like
            `receipts/worker-0.1.json`.
        ca: PEM of the trust domain's authority, pinned.
        service: The key service's public key, pinned.
        origin: The name of its log, pinned.

    Raises:
        MalformedError: Not such a receipt, or a policy in it that is none.
        TamperedError: It does not say what the receipts of its instances say (`job.receipt`).
        AppraisalError: A run had another shard than its own, or a job that is done left one out
            (`job.shards`).
        CloisterError: A receipt of an instance does not hold, for the reasons of `receipt-v1`.

    Spec: JR-10 to JR-18.
    """
    claims = read_claims(data)  # JR-10
    policy = _policy(claims)  # JR-11
    check = _Check(policy, read, ca=ca, service=service, origin=origin)
    roles = check.require_members(claims.instances)  # JR-12
    parts = tuple(check.part(claim) for claim in claims.instances)  # JR-13 to JR-16
    shards = _opened(policy, parts)
    if claims.status == "done":
        _require_done(policy, parts, roles, claims.until)  # JR-17
        _require_all(shards)  # JR-18
    runs = [run for part in parts for run in part.runs]
    return VerifiedJob(
        policy=policy,
        status=claims.status,
        until=claims.until,
        parts=parts,
        complete=roles == indexed_roles(policy),
        hardware_rooted=bool(runs) and all(run.hardware_rooted for run in runs),
        shards=shards,
    )


@dataclass(slots=True)
class _Check:
    """What stays the same while one receipt is checked."""

    policy: Policy
    read: Callable[[str], bytes]
    ca: bytes = field(kw_only=True)
    service: VerifyingKey = field(kw_only=True)
    origin: str = field(kw_only=True)
    seen: set[str] = field(default_factory=set)

    def require_members(self, claims: Sequence[InstanceClaim]) -> frozenset[str]:
        """JR-12: each is an instance of the policy; of a role all are there. Return the roles."""
        tasks = [claim.task for claim in claims]
        roles = frozenset(task.role for task in tasks)
        if not tasks or not roles <= indexed_roles(self.policy):
            raise _differs("it names instances that the policy does not have")
        wanted = plan_job(self.policy, only=roles).seats
        if tasks != sorted(wanted):
            raise _differs("of a role in it not all instances are there, once and in order")
        return roles

    def part(self, claim: InstanceClaim) -> VerifiedPart:
        """Check what is claimed of one instance."""
        mine = {
            point: (mount.volume, self.policy.volumes[mount.volume].id)
            for point, mount in _shards_of(self.policy, claim.task)
        }
        if dict(claim.shards) != mine:
            raise _differs(f"{claim.task.name} has other shards than the policy gives it")
        runs = tuple(self._run(claim, run) for run in claim.runs)
        return VerifiedPart(
            task=claim.task,
            restarts=claim.restarts,
            runs=runs,
            shards={point: name for point, (name, _) in mine.items()} if runs else {},
        )

    def _run(self, claim: InstanceClaim, run: RunClaim) -> VerifiedReceipt:
        data = self.read(run.file)
        if digest_to_text(sha256(data)) != run.digest:  # JR-13
            raise _differs(f"{run.file} is another file than the one that it names")
        receipt = verify_run_receipt(
            data, ca=self.ca, service=self.service, origin=self.origin
        )  # JR-14
        body = receipt.body
        said = (body["policy"], body["workload"], receipt.identity, body["status"])
        policy = digest_to_text(policy_hash(self.policy))
        if said != (policy, claim.task.role, run.identity, run.status):  # JR-15
            raise _differs(f"{run.file} says something else than what is said of it")
        if instance_index(body["instance"]) != claim.task.index:
            raise _differs(f"{run.file} is of another instance than {claim.task.name}")
        if receipt.identity in self.seen:
            raise _differs(f"{run.file} is of a run that stands there twice")
        self.seen.add(receipt.identity)
        _require_own_shards(self.policy, claim.task, run.file, body)  # JR-16
        return receipt


def _require_own_shards(policy: Policy, task: Task, file: str, body: Mapping[str, Any]) -> None:
    """JR-16: at a mount of shards, a run had the one of its index, and nothing else."""
    for point, mount in _shards_of(policy, task):
        rule = policy.volumes[mount.volume]
        wanted = (mount.volume, rule.id, mount.access)
        found = [
            (volume.get("name"), volume.get("id"), volume.get("access"), volume.get("before"))
            for volume in _volumes(body)
            if volume.get("mount") == point
        ]
        path = f"workloads.{task.role}.volumes.{point}.shards[{task.index}]"
        if [each[:3] for each in found] != [wanted]:
            raise AppraisalError(
                f"{file} had another shard at {point} than {task.name} has",
                code="job.shards",
                rule=path,
                expected=mount.volume,
                found=", ".join(str(each[0]) for each in found) or "none",
            )
        before = found[0][3]
        root = before.get("root") if isinstance(before, dict) else None
        if rule.root not in {"latest", root}:
            raise AppraisalError(
                f"{file} had another state of its shard than the policy's",
                code="job.shards",
                rule=f"volumes.{mount.volume}.root",
                expected=rule.root,
                found=str(root),
            )


def _require_done(
    policy: Policy, parts: Sequence[VerifiedPart], roles: frozenset[str], until: Sequence[str]
) -> None:
    """JR-17: whoever had to end well did, in the last of its lives."""
    if not set(until) <= roles:
        raise _differs("it waits for a role that it does not have")
    seats = plan_job(policy, only=roles, until=until).seats
    for part in parts:
        if seats[part.task].part != "ends":
            continue
        last = part.runs[-1].body if part.runs else None
        if last is None or last["status"] != 0 or last["failure"] is not None:
            raise _differs(f"the job is not done: no receipt says that {part.task.name} ended well")


def _require_all(shards: Mapping[tuple[str, str], tuple[int, int]]) -> None:
    """JR-18: the shards that were opened are the set that the policy has."""
    for (role, point), (opened, all_) in shards.items():
        if opened != all_:
            raise AppraisalError(
                f"the job is done, and at {point} of {role} not every shard was opened",
                code="job.shards",
                rule=f"workloads.{role}.volumes.{point}.shards",
                expected=f"{all_} shards",
                found=str(opened),
            )


def _opened(
    policy: Policy, parts: Sequence[VerifiedPart]
) -> dict[tuple[str, str], tuple[int, int]]:
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for role in sorted({part.task.role for part in parts}):
        for point, mount in policy.workloads[role].volumes.items():
            if isinstance(mount, ShardMount):
                names = {part.shards.get(point) for part in parts if part.task.role == role}
                found[role, point] = (len(names - {None}), len(set(mount.shards)))
    return found


def _shards_of(policy: Policy, task: Task) -> Iterator[tuple[str, Mount]]:
    for point, mount in policy.workloads[task.role].volumes.items():
        if isinstance(mount, ShardMount):
            yield point, Mount(volume=mount.shards[task.index], access=mount.access)


def _volumes(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    volumes = body["volumes"]
    if isinstance(volumes, list):
        yield from (volume for volume in volumes if isinstance(volume, dict))


def _run(task: Task, number: int, data: bytes) -> dict[str, object]:
    what = f"the receipt of {task.name}"
    value = read_json(
        data, what=what, max_bytes=MAX_RECEIPT_BYTES, max_depth=16, code="message.malformed"
    )
    body = value.get("body") if isinstance(value, dict) else None
    if not isinstance(body, dict):
        raise MalformedError(f"{what} has no body", code="message.malformed")
    return {
        "file": f"receipts/{task.name}.{number}.json",
        "digest": digest_to_text(sha256(data)),
        "identity": body.get("identity"),
        "status": body.get("status"),
    }


def _policy(claims: JobClaims) -> Policy:
    policy = policy_from_canonical(claims.canonical)
    if digest_to_text(policy_hash(policy)) != claims.policy:
        raise _differs("the policy in it has another hash")
    return policy


def _differs(problem: str) -> TamperedError:
    return TamperedError(f"the job receipt does not hold: {problem}", code="job.receipt")
