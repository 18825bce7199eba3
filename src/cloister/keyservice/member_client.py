"""A member's side of its own operations, and how anybody gets the service's keys for tokens.

Spec: membership-v1.
"""

from __future__ import annotations

from typing import Final, Protocol

from cloister.attestation.binding import NONCE_BYTES
from cloister.crypto.jose import MAX_TOKEN_BYTES, KeySet
from cloister.crypto.kdf import random_bytes
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.budget_messages import (
    SEALED_OUTCOME_BYTES,
    SpendDemand,
    SpendOutcome,
)
from cloister.keyservice.clock import Clock
from cloister.keyservice.exchange import DEADLINE_S, MAX_SKEW_S, Call
from cloister.keyservice.member_messages import (
    KEYS_PATH,
    MEMBER_PATH,
    MemberGrant,
    MemberRequest,
    RefusalNotice,
    TokenDemand,
)
from cloister.keyservice.messages import PROTOCOL_VERSION, ChallengeRequest
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.roster import Expected, Roster, SignedRoster
from cloister.keyservice.transport import Transport
from cloister.wire import Fields

__all__ = ["Joined", "MemberClient", "fetch_token_keys"]

_MAX_REPLY: Final = 256
_MAX_REFUSALS: Final = 32
_MAX_REFUSALS_REPLY: Final = 16_384
_MAX_TOKEN_REPLY: Final = MAX_TOKEN_BYTES + 256


class Joined(Protocol):
    """What a bundle says of its holder's membership; nothing else of it is needed here."""

    @property
    def member(self) -> MemberGrant | None:
        """The membership."""

    @property
    def workload(self) -> str:
        """The role."""

    @property
    def instance(self) -> str:
        """The name in it."""

    @property
    def result(self) -> bytes:
        """The attestation result, for tokens."""


