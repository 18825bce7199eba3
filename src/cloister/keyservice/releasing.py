"""Decide releases and renewals: from evidence to a sealed bundle, or to a certificate renewed.

A request that is well-formed and has an open challenge ends as an entry in the log, granted or not.

Spec: key-release-v1, clauses KR-11 to KR-33; membership-v1, clauses MEM-61 and MEM-62.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from cloister.attestation.evidence import Endorsement
from cloister.crypto.digest import sha256
from cloister.crypto.hpke import HPKEPublicKey
from cloister.crypto.kdf import random_bytes
from cloister.crypto.signature import SigningKey
from cloister.crypto.x509 import CertificateAuthority, Identity
from cloister.errors import AppraisalError, MalformedError, RefusedError, UnavailableError
from cloister.keyservice.administration import CERTIFICATE_LIFETIME_S
from cloister.keyservice.anchoring import reader_secret
from cloister.keyservice.authorities import Authorities
from cloister.keyservice.bundle import KEY_BYTES, Bundle, Lease, ListenerGrant, VolumeGrant
from cloister.keyservice.challenges import Challenges
from cloister.keyservice.clock import Moment
from cloister.keyservice.jobs import Jobs
from cloister.keyservice.leases import LeaseTable, released, take
from cloister.keyservice.limits import Limits
from cloister.keyservice.log import Checkpoint, LogEntry, Receipt
from cloister.keyservice.member_messages import MemberGrant, member_secret
from cloister.keyservice.member_records import Member
from cloister.keyservice.membership import Admission
from cloister.keyservice.messages import ReleaseRequest, bundle_info
from cloister.keyservice.policy.model import Listener, Unchecked
from cloister.keyservice.records import Holder, VolumeRecord
from cloister.keyservice.refusals import Refusals
from cloister.keyservice.renewal import Renewal, renewal_info
from cloister.keyservice.scope import Scope
from cloister.keyservice.secret_release import resolve
from cloister.keyservice.secret_store import SecretStore
from cloister.keyservice.session import Approval, Claim, decide, require_service
from cloister.keyservice.state.journal import Appended
from cloister.keyservice.statetime import StateTime
from cloister.keyservice.store import Store

__all__ = ["Releases"]

_LOG: Final = logging.getLogger(__name__)
_UNDECIDED: Final = frozenset({"endorsement.missing", "endorsement.stale"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases:
    """Releases and renewals over one store.

    Attributes:
        store: The state.
        key: Signs receipts; its public half is the service's identity.
        reader_secret: What readers' and members' secrets derive from.
        trust_domain: In every name that is given.
        origin: The log's name.
        challenges: Of releases.
        renewal_challenges: Of renewals: neither opens the other's.
        authorities: Who signs a namespace's certificates.
        scope: What a namespace may have.
        limits: How often it may ask.
        secrets: What policies name.
        leases: Who may write a volume.
        jobs: Who is a member.
        refusals: Why releases were refused.
        time: The state's, as it was read for this decision.
        endorsements: Gives those that the service has itself, as they are now.
    """

    store: Store
    key: SigningKey
    reader_secret: bytes
    trust_domain: str
    origin: str
    challenges: Challenges
    renewal_challenges: Challenges
    authorities: Authorities
    scope: Scope
    limits: Limits
    secrets: SecretStore
    leases: LeaseTable
    jobs: Jobs
    refusals: Refusals
    time: StateTime
    endorsements: Callable[[], Sequence[Endorsement]]

    def release(self, body: bytes, moment: Moment) -> Callable[[], bytes]:
        """Read a request for keys; return what decides it."""
        request = ReleaseRequest.from_bytes(body)
        # KR-19. Meant for this service.
        require_service(request.service, self.key.public.raw)
        return partial(self._decide_release, request, body, moment)

    def _decide_release(self, request: ReleaseRequest, body: bytes, moment: Moment) -> bytes:
        # KR-11, KR-12. The challenge is spent, whatever is decided.
        self.challenges.spend(request.nonce, moment)
        try:
            approval = decide(request, records=self.store, own=self.endorsements(), at=moment.at)
            self.limits.release(approval.policy.namespace, moment)
            return self._grant(request, approval, body, moment)
        except (RefusedError, MalformedError, UnavailableError) as e:
            if e.code != "keyservice.busy":  # who asks too often does not make the log grow
                with self.store.transaction():
                    appended = self.store.append(_entry(request, moment, code=e.code).to_bytes())
                if isinstance(e, AppraisalError):
                    self.refusals.note(request, e, entry=appended.index, moment=moment)
            raise

    def _grant(
        self, request: ReleaseRequest, approval: Approval, body: bytes, moment: Moment
    ) -> bytes:
        requester = HPKEPublicKey(request.hpke_key)
        authority = self.authorities.of(approval.policy.namespace)
        result = approval.result.to_bytes()
        certificate, candidate = self._certify(request, approval, result, authority, moment)
        # SEC-40. Every secret that the workload names, by the rules of this moment.
        resolved = resolve(
            approval.policy,
            approval.workload,
            self.secrets,
            at=moment.at,
            passed=self.time.now,
        )
        # KR-31. One writer for each volume.
        written = {
            claim.record.handle: claim.record
            for claim in approval.volumes.values()
            if claim.access == "write"
        }
        # MEM-19. Who had this instance's place holds nothing any more.
        gone = self.jobs.displaced(approval.record, candidate, index=approval.index, at=moment.at)
        keys = {member.key_digest for member in gone}
        taken = {
            handle: take(
                released(record, keys),
                Holder(candidate.key_digest, random_bytes(KEY_BYTES)),
                self.leases,
                uptime=moment.uptime,
            )
            for handle, record in written.items()
        }
        # KR-32. Membership, leases and log entry become durable together, before anything is said.
        entry = _entry(request, moment, code="").to_bytes()
        allowed = approval.workload.instances
        with self.store.transaction():
            admission = self.jobs.admit(
                approval.record,
                candidate,
                index=approval.index,
                maximum=None if allowed is None else allowed.maximum,
                at=moment.at,
            )
            self.scope.require_within(approval.policy.namespace, "members", self.jobs.namespaces)
            for record in taken.values():
                self.store.put_volume(record)
            for secret in resolved.renewed:
                self.secrets.put(secret)
            appended = self.store.append(entry)
        for handle in taken:
            self.leases.extend(handle, uptime=moment.uptime)
        # KR-33. Sealed to the key in the evidence, for this request only.
        workload = approval.workload
        bundle = Bundle(
            policy=request.policy,
            workload=request.workload,
            instance=request.instance,
            identity=candidate.identity,
            command=resolved.command,
            environment=resolved.environment,
            volumes={
                path: self._grant_volume(claim, taken) for path, claim in approval.volumes.items()
            },
            listen={name: _listener(rule) for name, rule in workload.listen.items()},
            logs=workload.output.logs,
            certificate=certificate,
            ca=authority.certificate_pem,
            result=result,
            receipt=self._receipt(entry, appended),
            files=resolved.files,
            member=self._membership(admission),
        )
        for member in admission.gone:
            _LOG.info("member.replaced identity=%s by=%s", member.identity, candidate.identity)
        _LOG.info(
            "release.granted identity=%s policy=%s evidence=%s entry=%d",
            candidate.identity,
            request.policy.hex(),
            candidate.evidence.hex(),
            appended.index,
        )
        info = bundle_info(service=self.key.public.raw, nonce=request.nonce, request=body)
        return requester.seal(bundle.to_bytes(), info=info)

    def _certify(
        self,
        request: ReleaseRequest,
        approval: Approval,
        result: bytes,
        authority: CertificateAuthority,
        moment: Moment,
    ) -> tuple[bytes, Member]:
        """Return a certificate for the key in the bound request, and the member that it is for."""
        # KR-30. Every name in it is ours.
        identity = Identity(
            self.trust_domain,
            approval.policy.namespace,
            approval.policy.name,
            request.workload,
            request.instance,
        )
        lifetime_s = approval.policy.certificate_lifetime or CERTIFICATE_LIFETIME_S
        certificate = authority.issue(
            request.certificate_request,
            identity,
            policy_hash=request.policy,
            hardware_rooted=approval.result.hardware_rooted,
            at=moment.at,
            lifetime_s=lifetime_s,
        )
        return certificate, Member(
            role=request.workload,
            instance=request.instance,
            identity=identity.uri,
            policy=request.policy,
            evidence=sha256(request.evidence.to_bytes()),
            result=sha256(result),
            key_digest=sha256(request.hpke_key),
            since=moment.at,
            renewed=moment.at,
            expires=moment.at + lifetime_s,
        )

    def _membership(self, admission: Admission) -> MemberGrant:
        job = admission.job
        return MemberGrant(
            self.trust_domain,
            job.namespace,
            job.name,
            job.epoch,
            admission.member.expires,
            member_secret(self.reader_secret, job, admission.member),
        )

    def _grant_volume(self, claim: Claim, taken: dict[bytes, VolumeRecord]) -> VolumeGrant:
        record = claim.record
        if claim.access == "write":
            held = taken[record.handle]
            secret = b"" if held.holder is None else held.holder.secret
            lease = Lease(held.epoch, secret, self.leases.ttl_s)
        else:
            secret = reader_secret(self.reader_secret, record.handle)
            lease = Lease(0, secret, self.leases.ttl_s)
        return VolumeGrant(
            name=claim.name,
            id=record.id,
            keys=record.keys,
            access=claim.access,
            version=record.version,
            root=record.root,
            epoch=record.state_epoch,
            lease=lease,
        )

    def _receipt(self, entry: bytes, appended: Appended) -> Receipt:
        checkpoint = Checkpoint(self.origin, appended.size, appended.root)
        return Receipt(entry, appended.index, appended.proof, checkpoint.to_note(self.key))

    def renew(self, body: bytes, moment: Moment) -> Callable[[], bytes]:
        """Read a member's request for another certificate; return what decides it."""
        request = ReleaseRequest.from_bytes(body)
        require_service(request.service, self.key.public.raw)
        return partial(self._decide_renewal, request, body, moment)

    def _decide_renewal(self, request: ReleaseRequest, body: bytes, moment: Moment) -> bytes:
        # MEM-61. Meant for this service; the challenge was given for renewing, and is spent now.
        self.renewal_challenges.spend(request.nonce, moment)
        # MEM-62. All that a release needs, and a live member of that name and key; no lease.
        entry = _entry(request, moment, code="", operation="renew")
        try:
            approval = decide(request, records=self.store, own=self.endorsements(), at=moment.at)
            self.limits.release(approval.policy.namespace, moment)
            requester = HPKEPublicKey(request.hpke_key)
            authority = self.authorities.of(approval.policy.namespace)
            result = approval.result.to_bytes()
            certificate, candidate = self._certify(request, approval, result, authority, moment)
            with self.store.transaction():
                admission = self.jobs.renew(approval.record, candidate, at=moment.at)
                appended = self.store.append(entry.to_bytes())
        except (RefusedError, MalformedError, UnavailableError) as e:
            # Who asks too often does not make the log grow, and a state out of reach cannot.
            if not isinstance(e, UnavailableError) or e.code in _UNDECIDED:
                with self.store.transaction():
                    self.store.append(replace(entry, code=e.code).to_bytes())
            raise
        renewal = Renewal(
            certificate,
            result,
            self._receipt(entry.to_bytes(), appended),
            self._membership(admission),
        )
        _LOG.info("member.renewed identity=%s entry=%d", candidate.identity, appended.index)
        info = renewal_info(service=self.key.public.raw, nonce=request.nonce, request=body)
        return requester.seal(renewal.to_bytes(), info=info)


def _entry(
    request: ReleaseRequest, moment: Moment, *, code: str, operation: str = "release"
) -> LogEntry:
    return LogEntry(
        at=moment.at,
        operation=operation,
        code=code,
        policy=request.policy,
        subject=request.workload,
        instance=request.instance,
        evidence=sha256(request.evidence.to_bytes()),
        requester=sha256(request.hpke_key),
    )


def _listener(rule: Listener) -> ListenerGrant:
    if isinstance(rule.clients, Unchecked):
        return ListenerGrant(rule.port, (), rule.clients.unchecked)
    return ListenerGrant(rule.port, rule.clients, "")
