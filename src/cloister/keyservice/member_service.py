"""Answer a member's own operations: its job's roster, refusals, tokens, budgets, leaving.

Who is meant, and when, is settled before; here it is decided whether the sender is that member.

Spec: membership-v1, clauses MEM-20 to MEM-28 and MEM-70 to MEM-79.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

from cloister.attestation.ear import issue_ear
from cloister.attestation.result import AttestationResult
from cloister.crypto.digest import require_equal, sha256
from cloister.crypto.jose import TokenSigningKey, jwks_document
from cloister.crypto.kdf import derive_key
from cloister.crypto.signature import SigningKey
from cloister.errors import EvidenceError
from cloister.keyservice.budget_messages import SpendDemand
from cloister.keyservice.budgets import Budgets
from cloister.keyservice.jobs import Jobs
from cloister.keyservice.member_messages import (
    MemberRequest,
    SealedMemberRequest,
    TokenDemand,
    member_secret,
    not_a_member,
)
from cloister.keyservice.member_records import Job, Member
from cloister.keyservice.messages import PROTOCOL_VERSION
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.refusals import Refusals
from cloister.keyservice.roster import SignedRoster, make_roster
from cloister.keyservice.store import Store
from cloister.wire import Value, encode

__all__ = ["TOKEN_KEY_LABEL", "MemberService", "token_issuer"]

TOKEN_KEY_LABEL: Final = b"cloister/membership/v1/token-key"
TOKEN_LIFETIME_S: Final = 300
_ROSTERS_KEPT: Final = 8
_MadeOf = tuple[Job, str, int, tuple[bytes, ...]]
_LOG: Final = logging.getLogger(__name__)


class MemberService:
    """Members' operations over one store."""

    def __init__(
        self,
        *,
        store: Store,
        jobs: Jobs,
        refusals: Refusals,
        budgets: Budgets,
        key: SigningKey,
        secret: bytes,
        trust_domain: str,
    ) -> None:
        """Share the service's parts; `secret` is what members' secrets derive from."""
        self._store = store
        self._refusals = refusals
        self._budgets = budgets
        self._signed: deque[tuple[_MadeOf, SignedRoster]] = deque(maxlen=_ROSTERS_KEPT)
        self._jobs = jobs
        self._key = key
        self._secret = secret
        self._trust_domain = trust_domain
        # MEM-53. A key for tokens and nothing else.
        self._token_key = TokenSigningKey.from_seed(
            derive_key(secret, label=TOKEN_KEY_LABEL, salt=b"")
        )

    def jwks(self) -> bytes:
        """Return the public key that tokens are signed with, as relying parties pin it."""
        return jwks_document([self._token_key.public])

    def answer(self, request: MemberRequest, sealed: SealedMemberRequest, *, at: int) -> bytes:
        """Do what a member asks.

        The caller has checked that this service is meant and, for `leave`, spent the nonce.

        Raises:
            ReleaseDeniedError: The sender is no live member of the job (`release.not-member`).
            EvidenceError: A token is asked for with another result than the member's
                (`evidence.binding`).
            MalformedError: A token cannot say that (`token.malformed`).
        """
        # MEM-22, MEM-23. A live member of the current version, by its secret; one refusal for all.
        policy = self._store.current_policy(request.namespace, request.name)
        if policy is None:
            raise not_a_member()
        job = self._jobs.settled(policy, at=at)
        member = self._jobs.member(job, request.role, request.instance)
        if member is None:
            raise not_a_member()
        secret = member_secret(self._secret, job, member)
        sealed.require(secret)
        if request.demand is not None:
            return self._spend(policy, member, request, request.demand, secret=secret, at=at)
        if request.of is not None:
            return self.roster(job, of=request.of, at=at).to_bytes()
        if request.since is not None:
            return self._told(job, request.since)
        if request.token is not None:
            return self._token(member, request.token, at)
        with self._store.transaction():
            left = self._jobs.leave(job, member, at=at)
        _LOG.info("member.left identity=%s epoch=%d", member.identity, left.epoch)
        return encode({"version": PROTOCOL_VERSION, "epoch": left.epoch})

    def _spend(
        self,
        policy: PolicyRecord,
        member: Member,
        request: MemberRequest,
        demand: bytes,
        *,
        secret: bytes,
        at: int,
    ) -> bytes:
        # MEM-73. A refusal is an outcome as well: who watches cannot tell one from the other.
        outcome = self._budgets.spend(
            policy,
            member,
            SpendDemand.opened(demand, secret, request.nonce),
            request=sha256(request.to_bytes()),
            at=at,
        )
        _LOG.info("budget.spend identity=%s code=%s", member.identity, outcome.code)
        answer = outcome.sealed(secret, request.nonce)
        return encode({"version": PROTOCOL_VERSION, "outcome": answer})

    def _told(self, job: Job, since: int) -> bytes:
        notices = self._refusals.notices(job.namespace, job.name, policy=job.policy, since=since)
        told: list[Value] = [notice.to_value() for notice in notices]
        return encode({"version": PROTOCOL_VERSION, "refusals": told})

    def _token(self, member: Member, demand: TokenDemand, at: int) -> bytes:
        # MEM-51. The result is the one that the newest release of this member came to.
        require_equal(
            sha256(demand.result),
            member.result,
            error=EvidenceError(
                "the attestation result is not the member's own", code="evidence.binding"
            ),
        )
        # MEM-52. Good for a few minutes, and not beyond the membership.
        token = issue_ear(
            AttestationResult.from_bytes(demand.result),
            key=self._token_key,
            issuer=token_issuer(self._trust_domain),
            audience=demand.audience,
            nonce=demand.answers,
            at=at,
            lifetime_s=min(TOKEN_LIFETIME_S, member.expires - at),
        )
        with self._store.transaction():
            self._jobs.note(member, "member.token", at=at)
        _LOG.info("member.token identity=%s", member.identity)
        return encode({"version": PROTOCOL_VERSION, "token": token})

    def roster(self, job: Job, *, of: str, at: int) -> SignedRoster:
        """Return the signed roster of a job that has been settled.

        Every member of a large job asks each second, and within one second all get the same. What
        was signed is given again only for the very rows that it was made from: whatever was undone
        meanwhile, or renewed without a new epoch, makes other rows.
        """
        made_of = (job, of, at, self._jobs.rows(job))
        for before, signed in self._signed:
            if before == made_of:
                return signed
        members = self._jobs.members(job)
        roster = make_roster(job, members, domain=self._trust_domain, of=of, epoch_at=at)
        signed = roster.signed(self._key)
        self._signed.append((made_of, signed))
        return signed


def token_issuer(trust_domain: str) -> str:
    """Return the name under which a trust domain's key service signs tokens."""
    return f"{trust_domain}/cloister-keyservice"
