"""The operations by which policies and charters come into force, and those that look at them.

Who may ask has been settled before (`authority`). How approvals add up is `proposals`; this module
keeps what they lead to, each change with its log entry in one transaction.

Spec: policy-approval-v1, clauses PA-30 to PA-46.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from cloister.crypto.digest import digest_from_text, digest_to_text, same_bytes
from cloister.crypto.x509 import CertificateAuthority
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.approvals import (
    MAX_APPROVAL_BYTES,
    NO_PREDECESSOR,
    Approval,
    Subject,
)
from cloister.keyservice.authorities import CA_LIFETIME_S, Authorities
from cloister.keyservice.clock import Moment
from cloister.keyservice.governance import (
    asks_for_more,
    charter_panel,
    parsed_policy,
    policy_panel,
)
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.ownership import OwnerRequest
from cloister.keyservice.policy.canonical import (
    MAX_CANONICAL_BYTES,
    policy_from_canonical,
    policy_hash,
)
from cloister.keyservice.policy.charter import (
    MAX_CHARTER_BYTES,
    charter_from_canonical,
    charter_hash,
)
from cloister.keyservice.policy.lint import require_sound
from cloister.keyservice.policy.model import Charter, Policy
from cloister.keyservice.proposals import Panel, Standing, gather, keys_of, standing
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.scope import Scope, named_keys, namespace_argument
from cloister.keyservice.secret_store import SecretStore
from cloister.keyservice.store import Store
from cloister.keyservice.tenancy_records import CharterRecord, Proposal
from cloister.wire import Fields, Value

__all__ = ["CLIENTS_SEGMENT", "PENDING", "Tenancy"]

CLIENTS_SEGMENT: Final = "clients"
PENDING: Final = "approval.pending"  # what a log entry says of a proposal; not an error
_MAX_APPROVALS: Final = 64
_MAX_PENDING: Final = 8  # by one submitter, so that nobody fills the others' table

_Operation = Callable[[Fields, OwnerRequest, Moment], dict[str, Value]]


class Note(Protocol):
    """Appends the entry of one decision; inside a transaction."""

    def __call__(
        self, request: OwnerRequest, moment: Moment, *, subject: str, policy: bytes, code: str
    ) -> None:
        """Append it."""
        ...


@dataclass(frozen=True, slots=True)
class _Change:
    """What a submission asks for: a subject, its bytes, and who must agree."""

    subject: Subject
    name: str
    canonical: bytes
    panel: Panel
    adopt: Callable[[], None]

    @property
    def label(self) -> str:
        """How the log names it."""
        return self.name or self.subject.namespace


class Tenancy:
    """Charters, policies and what waits for approvals, over one store."""

    def __init__(
        self,
        *,
        store: Store,
        secrets: SecretStore,
        scope: Scope,
        authorities: Authorities,
        service: bytes,
        founder: bytes,
        trust_domain: str,
        note: Note,
    ) -> None:
        """Share the service's parts; `service` is its public key."""
        self._store = store
        self._secrets = secrets
        self._scope = scope
        self._authorities = authorities
        self._service = service
        self._founder = founder
        self._trust_domain = trust_domain
        self._note = note
        self.operations: Final[dict[str, _Operation]] = {
            "policy.apply": self._apply_policy,
            "policy.read": self._read_policy,
            "policy.pending": self._list_pending,
            "policy.history": self._read_history,
            "namespace.apply": self._apply_charter,
            "namespace.read": self._read_namespace,
            "namespace.list": self._list_namespaces,
        }

    # -- policies

    def _apply_policy(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        canonical = fields.octets("canonical", max_length=MAX_CANONICAL_BYTES)
        approvals = _approvals(fields)
        fields.end()
        policy = policy_from_canonical(canonical)
        require_sound(policy)
        if policy.name == CLIENTS_SEGMENT:
            raise MalformedError(
                f"name: {CLIENTS_SEGMENT} stands for enrolled clients in every identity",
                code="policy.invalid",
            )
        digest = policy_hash(policy)
        present = self._store.current_policy(policy.namespace, policy.name)
        if present is not None and same_bytes(present.hash, digest):
            return _in_force(digest)
        predecessor = _require_predecessor(
            "policy", policy.predecessor, None if present is None else present.hash
        )
        change = _Change(
            Subject(self._service, "policy", policy.namespace, digest, predecessor),
            policy.name,
            canonical,
            policy_panel(present, self._scope.governance(policy.namespace)),
            lambda: self._adopt_policy(policy, digest, canonical, present, at=moment.at),
        )
        return self._submit(change, approvals, request, moment)

    def _adopt_policy(
        self,
        policy: Policy,
        digest: bytes,
        canonical: bytes,
        present: PolicyRecord | None,
        *,
        at: int,
    ) -> None:
        before = frozenset() if present is None else named_keys(parsed_policy(present.canonical))
        if present is None:
            self._scope.require_room(
                policy.namespace,
                "policies",
                lambda: (record.namespace for record in self._store.policies() if record.current),
            )
        self._store.put_policy(
            PolicyRecord(digest, canonical, policy.namespace, policy.name, current=True, at=at)
        )
        self._store.tenancy.rename(before, named_keys(policy))
        self._secrets.follow(policy, at=at)
        self._scope.require_within(policy.namespace, "secrets", self._secrets.namespaces)

    def _read_policy(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        del request, moment
        record = self._store.policy(fields.octets("hash", length=len(NO_PREDECESSOR)))
        fields.end()
        if record is None:
            raise ReleaseDeniedError(
                "the key service does not know this policy", code="release.policy-unknown"
            )
        return {"canonical": record.canonical, "current": record.current, "at": record.at}

    def _read_history(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        del request, moment
        name = (fields.text("namespace", max_length=255), fields.text("name", max_length=63))
        fields.end()
        versions: list[Value] = [
            {
                "hash": record.hash,
                "predecessor": parsed_policy(record.canonical).predecessor,
                "current": record.current,
                "at": record.at,
                "approved": [
                    approval.approver for approval in self._store.tenancy.approved_by(record.hash)
                ],
            }
            for record in self._store.policies()
            if (record.namespace, record.name) == name
        ]
        return {"versions": versions}

    # -- charters

    def _apply_charter(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        canonical = fields.octets("canonical", max_length=MAX_CHARTER_BYTES)
        approvals = _approvals(fields)
        fields.end()
        charter = charter_from_canonical(canonical)
        digest = charter_hash(charter)
        present = self._store.tenancy.charter(charter.namespace)
        if present is not None and same_bytes(present.hash, digest):
            return _in_force(digest)
        predecessor = _require_predecessor(
            "charter", charter.predecessor, None if present is None else present.hash
        )
        change = _Change(
            Subject(self._service, "charter", charter.namespace, digest, predecessor),
            "",
            canonical,
            charter_panel(charter, self._store.tenancy, founder=self._founder),
            lambda: self._adopt_charter(charter, digest, canonical, present, at=moment.at),
        )
        return self._submit(change, approvals, request, moment)

    def _adopt_charter(
        self,
        charter: Charter,
        digest: bytes,
        canonical: bytes,
        present: CharterRecord | None,
        *,
        at: int,
    ) -> None:
        if charter.namespace != ROOT and asks_for_more(present, charter):
            self._scope.require_grant(charter.namespace, charter.quotas)
        if present is not None:
            ca_key, ca_certificate = present.ca_key, present.ca_certificate
        elif charter.namespace == ROOT:
            ca_key = ca_certificate = b""
        else:
            name = f"{self._trust_domain}/{charter.namespace}"
            made = CertificateAuthority.create(trust_domain=name, at=at, lifetime_s=CA_LIFETIME_S)
            ca_key, ca_certificate = made.to_secret()
        before = frozenset() if present is None else _charter_keys(present.canonical)
        self._store.tenancy.rename(before, _charter_keys(canonical))
        self._store.tenancy.put_charter(
            CharterRecord(charter.namespace, digest, canonical, at, ca_key, ca_certificate)
        )

    def _read_namespace(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        del request, moment
        namespace = namespace_argument(fields)
        fields.end()
        governance = self._scope.governance(namespace)
        record = self._store.tenancy.charter(governance.namespace)
        return {
            "namespace": governance.namespace,
            "canonical": b"" if record is None else record.canonical,
            "approvers": sorted(governance.approvers),
            "threshold": governance.board.threshold,
            "ca": self._authorities.of(namespace).certificate_pem,
        }

    def _list_namespaces(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        del moment
        fields.end()
        charters: list[Value] = [
            {"namespace": record.namespace, "hash": record.hash, "at": record.at}
            for record in self._store.tenancy.charters()
            if self._scope.sees(request.owner, record.namespace)
        ]
        return {"charters": charters}

    # -- proposals

    def _list_pending(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        fields.end()
        found: list[Value] = []
        for proposal in self._store.tenancy.proposals():
            if moment.at <= proposal.deadline and self._sees(request.owner, proposal):
                panel = self._panel(proposal)
                stands = standing(proposal, panel, at=moment.at)
                found.append(
                    {
                        "kind": proposal.subject.kind,
                        "namespace": proposal.subject.namespace,
                        "name": proposal.name,
                        "hash": proposal.subject.hash,
                        "predecessor": proposal.subject.predecessor,
                        **_pending(stands),
                    }
                )
        return {"proposals": found}

    def _sees(self, key: bytes, proposal: Proposal) -> bool:
        namespace = proposal.subject.namespace
        present = self._store.current_policy(namespace, proposal.name)
        if present is not None:
            return self._scope.sees_policy(key, present)
        return self._scope.sees(key, namespace)

    def _panel(self, proposal: Proposal) -> Panel:
        namespace = proposal.subject.namespace
        if proposal.subject.kind == "charter":
            charter = charter_from_canonical(proposal.canonical)
            return charter_panel(charter, self._store.tenancy, founder=self._founder)
        present = self._store.current_policy(namespace, proposal.name)
        return policy_panel(present, self._scope.governance(namespace))

    def _submit(
        self,
        change: _Change,
        approvals: tuple[Approval, ...],
        request: OwnerRequest,
        moment: Moment,
    ) -> dict[str, Value]:
        """Add approvals to a change; bring it into force once they are enough."""
        tenancy = self._store.tenancy
        known = tenancy.proposal(change.subject, change.name)
        if known is not None and moment.at > known.deadline:
            known = None
        proposal = known or Proposal(
            change.subject,
            change.name,
            change.canonical,
            request.owner,
            moment.at + change.panel.timeout,
            (),
        )
        stands = gather(proposal, change.panel, approvals, at=moment.at)
        if not stands.lacking:
            with self._store.transaction():
                change.adopt()
                tenancy.put_approved(change.subject.hash, stands.proposal.approvals)
                self._drop(tenancy.proposals(), like=stands.proposal)
                self._record(change, request, moment, code="")
            return _in_force(change.subject.hash)
        if stands.proposal != known:
            if known is None:
                self._require_room(request.owner, moment)
            with self._store.transaction():
                self._drop_late(moment)
                tenancy.put_proposal(stands.proposal)
                self._record(change, request, moment, code=PENDING)
        return {"state": PENDING, "hash": change.subject.hash, **_pending(stands)}

    def _record(self, change: _Change, request: OwnerRequest, moment: Moment, *, code: str) -> None:
        self._note(request, moment, subject=change.label, policy=change.subject.hash, code=code)

    def _require_room(self, submitter: bytes, moment: Moment) -> None:
        waiting = [
            proposal
            for proposal in self._store.tenancy.proposals()
            if proposal.submitter == submitter and moment.at <= proposal.deadline
        ]
        if len(waiting) >= _MAX_PENDING:
            raise ReleaseDeniedError(
                f"{_MAX_PENDING} proposals of this key wait for approvals already",
                code="quota.exceeded",
            )

    def _drop(self, proposals: Iterable[Proposal], *, like: Proposal) -> None:
        place = (like.subject.kind, like.subject.namespace, like.name)
        for other in proposals:
            if (other.subject.kind, other.subject.namespace, other.name) == place:
                self._store.tenancy.drop_proposal(other)

    def _drop_late(self, moment: Moment) -> None:
        for other in self._store.tenancy.proposals():
            if moment.at > other.deadline:
                self._store.tenancy.drop_proposal(other)


def _charter_keys(canonical: bytes) -> frozenset[bytes]:
    charter = charter_from_canonical(canonical)
    return keys_of((*charter.approvers, *charter.readers))


def _approvals(fields: Fields) -> tuple[Approval, ...]:
    if not fields.has("approvals"):
        return ()
    found = []
    for item in fields.array("approvals", max_items=_MAX_APPROVALS):
        if not isinstance(item, bytes) or len(item) > MAX_APPROVAL_BYTES:
            raise MalformedError("an approval is a byte string", code="approval.malformed")
        found.append(Approval.from_bytes(item))
    return tuple(found)


def _require_predecessor(what: str, named: str, present: bytes | None) -> bytes:
    expected = "none" if present is None else digest_to_text(present)
    if named != expected:
        raise ReleaseDeniedError(
            f"the {what} names predecessor {named}, and the one applied is {expected}",
            code="release.predecessor",
            hint=f"if you mean to replace that one, write predecessor: {expected}",
        )
    return NO_PREDECESSOR if present is None else digest_from_text(named)


def _in_force(digest: bytes) -> dict[str, Value]:
    return {"state": "in-force", "hash": digest}


def _pending(stands: Standing) -> dict[str, Value]:
    return {
        "approved": list(stands.approved),
        "missing": list(stands.missing),
        "lacking": stands.lacking,
        "deadline": stands.proposal.deadline,
    }
