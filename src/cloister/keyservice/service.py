"""The key service without sockets: request bytes in, signed reply bytes out.

Invariants:
    1. A reply leaves only after everything it says is durable.
    2. Every decision about a well-formed request with an open challenge is in the log, yes or no.
    3. An error tells its code and its public sentence; details go to the operator's log.

One call at a time: the caller serialises. What it hands over together is decided one after another
and becomes durable together, which costs one wait for the disk instead of many.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn

from cloister.attestation.evidence import Attester, Endorsement
from cloister.crypto.digest import DIGEST_BYTES
from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.crypto.x509 import CertificateAuthority
from cloister.errors import (
    CloisterError,
    LocalProtocolError,
    MalformedError,
    ProtocolError,
    RefusedError,
    StateMovedError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice.administration import Administration
from cloister.keyservice.anchor_service import AnchorService
from cloister.keyservice.authorities import Authorities
from cloister.keyservice.budgets import Budgets
from cloister.keyservice.challenges import (
    CHALLENGE_LABEL,
    NONCE_LIFETIME_S,
    RENEWAL_CHALLENGE_LABEL,
    Challenges,
)
from cloister.keyservice.clock import Clock, Moment
from cloister.keyservice.domain import log_origin
from cloister.keyservice.export_messages import (
    EXPORT_CHALLENGE_LABEL,
    EXPORT_CHALLENGE_PATH,
    EXPORT_PATH,
)
from cloister.keyservice.exporting import Exports
from cloister.keyservice.external_secrets import ExternalSecrets
from cloister.keyservice.genuine import ATTEST_PATH, AttestRequest, bind_service
from cloister.keyservice.importing import Importer
from cloister.keyservice.jobs import Jobs
from cloister.keyservice.leases import LEASE_TTL_S, LeaseTable
from cloister.keyservice.limits import Limits
from cloister.keyservice.member_messages import (
    KEYS_PATH,
    MEMBER_PATH,
    MemberRequest,
    SealedMemberRequest,
)
from cloister.keyservice.member_operations import MemberOperations
from cloister.keyservice.member_service import MemberService
from cloister.keyservice.messages import (
    ANCHOR_PATH,
    CHALLENGE_PATH,
    OWNER_PATH,
    RELEASE_PATH,
    Challenge,
    ChallengeRequest,
    Failure,
    Reply,
    SignedReply,
)
from cloister.keyservice.ownership import OwnerRequest, SignedOwnerRequest, owner_reply_info
from cloister.keyservice.platforms import require_watched
from cloister.keyservice.refusals import Refusals
from cloister.keyservice.releasing import Releases
from cloister.keyservice.renewal import (
    RENEWAL_CHALLENGE_PATH,
    RENEWAL_PATH,
)
from cloister.keyservice.renewals import Renewals
from cloister.keyservice.scope import Scope
from cloister.keyservice.secret_store import SecretStore
from cloister.keyservice.session import (
    require_service,
)
from cloister.keyservice.state.platform_rows import admitted
from cloister.keyservice.statetime import StateTime
from cloister.keyservice.store import Store
from cloister.keyservice.transport import Transport
from cloister.keyservice.upgrading import upgrade
from cloister.keyservice.witnessing import WitnessCircle
from cloister.wire import encode

__all__ = ["Answer", "Call", "KeyService"]

_LOG: Final = logging.getLogger(__name__)
_NO_DIGEST: Final = bytes(DIGEST_BYTES)
_ATTEMPTS: Final = 8
_Decision = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came: its path and body, both untrusted."""

    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and body. `fatal` asks the server to stop: its state cannot be trusted.

    `code` is that of a refusal, for the metrics; the body has it too, signed.
    """

    status: int
    body: bytes
    fatal: bool
    code: str = ""


class KeyService:
    """Answers requests over one open store."""

    def __init__(
        self,
        store: Store,
        *,
        moment: Moment,
        attester: Attester,
        witnesses: WitnessCircle | None,
        nonce_lifetime_s: int = NONCE_LIFETIME_S,
        lease_ttl_s: int = LEASE_TTL_S,
        endorsements: Callable[[], Sequence[Endorsement]] = tuple,
    ) -> None:
        """Load the service's keys.

        Args:
            store: Open; stays the caller's to close.
            moment: The start, from which old leases run out.
            attester: The root of trust that the service itself runs under.
            witnesses: Who must see every change before it is answered; None for nobody.
            nonce_lifetime_s: Of a challenge.
            lease_ttl_s: Of a lease.
            endorsements: Gives those that the service has itself, beside what comes along.

        Raises:
            TamperedError: The witnesses have seen a newer state (`state.rolled-back`) or another
                one (`state.forked`).
            UnavailableError: Too few of them answer (`keyservice.witnesses`).
        """
        if witnesses is not None:
            store.commit_to_log()
        upgrade(store, at=moment.at)
        self._quorum = None if witnesses is None else witnesses.quorum
        require_watched(admitted(store.tables), self._quorum)
        secrets = store.secrets()
        self._store = store
        self._key = SigningKey(secrets.signing_seed)
        self._hpke = HPKEPrivateKey(secrets.hpke_seed)
        self._scope = Scope(store, founder=secrets.owner)
        self._time = StateTime(store)
        self._challenges, self._renewal_challenges, self._export_challenges = (
            Challenges(
                store, secrets.reader_secret, self._time, label=label, lifetime_s=nonce_lifetime_s
            )
            for label in (CHALLENGE_LABEL, RENEWAL_CHALLENGE_LABEL, EXPORT_CHALLENGE_LABEL)
        )
        authorities = Authorities(
            store, CertificateAuthority(secrets.ca_key, secrets.ca_certificate)
        )
        leases = LeaseTable(
            ttl_s=lease_ttl_s,
            uptime=moment.uptime,
            others=Renewals(store, self._time, ttl_s=lease_ttl_s) if store.shared else None,
        )
        jobs = Jobs(store)
        limits = Limits(self._scope)
        refusals = Refusals(store)
        budgets = Budgets(store, jobs)
        self.external: Final = ExternalSecrets(SecretStore(store), self._scope)
        """What other stores keep for policies in force; fetched by `fetching`."""
        self._members = MemberService(
            store=store,
            jobs=jobs,
            refusals=refusals,
            budgets=budgets,
            key=self._key,
            secret=secrets.reader_secret,
            trust_domain=secrets.trust_domain,
        )
        self._releases = Releases(
            store=store,
            key=self._key,
            reader_secret=secrets.reader_secret,
            trust_domain=secrets.trust_domain,
            origin=log_origin(secrets.trust_domain),
            challenges=self._challenges,
            renewal_challenges=self._renewal_challenges,
            authorities=authorities,
            scope=self._scope,
            limits=limits,
            secrets=SecretStore(store),
            leases=leases,
            jobs=jobs,
            refusals=refusals,
            time=self._time,
            endorsements=endorsements,
        )
        self._exports = Exports(
            store=store,
            key=self._key,
            origin=log_origin(secrets.trust_domain),
            challenges=self._export_challenges,
            limits=limits,
            secrets=SecretStore(store),
        )
        self._trust_domain = secrets.trust_domain
        self._anchors = AnchorService(
            store=store,
            identity=self._key.public,
            reader_secret=secrets.reader_secret,
            challenges=self._challenges,
            leases=leases,
        )
        self._administration = Administration(
            store=store,
            key=self._key,
            hpke=self._hpke,
            authorities=authorities,
            leases=leases,
            scope=self._scope,
            limits=limits,
            founder=secrets.owner,
            members=MemberOperations(
                store=store, jobs=jobs, members=self._members, budgets=budgets
            ),
            external=self.external,
            refusals=refusals,
            trust_domain=secrets.trust_domain,
            origin=log_origin(secrets.trust_domain),
        )
        self._attester = attester
        self._witnesses = witnesses
        self._witnessed = store.head
        if witnesses is not None:
            try:
                self._show_to_witnesses(witnesses)
            except UnavailableError as e:
                raise witnesses.contradiction or e from e
        self._routes: Final[dict[str, Callable[[bytes, Moment], _Decision]]] = {
            CHALLENGE_PATH: partial(self._challenge, self._challenges),
            ATTEST_PATH: self._attest,
            RENEWAL_CHALLENGE_PATH: partial(self._challenge, self._renewal_challenges),
            RENEWAL_PATH: self._releases.renew,
            RELEASE_PATH: self._releases.release,
            ANCHOR_PATH: self._anchors.answer,
            OWNER_PATH: self._own,
            MEMBER_PATH: self._answer_member,
            KEYS_PATH: self._answer_keys,
            EXPORT_CHALLENGE_PATH: partial(self._challenge, self._export_challenges),
            EXPORT_PATH: self._exports.export,
        }

    @property
    def identity(self) -> VerifyingKey:
        """The public key that clients pin."""
        return self._key.public

    def importer(
        self, *, dial: Callable[[str], AbstractContextManager[Transport]], clock: Clock
    ) -> Importer:
        """Return what asks other key services in this one's name; touches no state."""
        return Importer(
            key=self._key,
            trust_domain=self._trust_domain,
            attester=self._attester,
            dial=dial,
            clock=clock,
        )

    def checkpoint(self) -> str:
        """Return the log's newest checkpoint as a signed note."""
        return self._administration.checkpoint()

    def sees(self, key: bytes, namespace: str) -> bool:
        """Tell whether a key may read what lies in a namespace."""
        return self._scope.sees(key, namespace)

    def handle(self, path: str, body: bytes, moment: Moment) -> Answer:
        """Answer one request; every outcome is a signed reply."""
        return self.handle_together([Call(path, body)], moment)[0]

    def handle_together(self, calls: Sequence[Call], moment: Moment) -> list[Answer]:
        """Answer requests in their order, each as if it had come alone.

        What they change, spent nonces among it, becomes durable at once, before any of them is
        answered. If that fails, every answer says so, and nothing of it has happened as far as is
        known. A lease that was extended stays so: it makes others wait, and grants nothing.
        """
        decisions = [self._prepare(call, moment) for call in calls]
        error: CloisterError | None = None
        for _ in range(_ATTEMPTS):
            try:
                if error is not None:
                    self._store.refresh()
                return self._decide_together(calls, decisions, moment)
            except StateMovedError as e:  # by another replica: decide again on what it changed
                error = e
            except CloisterError as e:
                error = e
                break
        if error is None:
            raise LocalProtocolError("no attempt was made", code="protocol.local")
        return [self._refuse(call, error, moment) for call in calls]

    def _decide_together(
        self, calls: Sequence[Call], decisions: Sequence[_Decision], moment: Moment
    ) -> list[Answer]:
        with self._store.group():
            require_watched(admitted(self._store.tables), self._quorum)
            pairs = zip(calls, decisions, strict=True)
            answers = [self._answer(call, decision, moment) for call, decision in pairs]
        self._require_witnessed()
        return answers

    def settle(self, change: Callable[[], None]) -> None:
        """Make a change that no request asked for durable and witnessed, between two groups.

        Raises:
            CloisterError: By the change, or it could not be made durable; `StateMovedError` asks
                for trying again.
        """
        with self._store.group():
            require_watched(admitted(self._store.tables), self._quorum)
            change()
        self._require_witnessed()

    def _require_witnessed(self) -> None:
        if self._witnesses is not None and self._store.head != self._witnessed:
            self._show_to_witnesses(self._witnesses)

    def _show_to_witnesses(self, witnesses: WitnessCircle) -> None:
        """Return when enough witnesses have seen the log as it is now."""
        for left in reversed(range(_ATTEMPTS)):
            head, size = self._store.head, self._store.log_size
            try:
                if size:
                    self._cosign(witnesses)
            except UnavailableError:
                if not left or not self._grew(size):
                    raise
            else:
                self._witnessed = head
                return

    def _cosign(self, witnesses: WitnessCircle) -> None:
        note = self._administration.checkpoint()
        self._administration.cosigned = witnesses.cosign(
            note, lambda old: self._store.proofs.consistency(old, self._store.log_size)
        )

    def _grew(self, size: int) -> bool:
        """Tell whether another replica has made the log longer, and perhaps shown it already."""
        if self._store.shared:
            self._store.refresh()
        return self._store.log_size > size

    def _prepare(self, call: Call, moment: Moment) -> _Decision:
        """Read a request, once; return what decides it, as often as needed."""
        try:
            route = self._routes.get(call.path)
            if route is None:
                raise MalformedError("no such operation", code="message.malformed")
            return route(call.body, moment)
        except CloisterError as e:
            return partial(_raise, e)

    def _answer(self, call: Call, decision: _Decision, moment: Moment) -> Answer:
        try:
            self._time.read(moment)
            reply = Reply(moment.at, decision())
        except CloisterError as e:
            return self._refuse(call, e, moment)
        return self._sign(call, reply, status=200, fatal=False)

    def _refuse(self, call: Call, error: CloisterError, moment: Moment) -> Answer:
        fatal = isinstance(error, TamperedError)
        _LOG.log(
            logging.ERROR if fatal else logging.INFO,
            "request.refused path=%s code=%s detail=%s",
            call.path,
            error.code,
            error.detail,
        )
        failure = Failure.of(error, at=moment.at)
        return self._sign(call, failure, status=_status(error), fatal=fatal)

    def _sign(self, call: Call, answer: Reply | Failure, *, status: int, fatal: bool) -> Answer:
        signed = SignedReply.make(answer, path=call.path, request=call.body, key=self._key)
        code = answer.code if isinstance(answer, Failure) else ""
        return Answer(status, signed.to_bytes(), fatal, code)

    # -- challenge

    def _challenge(self, table: Challenges, body: bytes, moment: Moment) -> _Decision:
        ChallengeRequest.from_bytes(body)
        return partial(self._give_challenge, table, moment)

    def _give_challenge(self, table: Challenges, moment: Moment) -> bytes:
        nonce = table.issue(moment)
        return Challenge(self.identity.raw, nonce, table.lifetime_s).to_bytes()

    # -- the service itself

    def _attest(self, body: bytes, moment: Moment) -> _Decision:
        del moment
        request = AttestRequest.from_bytes(body)
        report_data = bind_service(
            service=self.identity.raw, hpke_key=self._hpke.public.raw, nonce=request.nonce
        )
        return lambda: self._attester.collect(report_data).to_bytes()

    # -- members

    def _answer_member(self, body: bytes, moment: Moment) -> _Decision:
        sealed = SealedMemberRequest.from_bytes(body)
        request = MemberRequest.from_bytes(sealed.body)
        require_service(request.service, self.identity.raw)
        return partial(self._decide_member, request, sealed, moment)

    def _decide_member(
        self, request: MemberRequest, sealed: SealedMemberRequest, moment: Moment
    ) -> bytes:
        if request.operation == "leave":
            self._challenges.spend(request.nonce, moment)
        return self._members.answer(request, sealed, at=moment.at)

    def _answer_keys(self, body: bytes, moment: Moment) -> _Decision:
        del moment
        ChallengeRequest.from_bytes(body)
        return self._members.jwks

    # -- owner

    def _own(self, body: bytes, moment: Moment) -> _Decision:
        request = SignedOwnerRequest.from_bytes(body).require_known(self._scope.knows)
        require_service(request.service, self.identity.raw)
        return partial(self._decide_owner, request, body, moment)

    def _decide_owner(self, request: OwnerRequest, body: bytes, moment: Moment) -> bytes:
        self._challenges.spend(request.nonce, moment)
        reply_key = HPKEPublicKey(request.reply_key)
        try:
            result = self._administration.carry_out(request, moment)
        except (RefusedError, MalformedError) as e:
            self._note_refusal(request, moment, e)
            raise
        _LOG.info("owner.done operation=%s", request.operation)
        info = owner_reply_info(service=self.identity.raw, nonce=request.nonce, request=body)
        return reply_key.seal(encode(result), info=info)

    def _note_refusal(self, request: OwnerRequest, moment: Moment, error: CloisterError) -> None:
        with self._store.transaction():
            self._administration.note(
                request, moment, subject="", policy=_NO_DIGEST, code=error.code
            )


def _raise(error: CloisterError) -> NoReturn:
    raise error


def _status(error: CloisterError) -> int:
    kinds: tuple[tuple[type[CloisterError], int], ...] = (
        (StorageFullError, 507),
        (UnavailableError, 503),
        (RefusedError, 403),
        (ProtocolError, 409),
        (TamperedError, 500),
    )
    if error.code == "wire.too-large":
        return 413
    return next((status for kind, status in kinds if isinstance(error, kind)), 400)
