"""How a room stands at the key service, as an owner or reader sees it.

Spec: cleanroom-terms-v1, clause CT-59.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from cloister.cleanroom.agreement import SignedTerms
from cloister.cleanroom.governing import closing_subject
from cloister.cleanroom.room_policy import policy_of
from cloister.crypto.signature import VerifyingKey
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.owner_replies import JobStatus
from cloister.keyservice.policy import parse_policy, policy_hash
from cloister.wire import Value

__all__ = ["Asking", "Standing", "State", "standing_of"]

State = Literal["not proposed", "waiting", "in force", "closed", "replaced"]

_SENTENCES: Mapping[State, str] = {
    "not proposed": "nobody has proposed its policy yet: cloister cleanroom accept",
    "waiting": "its policy waits for an approval",
    "in force": "its policy is in force",
    "closed": "it was closed: nothing is released for it any more",
    "replaced": "another policy has replaced its own",
}


class Asking(Protocol):
    """What is asked of a key service; its client for owners is one."""

    def pending(self) -> tuple[Mapping[str, Value], ...]:
        """List what waits for approvals."""
        ...

    def history(self, namespace: str, name: str) -> tuple[Mapping[str, Value], ...]:
        """List the versions of a policy."""
        ...

    def job_status(self, namespace: str, name: str) -> JobStatus:
        """Say who is at work."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """How a room stands.

    Attributes:
        state: Of its policy.
        closing: Whether its end waits for an approval.
        missing: Who must still approve, as keys.
        roles: Role to how many are at work, and how many there may be; empty unless in force.
    """

    state: State
    closing: bool = False
    missing: tuple[str, ...] = ()
    roles: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """The state in words."""
        more = "; its end waits for an approval" if self.closing else ""
        return _SENTENCES[self.state] + more

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints."""
        roles = {role: {"live": live, "maximum": most} for role, (live, most) in self.roles.items()}
        return {
            "state": self.state,
            "closing": self.closing,
            "missing": list(self.missing),
            "roles": roles,
        }


def standing_of(agreement: SignedTerms, service: Asking) -> Standing:
    """Ask a key service how a room stands.

    Raises:
        ReleaseDeniedError: The key may not read that.
        UnavailableError: The key service cannot be reached.
    """
    terms = agreement.terms
    policy = policy_hash(parse_policy(policy_of(agreement).encode(), source="the room's policy"))
    end = closing_subject(agreement).hash
    waiting = {record.get("hash"): record for record in service.pending()}
    try:
        versions = service.history(terms.namespace, terms.name)
    except ReleaseDeniedError as error:
        if error.code != "release.policy-unknown":
            raise
        versions = ()
    current = next((record.get("hash") for record in versions if record.get("current")), None)
    if current == policy:
        closing = waiting.get(end)
        return Standing(
            "in force",
            closing=closing is not None,
            missing=tuple(_keys({} if closing is None else closing)),
            roles=service.job_status(terms.namespace, terms.name).roles,
        )
    if policy in waiting:
        return Standing("waiting", missing=tuple(_keys(waiting[policy])))
    if current == end:
        return Standing("closed")
    known = any(record.get("hash") == policy for record in versions)
    return Standing("replaced" if known else "not proposed")


def _keys(record: Mapping[str, Value]) -> Iterator[str]:
    missing = record.get("missing")
    for key in missing if isinstance(missing, list | tuple) else ():
        if isinstance(key, bytes):
            yield VerifyingKey(key).text