class MemberClient:
    """What one member asks for. It remembers the newest epoch that it was shown.

    It numbers what it spends, so of one membership only one client spends.
    """

    def __init__(
        self,
        transport: Transport,
        service: PinnedService,
        bundle: Joined,
        *,
        clock: Clock,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Use the membership that a bundle brought.

        Raises:
            MalformedError: It brought none.
        """
        if bundle.member is None:
            raise MalformedError("the bundle has no membership", code="message.malformed")
        self._call = Call(transport, service, clock, deadline_s)
        self._grant = bundle.member
        self._role = bundle.workload
        self._instance = bundle.instance
        self._result = bundle.result
        self.epoch = bundle.member.epoch
        self._number = 0
        self._unsettled: MemberRequest | None = None
        self._wanted = ("", "", 0)

    def roster(self, of: str = "") -> Roster:
        """Return who is in the job now; of one role, or of all.

        Raises:
            ReleaseDeniedError: This is not a live member any more (`release.not-member`).
            EvidenceError: The service showed an older epoch than before (`roster.stale`).
        """
        return self.signed_roster(of)[0]

    def signed_roster(self, of: str = "") -> tuple[Roster, SignedRoster]:
        """Return the roster, and the signed bytes that show it to others."""
        signed = SignedRoster.from_bytes(
            self._call.until_deadline(
                lambda timeout_s: self._send(
                    "roster", random_bytes(NONCE_BYTES), of=of, timeout_s=timeout_s
                )
            )
        )
        grant = self._grant
        roster = signed.verify(
            Expected(
                service=self._call.service.identity,
                domain=grant.domain,
                namespace=grant.namespace,
                name=grant.name,
                of=of,
                epoch=self.epoch,
                at=self._call.clock().at,
                max_age_s=MAX_SKEW_S,
            )
        )
        self.epoch = roster.epoch
        return roster, signed

    def refusals(self, since: int) -> tuple[RefusalNotice, ...]:
        """Return who was refused by the job's policy at `since` or later, oldest first.

        The newest few are kept, by each replica and until it ends: an empty answer is no proof.

        Raises:
            ReleaseDeniedError: This is not a live member any more (`release.not-member`).
        """
        reply = self._call.until_deadline(
            lambda timeout_s: self._send(
                "refusals", random_bytes(NONCE_BYTES), since=since, timeout_s=timeout_s
            )
        )
        fields = Fields.decode(reply, what="refusals reply", max_bytes=_MAX_REFUSALS_REPLY)
        fields.constant("version", PROTOCOL_VERSION)
        told = fields.array("refusals", max_items=_MAX_REFUSALS)
        fields.end()
        return tuple(RefusalNotice.from_value(each) for each in told)

    def token(self, *, audience: str, nonce: bytes) -> str:
        """Return an EAR token that tells `audience`, in answer to its nonce, what runs here.

        Raises:
            ReleaseDeniedError: This is not a live member any more (`release.not-member`).
        """
        demand = TokenDemand(audience, nonce, self._result)
        reply = self._call.until_deadline(
            lambda timeout_s: self._send(
                "token", random_bytes(NONCE_BYTES), token=demand, timeout_s=timeout_s
            )
        )
        fields = Fields.decode(reply, what="token reply", max_bytes=_MAX_TOKEN_REPLY)
        fields.constant("version", PROTOCOL_VERSION)
        token = fields.text("token", max_length=MAX_TOKEN_BYTES)
        fields.end()
        return token

    def spend(self, budget: str, principal: str, amount: int) -> int:
        """Spend so much of a budget in a principal's name; return what is left.

        Where no answer comes, it is not known whether the amount was spent. The same asked for
        again is then the same request, which spends it once; something else goes on without.

        Raises:
            MalformedError: That cannot be meant (`message.malformed`).
            ReleaseDeniedError: Nothing was spent: the policy lets this workload spend no such
                budget (`budget.unknown`), or not in that name (`budget.principal`), or not so much
                is left (`budget.spent`); or this is not a live member any more
                (`release.not-member`).
            UnavailableError: No answer came.
        """
        wanted = (budget, principal, amount)
        if self._unsettled is None or self._wanted != wanted:
            nonce = random_bytes(NONCE_BYTES)
            demand = SpendDemand(self._number + 1, budget, principal, amount)
            sealed = demand.sealed(self._grant.secret, nonce)
            self._number += 1
            self._unsettled = self._request("spend", nonce, demand=sealed)
            self._wanted = wanted
        request = self._unsettled
        body = request.sealed(self._grant.secret).to_bytes()
        reply = self._call.until_deadline(
            lambda timeout_s: self._call.exchange(MEMBER_PATH, body, timeout_s=timeout_s)
        )
        fields = Fields.decode(reply, what="spend reply", max_bytes=_MAX_REPLY)
        fields.constant("version", PROTOCOL_VERSION)
        outcome = SpendOutcome.opened(
            fields.octets("outcome", length=SEALED_OUTCOME_BYTES),
            self._grant.secret,
            request.nonce,
        )
        fields.end()
        self._unsettled = None
        return outcome.require_spent()

    def leave(self) -> None:
        """End this membership and free its place. Twice is once."""

        def attempt(timeout_s: float) -> bytes:
            nonce = self._call.challenge(timeout_s=timeout_s)
            return self._send("leave", nonce, timeout_s=timeout_s)

        try:
            reply = self._call.until_deadline(attempt)
        except ReleaseDeniedError as e:
            if e.code != "release.not-member":
                raise
            return
        fields = Fields.decode(reply, what="leave reply", max_bytes=_MAX_REPLY)
        fields.constant("version", PROTOCOL_VERSION)
        self.epoch = fields.integer("epoch")
        fields.end()

    def _send(
        self,
        operation: str,
        nonce: bytes,
        *,
        timeout_s: float,
        of: str | None = None,
        token: TokenDemand | None = None,
        since: int | None = None,
    ) -> bytes:
        request = self._request(operation, nonce, of=of, token=token, since=since)
        body = request.sealed(self._grant.secret).to_bytes()
        return self._call.exchange(MEMBER_PATH, body, timeout_s=timeout_s)

    def _request(
        self,
        operation: str,
        nonce: bytes,
        *,
        of: str | None = None,
        token: TokenDemand | None = None,
        since: int | None = None,
        demand: bytes | None = None,
    ) -> MemberRequest:
        return MemberRequest(
            service=self._call.service.identity.raw,
            nonce=nonce,
            namespace=self._grant.namespace,
            name=self._grant.name,
            role=self._role,
            instance=self._instance,
            operation=operation,
            of=of,
            token=token,
            since=since,
            demand=demand,
        )


def fetch_token_keys(
    transport: Transport,
    service: PinnedService,
    *,
    clock: Clock,
    deadline_s: float = DEADLINE_S,
) -> bytes:
    """Return the JWKS of the pinned service's keys for tokens, for relying parties to pin.

    Raises:
        IdentityError: Another service answered (`identity.keyservice`).
        MalformedError: The pinned service's answer is no JWKS (`token.malformed`).
    """
    call = Call(transport, service, clock, deadline_s)
    request = ChallengeRequest(random_bytes(NONCE_BYTES)).to_bytes()
    jwks = call.until_deadline(
        lambda timeout_s: call.exchange(KEYS_PATH, request, timeout_s=timeout_s)
    )
    KeySet.from_bytes(jwks)
    return jwks
