"""Answer a member's own operations: the roster of its job, and leaving it.

Who is meant, and when, is settled before; here it is decided whether the sender is that member.

Spec: membership-v1, clauses MEM-20 to MEM-28.
"""

from __future__ import annotations

import logging
from typing import Final

from cloister.crypto.signature import SigningKey
from cloister.keyservice.jobs import Jobs
from cloister.keyservice.member_messages import (
    MemberRequest,
    SealedMemberRequest,
    member_secret,
    not_a_member,
)
from cloister.keyservice.member_records import Job
from cloister.keyservice.messages import PROTOCOL_VERSION
from cloister.keyservice.roster import SignedRoster, make_roster
from cloister.keyservice.store import Store
from cloister.wire import encode

__all__ = ["MemberService"]

_LOG: Final = logging.getLogger(__name__)


class MemberService:
    """Members' operations over one store."""

    def __init__(
        self, *, store: Store, jobs: Jobs, key: SigningKey, secret: bytes, trust_domain: str
    ) -> None:
        """Share the service's parts; `secret` is what members' secrets derive from."""
        self._store = store
        self._jobs = jobs
        self._key = key
        self._secret = secret
        self._trust_domain = trust_domain

    def answer(self, request: MemberRequest, sealed: SealedMemberRequest, *, at: int) -> bytes:
        """Do what a member asks.

        The caller has checked that this service is meant and, for `leave`, spent the nonce.

        Raises:
            ReleaseDeniedError: The sender is no live member of the job (`release.not-member`).
        """
        # MEM-22, MEM-23. A live member of the current version, by its secret; one refusal for all.
        policy = self._store.current_policy(request.namespace, request.name)
        if policy is None:
            raise not_a_member()
        job = self._jobs.settled(policy, at=at)
        member = self._jobs.member(job, request.role, request.instance)
        if member is None:
            raise not_a_member()
        sealed.require(member_secret(self._secret, job, member))
        if request.of is not None:
            return self.roster(job, of=request.of, at=at).to_bytes()
        with self._store.transaction():
            left = self._jobs.leave(job, member, at=at)
        _LOG.info("member.left identity=%s epoch=%d", member.identity, left.epoch)
        return encode({"version": PROTOCOL_VERSION, "epoch": left.epoch})

    def roster(self, job: Job, *, of: str, at: int) -> SignedRoster:
        """Return the signed roster of a job that has been settled."""
        members = self._jobs.members(job)
        roster = make_roster(job, members, domain=self._trust_domain, of=of, epoch_at=at)
        return roster.signed(self._key)
