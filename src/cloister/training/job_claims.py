"""What a job's receipt claims, read strictly: all of it is still to be proved.

Spec: job-receipt-v1, clauses JR-1 to JR-5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cloister.errors import MalformedError
from cloister.keyservice.policy.canonical import MAX_CANONICAL_BYTES
from cloister.training.supervision import Task
from cloister.wire.strict_json import read_json

__all__ = [
    "FORMAT",
    "MAX_JOB_RECEIPT_BYTES",
    "InstanceClaim",
    "JobClaims",
    "RunClaim",
    "read_claims",
]

FORMAT: Final = "cloister/job-receipt/v1"
MAX_JOB_RECEIPT_BYTES: Final = 8 << 20
_MAX_DEPTH: Final = 8
_STATUSES: Final = frozenset({"done", "failed", "stopped"})
_ROLE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FILE: Final = re.compile(
    rf"receipts/({_ROLE.pattern})-(0|[1-9][0-9]{{0,2}})\.(0|[1-9][0-9]{{0,3}})\.json"
)
_DOCUMENT: Final = frozenset({"format", "policy", "began", "ended", "status", "until", "instances"})
_POLICY: Final = frozenset({"digest", "canonical"})
_INSTANCE: Final = frozenset({"role", "index", "restarts", "status", "runs", "shards"})
_RUN: Final = frozenset({"file", "digest", "identity", "status"})
_SHARD: Final = frozenset({"volume", "id"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunClaim:
    """One life of an instance: where its receipt is, and what that says."""

    number: int
    file: str
    digest: str
    identity: str
    status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceClaim:
    """One instance; `shards` is mount point to the name and the identity of a volume."""

    task: Task
    restarts: int
    runs: tuple[RunClaim, ...]
    shards: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobClaims:
    """A job; `policy` is a digest as text, and `canonical` the bytes that should have it."""

    policy: str
    canonical: bytes
    status: str
    until: tuple[str, ...]
    instances: tuple[InstanceClaim, ...]


def read_claims(data: bytes) -> JobClaims:
    """Read untrusted bytes.

    Raises:
        MalformedError: Not a receipt of a job (`message.malformed`, `wire.too-large`).
    """
    value = read_json(
        data,
        what="job receipt",
        max_bytes=MAX_JOB_RECEIPT_BYTES,
        max_depth=_MAX_DEPTH,
        code="message.malformed",
    )
    facts = _object(value, _DOCUMENT, "the document")
    status = _text(facts["status"], 16)
    if facts["format"] != FORMAT or status not in _STATUSES:
        raise _malformed("not of this format")
    for name in ("began", "ended"):
        _number(facts[name])
    policy = _object(facts["policy"], _POLICY, "the policy")
    until = tuple(_role(role) for role in _list(facts["until"]))
    if list(until) != sorted(set(until)):
        raise _malformed("until has its roles once, in order")
    return JobClaims(
        policy=_text(policy["digest"], 71),
        canonical=_octets(_text(policy["canonical"], 2 * MAX_CANONICAL_BYTES)),
        status=status,
        until=until,
        instances=tuple(_instance(each) for each in _list(facts["instances"])),
    )


def _instance(value: object) -> InstanceClaim:
    facts = _object(value, _INSTANCE, "an instance")
    task = Task(_role(facts["role"]), _number(facts["index"]))
    restarts = _number(facts["restarts"])
    _status(facts["status"])
    runs = tuple(_run(task, each) for each in _list(facts["runs"]))
    numbers = [run.number for run in runs]
    if numbers != sorted(set(numbers)) or any(number > restarts for number in numbers):
        raise _malformed(f"the runs of {task.name} are not those of its lives, in order")
    if not isinstance(facts["shards"], dict):
        raise _malformed("shards are an object")
    shards = {}
    for point, each in facts["shards"].items():
        shard = _object(each, _SHARD, "a shard")
        shards[point] = (_text(shard["volume"], 255), _text(shard["id"], 64))
    return InstanceClaim(task=task, restarts=restarts, runs=runs, shards=shards)


def _run(task: Task, value: object) -> RunClaim:
    facts = _object(value, _RUN, "a run")
    file = _text(facts["file"], 128)
    named = _FILE.fullmatch(file)
    if named is None or (named[1], named[2]) != (task.role, str(task.index)):
        raise _malformed("the file of a run is not in its place")
    return RunClaim(
        number=int(named[3]),
        file=file,
        digest=_text(facts["digest"], 71),
        identity=_text(facts["identity"], 1024),
        status=_status(facts["status"]),
    )


def _object(value: object, keys: frozenset[str], what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or set(value) != keys:
        raise _malformed(f"{what} has other fields")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise _malformed("not a list")
    return value


def _role(value: object) -> str:
    if not isinstance(value, str) or not _ROLE.fullmatch(value):
        raise _malformed("a role has another name")
    return value


def _text(value: object, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise _malformed(f"a text has at most {longest} characters")
    return value


def _octets(text: str) -> bytes:
    try:
        octets = bytes.fromhex(text)
    except ValueError as e:
        raise _malformed("not hex") from e
    if octets.hex() != text:
        raise _malformed("not lower-case hex")
    return octets


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise _malformed("a number is a whole one from 0")
    return value


def _status(value: object) -> int | None:
    if value is None or type(value) is int:
        return value
    raise _malformed("a status is a number or null")


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"job receipt: {problem}", code="message.malformed")
