"""Who is in the job now, and whether a peer is one of them. Pure: times are handed in.

TLS and `read_peer_certificate` say that a peer holds the key of a certificate of our domain. That
is not enough here: the certificate of an instance that was replaced, that left or that was
expelled is good until it ends. So a peer must also be on the key service's newest roster, and a
roster that nobody could refresh for `MAX_ROSTER_AGE_S` counts for nothing.

What is trusted: the roster, which the caller has verified (membership-v1). `fetched` is read
before the roster is asked for, by a clock that never goes back and runs while the machine sleeps.

Spec: relay-v1.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister.crypto.x509 import Identity, PeerCertificate
from cloister.errors import EvidenceError, IdentityError, MalformedError
from cloister.network.addresses import MAX_INSTANCES, Task

__all__ = ["MAX_ROSTER_AGE_S", "Members", "task_of"]

MAX_ROSTER_AGE_S: Final = 120.0
_INSTANCE: Final = re.compile(r"(0|[1-9][0-9]{0,2})\.[0-9a-f]{8,60}")


def task_of(identity: Identity) -> Task:
    """Return which task a member is: its instance is called `<index>.<random, in hexadecimal>`.

    Raises:
        IdentityError: It is called otherwise (`identity.peer`).
    """
    found = _INSTANCE.fullmatch(identity.instance)
    if found is None:
        raise IdentityError(f"{identity.uri} is not a numbered instance", code="identity.peer")
    task = Task(identity.role, int(found[1]))
    if task.index >= MAX_INSTANCES:
        raise IdentityError(f"{identity.uri} is not a numbered instance", code="identity.peer")
    return task


@dataclass(frozen=True, slots=True)
class Members:
    """The job as one roster showed it.

    Attributes:
        own: Who we are; peers are in the same job.
        policy_hash: Of the policy that admitted us, and must have admitted them.
        expires: Live members by their SPIFFE ID, with the second at which each lapses.
        epoch: The job's.
        fetched: When the roster was asked for, in seconds of the caller's steady clock.
        doubled: Tasks that more than one of them claims to be.
    """

    own: Identity
    policy_hash: bytes
    expires: Mapping[str, int]
    epoch: int
    fetched: float
    doubled: frozenset[Task] = frozenset()

    @classmethod
    def nobody(cls, own: Identity, policy_hash: bytes) -> Members:
        """Return what holds before the first roster: nobody is a member."""
        return cls(own, policy_hash, {}, 0, float("-inf"))

    def renewed(self, expires: Mapping[str, int], *, epoch: int, fetched: float) -> Members:
        """Return the members of a newer roster.

        Raises:
            EvidenceError: It is older than the one that is here (`roster.stale`).
        """
        if epoch < self.epoch or fetched < self.fetched:
            raise EvidenceError(
                f"the roster is of epoch {epoch}, and epoch {self.epoch} was seen",
                code="roster.stale",
            )
        tasks = collections.Counter(filter(None, map(_task_of_uri, expires)))
        doubled = frozenset(task for task, count in tasks.items() if count > 1)
        return Members(self.own, self.policy_hash, dict(expires), epoch, fetched, doubled)

    def judge(self, peer: PeerCertificate, *, at: int, now: float) -> Task:
        """Return which task a peer is, whose certificate has been verified.

        Args:
            peer: From `read_peer_certificate`.
            at: Seconds since the epoch.
            now: Seconds of the clock that `fetched` is from.

        Raises:
            IdentityError: Another job or policy, ourselves, or no numbered instance
                (`identity.peer`); not a member now, or nobody knows (`identity.member`).
        """
        found, own = peer.identity, self.own
        # 1. It is of our job.
        Identity(own.trust_domain, own.namespace, own.policy, found.role, "*").require_matches(
            found
        )
        # 2. Under the same policy, down to the last bit.
        if peer.policy_hash != self.policy_hash:
            raise IdentityError(
                f"{found.uri} was admitted by another version of the policy", code="identity.peer"
            )
        # 3. It is somebody else, and numbered.
        if found == own:
            raise IdentityError("the peer shows our own identity", code="identity.peer")
        task = task_of(found)
        # 4. It is a member now.
        self.require_live(found, at=at, now=now)
        # 5. And the only one with its number: the key service sees to that; we do not rely on it.
        if task in self.doubled:
            raise IdentityError(
                f"the roster has two members that are {task}", code="identity.member"
            )
        return task

    def require_live(self, identity: Identity, *, at: int, now: float) -> None:
        """Raise unless somebody who was judged before is a member still.

        Raises:
            IdentityError: `identity.member`.
        """
        if not 0 <= now - self.fetched <= MAX_ROSTER_AGE_S:
            raise IdentityError(
                f"the roster is older than {MAX_ROSTER_AGE_S:.0f} s",
                code="identity.member",
                hint="the key service must answer, or nobody knows who is in the job",
            )
        if self.expires.get(identity.uri, 0) <= at:
            raise IdentityError(f"{identity.uri} is not a member now", code="identity.member")


def _task_of_uri(uri: str) -> Task | None:
    """Return which task a member is, or None: roles without a network have other names."""
    try:
        return task_of(Identity.from_uri(uri))
    except (IdentityError, MalformedError):
        return None
