"""The owner's operations over one key service.

Spec: key-release-v1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cloister.attestation.binding import NONCE_BYTES
from cloister.attestation.evidence import Evidence
from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.kdf import random_bytes
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.approvals import Approval, Subject
from cloister.keyservice.budget_records import BudgetStatus
from cloister.keyservice.bundle import Lease
from cloister.keyservice.clock import Clock
from cloister.keyservice.exchange import DEADLINE_S, Call, another_service
from cloister.keyservice.genuine import (
    ATTEST_PATH,
    AttestRequest,
    ServiceReference,
    require_genuine,
)
from cloister.keyservice.log import (
    MAX_PROOF,
    Checkpoint,
    LogEntry,
    StateCommitment,
    read_leaf,
    verify_extension,
)
from cloister.keyservice.messages import MAX_REPLY_BYTES, OWNER_PATH
from cloister.keyservice.namespace_log import OwnLogPage
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.notes import MAX_NOTE_BYTES
from cloister.keyservice.owner_replies import (
    EnrolledClient,
    JobStatus,
    LogPage,
    OwnerLease,
    ServiceStatus,
    read_budget,
    read_octets,
    read_owner_lease,
    read_receipt,
    read_records,
    read_role_count,
)
from cloister.keyservice.ownership import OwnerRequest, owner_reply_info, volume_key_info
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.refusals import Refusal
from cloister.keyservice.roster import MAX_ROSTER_BYTES, SignedRoster
from cloister.keyservice.secret_messages import SecretFact, secret_value_info
from cloister.keyservice.source_messages import (
    ServiceFact,
    SourceFact,
    reference_to_value,
    source_token_info,
)
from cloister.keyservice.submissions import (
    VALIDITY_S,
    NamespaceFacts,
    Submission,
    charter_subject,
    policy_subject,
)
from cloister.keyservice.transport import Transport
from cloister.keyservice.view_operations import TOKEN_ID_BYTES
from cloister.wire import Fields, Value

__all__ = ["OwnerClient"]


class OwnerClient:
    """The owner's operations: each signed over a fresh challenge, each answer sealed to us."""

    def __init__(
        self,
        transport: Transport,
        service: PinnedService,
        *,
        owner: SigningKey,
        reference: ServiceReference,
        clock: Clock,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Make a fresh key for answers; leases that this object takes belong to it.

        Args:
            transport: Carries bytes; not trusted.
            service: Who must answer.
            owner: Signs the requests.
            reference: What the service must prove to run before it is sent a secret.
            clock: Time and uptime.
            deadline_s: For each operation.
        """
        self._reference = reference
        self._attested: bytes = b""
        self._call = Call(transport, service, clock, deadline_s)
        self._owner = owner
        self._hpke = HPKEPrivateKey.generate()

    def apply_policy(self, canonical: bytes) -> bytes:
        """Make a policy the current one of its name by this key's approval; returns its hash.

        Raises:
            ReleaseDeniedError: It does not name its predecessor (`release.predecessor`), the signer
                is no approver (`release.not-owner`), or others must approve too
                (`approval.pending`); then the proposal waits for them.
        """
        done = self.propose_policy(canonical)
        if not done.in_force:
            raise ReleaseDeniedError(
                f"{done.lacking} more approvals are needed",
                code="approval.pending",
                hint="cloister policy pending shows whose",
            )
        return done.hash

    def propose_policy(
        self, canonical: bytes, approvals: tuple[Approval, ...] | None = None
    ) -> Submission:
        """Hand in a policy with approvals, or with this key's own where none are given."""
        return self._propose("policy.apply", canonical, approvals, policy_subject)

    def propose_charter(
        self, canonical: bytes, approvals: tuple[Approval, ...] | None = None
    ) -> Submission:
        """Hand in a charter with approvals, or with this key's own where none are given."""
        return self._propose("namespace.apply", canonical, approvals, charter_subject)

    def pending(self) -> tuple[Mapping[str, Value], ...]:
        """List the proposals that wait for approvals, as plain records."""
        return self._list("policy.pending", {}, "proposals")

    def history(self, namespace: str, name: str) -> tuple[Mapping[str, Value], ...]:
        """List the versions of a policy, oldest first, as plain records."""
        return self._list("policy.history", {"namespace": namespace, "name": name}, "versions")

    def namespaces(self) -> tuple[Mapping[str, Value], ...]:
        """List the charters that this key may read, as plain records."""
        return self._list("namespace.list", {}, "charters")

    def read_namespace(self, namespace: str) -> NamespaceFacts:
        """Say who governs a namespace."""
        return NamespaceFacts.from_fields(self._do("namespace.read", {"namespace": namespace}))

    def read_policy(self, digest: bytes) -> bytes:
        """Return the canonical bytes of a policy that was applied."""
        fields = self._do("policy.read", {"hash": digest})
        canonical = fields.octets("canonical", max_length=MAX_REPLY_BYTES)
        fields.boolean("current")
        fields.integer("at")
        fields.end()
        return canonical

    def register_volume(
        self,
        volume: bytes,
        *,
        key: bytes,
        version: int,
        root: bytes,
        kind: str,
        service_hpke: HPKEPublicKey,
        namespace: str = ROOT,
    ) -> None:
        """Entrust a volume's key and its first anchored state to the key service.

        Asking again with the same facts succeeds; with others it is refused (`config.exists`).

        Raises:
            RefusedError: The service does not prove that it is what was pinned; nothing was sent.
        """
        self.require_genuine_service(service_hpke)
        info = volume_key_info(
            service=self._call.service.identity.raw,
            volume=volume,
            namespace=namespace,
            owner=self._owner.public.raw,
        )
        arguments: dict[str, Value] = {
            "id": volume,
            "sealed_key": service_hpke.seal(key, info=info),
            "kind": kind,
            "version": version,
            "root": root,
        }
        if namespace != ROOT:
            arguments["namespace"] = namespace
        self._do("volume.register", arguments).end()

    def require_genuine_service(self, hpke: HPKEPublicKey) -> None:
        """Have the service prove what it runs, before a first secret is sealed to this key of its.

        Once for this object: what it proved holds for its identity, which signs every answer.

        Raises:
            RefusedError: It runs something else than was pinned, or proved it for another key.
        """
        if self._attested == hpke.raw:
            return
        service = self._call.service.identity.raw

        def attempt(timeout_s: float) -> None:
            nonce = random_bytes(NONCE_BYTES)
            request = AttestRequest(nonce).to_bytes()
            answer = self._call.exchange(ATTEST_PATH, request, timeout_s=timeout_s)
            require_genuine(
                Evidence.from_bytes(answer),
                self._reference,
                service=service,
                hpke_key=hpke.raw,
                nonce=nonce,
                at=self._call.clock().at,
            )

        self._call.until_deadline(attempt)
        self._attested = hpke.raw

    def volume_key(self, volume: bytes) -> OwnerLease:
        """Read a volume's key and state; logged like every release."""
        fields = self._do("volume.key", {"id": volume})
        return read_owner_lease(fields, lease=None)

    def take_lease(self, volume: bytes) -> OwnerLease:
        """Read a volume's key and become its one writer.

        Raises:
            UnavailableError: It has another writer (`volume.leased`).
        """
        fields = self._do("lease.take", {"id": volume})
        return read_owner_lease(fields, lease=Lease.from_fields(fields.submap("lease")))

    def break_lease(self, volume: bytes) -> None:
        """End whatever lease the volume has; its holder is fenced."""
        self._do("lease.break", {"id": volume}).end()

    def rotate_volume(self, volume: bytes, *, epoch: int) -> None:
        """Have the key service make a volume's key of this epoch, the one after its newest.

        Asking again for the newest changes nothing.

        Raises:
            ConfigError: The newest key has another epoch (`config.value`).
        """
        fields = self._do("volume.rotate", {"id": volume, "epoch": epoch})
        fields.constant("key_epoch", epoch)
        fields.end()

    def retire_keys(self, volume: bytes, *, before: int) -> int:
        """Destroy a volume's keys of epochs below `before`; returns the oldest that is kept.

        Raises:
            ReleaseDeniedError: Its newest state is sealed under one of them (`release.key-in-use`).
        """
        fields = self._do("volume.retire", {"id": volume, "before": before})
        oldest = fields.integer("oldest_key")
        fields.end()
        return oldest

    def enroll_client(
        self, *, namespace: str, name: str, instance: str, certificate_request: bytes
    ) -> EnrolledClient:
        """Have a client's certificate signed: `…/<namespace>/clients/<name>/<instance>`."""
        fields = self._do(
            "client.enroll",
            {
                "namespace": namespace,
                "name": name,
                "instance": instance,
                "certificate_request": certificate_request,
            },
        )
        client = EnrolledClient(
            fields.text("identity"), fields.octets("certificate"), fields.octets("ca")
        )
        fields.end()
        return client

    def status(self) -> ServiceStatus:
        """List policies and volumes, with the log's newest checkpoint."""
        fields = self._do("status", {})
        policies = read_records(fields.array("policies", max_items=1 << 20))
        volumes = read_records(fields.array("volumes", max_items=1 << 20))
        checkpoint = self._checkpoint(fields)
        fields.end()
        return ServiceStatus(policies, volumes, checkpoint)

    def read_log(
        self, *, first: int, count: int, old: Checkpoint | None
    ) -> tuple[list[LogEntry | StateCommitment], Checkpoint]:
        """Return leaves and the newest checkpoint, proved to extend `old` where that is given.

        Raises:
            TamperedError: The log is not an extension of `old` (`log.proof`).
        """
        page = self.read_log_page(first=first, count=count, old_size=0 if old is None else old.size)
        if old is not None and old.size:
            verify_extension(old, page.checkpoint, page.consistency)
        return [read_leaf(leaf) for leaf in page.leaves], page.checkpoint

    def read_log_page(self, *, first: int, count: int, old_size: int) -> LogPage:
        """Return leaves as they are, and the newest checkpoint with its note.

        The note is the pinned service's; leaves and consistency proof are not checked against it.
        """
        fields = self._do("log.read", {"first": first, "count": count, "old_size": old_size})
        service = self._call.service
        note = fields.text("checkpoint", max_length=MAX_NOTE_BYTES)
        page = LogPage(
            leaves=read_octets(fields.array("entries", max_items=count)),
            note=note,
            checkpoint=Checkpoint.from_note(note, service=service.identity, origin=service.origin),
            consistency=read_octets(fields.array("consistency", max_items=MAX_PROOF)),
        )
        fields.end()
        return page

    def read_own_log_page(
        self, namespace: str, *, first: int, count: int, old_size: int
    ) -> OwnLogPage:
        """Return a namespace's entries of a window of the log, each with its proof.

        The note is the pinned service's; nothing else is checked, which `read_own_log` does.
        """
        arguments: dict[str, Value] = {"namespace": namespace, "first": first, "count": count}
        fields = self._do("log.own", arguments | {"old_size": old_size})
        service = self._call.service
        note = fields.text("checkpoint", max_length=MAX_NOTE_BYTES)
        page = OwnLogPage(
            receipts=tuple(
                read_receipt(item, note) for item in fields.array("entries", max_items=count)
            ),
            following=fields.integer("next"),
            checkpoint=Checkpoint.from_note(note, service=service.identity, origin=service.origin),
            consistency=read_octets(fields.array("consistency", max_items=MAX_PROOF)),
        )
        fields.end()
        return page

    def put_secret(
        self,
        value: bytes,
        *,
        namespace: str,
        policy: str,
        name: str,
        epoch: int,
        service_hpke: HPKEPublicKey,
    ) -> None:
        """Entrust the value of an opaque secret to the key service, for one epoch.

        Asking again with the same value succeeds; with another it is refused (`config.exists`).

        Raises:
            RefusedError: The service does not prove that it is what was pinned; nothing was sent.
        """
        self.require_genuine_service(service_hpke)
        info = secret_value_info(
            service=self._call.service.identity.raw,
            namespace=namespace,
            policy=policy,
            name=name,
            epoch=epoch,
        )
        arguments: dict[str, Value] = {
            "namespace": namespace,
            "policy": policy,
            "name": name,
            "epoch": epoch,
            "sealed_value": service_hpke.seal(value, info=info),
        }
        self._do("secret.put", arguments).end()

    def list_secrets(self, *, namespace: str, policy: str) -> tuple[SecretFact, ...]:
        """List the secrets of a policy, every epoch that resolves; never a value."""
        fields = self._do("secret.list", {"namespace": namespace, "policy": policy})
        facts = tuple(SecretFact.from_value(item) for item in fields.array("secrets"))
        fields.end()
        return facts

    def put_source(
        self,
        token: bytes,
        *,
        namespace: str,
        name: str,
        address: str,
        ca: bytes,
        service_hpke: HPKEPublicKey,
    ) -> None:
        """Register a store whose values policies of a namespace may name; its token goes sealed.

        Asking again with the same facts succeeds; with others it is refused (`config.exists`).

        Raises:
            RefusedError: The service does not prove that it is what was pinned; nothing was sent.
        """
        self.require_genuine_service(service_hpke)
        info = source_token_info(
            service=self._call.service.identity.raw,
            namespace=namespace,
            name=name,
            address=address,
            ca=ca,
        )
        arguments: dict[str, Value] = {
            "namespace": namespace,
            "name": name,
            "address": address,
            "ca": ca,
            "sealed_token": service_hpke.seal(token, info=info),
        }
        self._do("source.put", arguments).end()

    def pin_source(
        self,
        *,
        namespace: str,
        name: str,
        address: str,
        service: VerifyingKey,
        trust_domain: str,
        hpke_key: HPKEPublicKey,
        reference: ServiceReference,
    ) -> None:
        """Register another key service whose secrets policies of a namespace may name.

        Asking again with the same facts succeeds; with others it is refused (`config.exists`).

        Args:
            namespace: Whose policies.
            name: How they name it.
            address: `HOST:PORT` of the other service.
            service: Its identity.
            trust_domain: Its trust domain's name.
            hpke_key: Its key for secrets.
            reference: What it must prove to run, each time before it is asked.
        """
        arguments: dict[str, Value] = {
            "namespace": namespace,
            "name": name,
            "address": address,
            "service": service.raw,
            "trust_domain": trust_domain,
            "hpke_key": hpke_key.raw,
            "reference": reference_to_value(reference),
        }
        self._do("source.pin", arguments).end()

    def issue_view_token(self, namespace: str, *, scope: str, hours: int) -> str:
        """Make a token with which somebody may look at a namespace, and have the service know it.

        Whoever holds it sees what this key may read there, until it is over, revoked, or the key
        has lost the right.

        Raises:
            ReleaseDeniedError: This key may read nothing there, or has too many good tokens.
            MalformedError: An unknown scope, or too many hours.
        """
        from cloister.keyservice.view.issued import IssuedToken  # noqa: PLC0415  # only who issues view tokens loads it

        token = IssuedToken(
            service=self._call.service.identity.raw,
            id=random_bytes(TOKEN_ID_BYTES),
            issuer=self._owner.public.raw,
            namespace=namespace,
            scope=scope,
            expires=self._call.clock().at + hours * 3600,
        )
        arguments: dict[str, Value] = {
            "namespace": namespace,
            "id": token.id,
            "scope": scope,
            "expires": token.expires,
        }
        self._do("view.issue", arguments).end()
        return token.signed(self._owner)

    def list_view_tokens(self, namespace: str) -> tuple[Mapping[str, Value], ...]:
        """List the tokens for a namespace that are good, as plain records; no token itself."""
        return self._list("view.list", {"namespace": namespace}, "tokens")

    def revoke_view_token(self, namespace: str, token: bytes) -> None:
        """End a token, by its identity, at once.

        Raises:
            ConfigError: There is none that this key may revoke (`config.missing`).
        """
        self._do("view.revoke", {"namespace": namespace, "id": token}).end()

    def refusals(self, namespace: str, name: str) -> tuple[Refusal, ...]:
        """List why releases by the policy in force were refused, the newest few, oldest first."""
        fields = self._do("release.refusals", {"namespace": namespace, "name": name})
        found = tuple(Refusal.from_value(item) for item in fields.array("refusals"))
        fields.end()
        return found

    def list_sources(self, namespace: str) -> tuple[SourceFact, ...]:
        """List a namespace's vaults, with what is wanted from each; never a token."""
        return self._sources(namespace)[0]

    def list_services(self, namespace: str) -> tuple[ServiceFact, ...]:
        """List the key services that are a namespace's sources, likewise."""
        return self._sources(namespace)[1]

    def _sources(self, namespace: str) -> tuple[tuple[SourceFact, ...], tuple[ServiceFact, ...]]:
        fields = self._do("source.list", {"namespace": namespace})
        vaults = tuple(SourceFact.from_value(item) for item in fields.array("sources"))
        services = tuple(ServiceFact.from_value(item) for item in fields.array("services"))
        fields.end()
        return vaults, services

    def remove_source(self, namespace: str, name: str) -> None:
        """Take a source and its token away; values that came from it stay."""
        self._do("source.remove", {"namespace": namespace, "name": name}).end()

    def _propose(
        self,
        operation: str,
        canonical: bytes,
        approvals: tuple[Approval, ...] | None,
        subject_of: Callable[..., Subject],
    ) -> Submission:
        if approvals is None:
            approvals = self._own_approval(canonical, subject_of)
        arguments: dict[str, Value] = {
            "canonical": canonical,
            "approvals": [approval.to_bytes() for approval in approvals],
        }
        return Submission.from_fields(self._do(operation, arguments))

    def _own_approval(
        self, canonical: bytes, subject_of: Callable[..., Subject]
    ) -> tuple[Approval, ...]:
        try:
            subject = subject_of(canonical, service=self._call.service.identity.raw)
        except MalformedError:
            return ()  # nothing to approve; the service says what is wrong with it
        expires_at = self._call.clock().at + VALIDITY_S
        return (Approval.make(subject, key=self._owner, expires_at=expires_at),)

    def _list(
        self, operation: str, arguments: Mapping[str, Value], name: str
    ) -> tuple[Mapping[str, Value], ...]:
        fields = self._do(operation, arguments)
        found = read_records(fields.array(name, max_items=1 << 20))
        fields.end()
        return found

    def job_status(self, namespace: str, name: str) -> JobStatus:
        """Tell a job's epoch, and how many members each role has."""
        fields = self._do("job.status", {"namespace": namespace, "name": name})
        roles = fields.submap("roles")
        status = JobStatus(
            namespace,
            name,
            fields.octets("policy", length=32),
            fields.integer("epoch"),
            {role: read_role_count(roles.submap(role)) for role in roles.keys()},  # noqa: SIM118  # Fields, not a dict
        )
        fields.end()
        return status

    def members(self, namespace: str, name: str, *, of: str = "") -> SignedRoster:
        """Return the signed roster of a job; of one role, or of all."""
        fields = self._do("member.list", {"namespace": namespace, "name": name, "of": of})
        signed = SignedRoster.from_bytes(fields.octets("roster", max_length=MAX_ROSTER_BYTES + 256))
        fields.end()
        return signed

    def expel(self, namespace: str, name: str, *, role: str, instance: str) -> int:
        """Take a member's key out of a job for good; returns the job's new epoch.

        Raises:
            ReleaseDeniedError: There is no live member of that name (`release.not-member`).
        """
        arguments: dict[str, Value] = {
            "namespace": namespace,
            "name": name,
            "role": role,
            "instance": instance,
        }
        fields = self._do("member.expel", arguments)
        epoch = fields.integer("epoch")
        fields.end()
        return epoch

    def budgets(self, namespace: str, name: str, *, of: str = "") -> tuple[BudgetStatus, ...]:
        """Return a job's budgets by name; of one, what was spent in each name as well."""
        fields = self._do("budget.list", {"namespace": namespace, "name": name, "of": of})
        fields.octets("policy", length=32)
        found = fields.array("budgets", max_items=1 << 16)
        fields.end()
        return tuple(read_budget(each) for each in found)

    def _checkpoint(self, fields: Fields) -> Checkpoint:
        service = self._call.service
        note = fields.text("checkpoint", max_length=MAX_NOTE_BYTES)
        return Checkpoint.from_note(note, service=service.identity, origin=service.origin)

    def _do(self, operation: str, arguments: Mapping[str, Value]) -> Fields:
        def attempt(timeout_s: float) -> Fields:
            nonce = self._call.challenge(timeout_s=timeout_s)
            service = self._call.service.identity.raw
            request = OwnerRequest(
                service=service,
                nonce=nonce,
                owner=self._owner.public.raw,
                operation=operation,
                arguments=arguments,
                reply_key=self._hpke.public.raw,
            )
            body = request.signed(self._owner).to_bytes()
            sealed = self._call.exchange(OWNER_PATH, body, timeout_s=timeout_s)
            info = owner_reply_info(service=service, nonce=nonce, request=body)
            plain = self._hpke.open(sealed, info=info, error=another_service())
            return Fields.decode(plain, what=operation, max_bytes=MAX_REPLY_BYTES)

        return self._call.until_deadline(attempt)
