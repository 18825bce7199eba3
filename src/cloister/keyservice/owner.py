"""The owner's operations over one key service.

Spec: key-release-v1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cloister.crypto.hpke import HPKEPublicKey
from cloister.crypto.signature import SigningKey
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.approvals import Approval, Subject
from cloister.keyservice.budget_records import BudgetStatus
from cloister.keyservice.bundle import Lease
from cloister.keyservice.clock import Clock
from cloister.keyservice.exchange import DEADLINE_S
from cloister.keyservice.genuine import (
    ServiceReference,
)
from cloister.keyservice.log import (
    MAX_PROOF,
    Checkpoint,
    LogEntry,
    StateCommitment,
    read_leaf,
    verify_extension,
)
from cloister.keyservice.messages import MAX_REPLY_BYTES
from cloister.keyservice.namespace_log import OwnLogPage
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.notes import MAX_NOTE_BYTES
from cloister.keyservice.owner_call import OwnerCall
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
from cloister.keyservice.owner_secrets import OwnerSecrets, OwnerSources
from cloister.keyservice.owner_views import OwnerViews
from cloister.keyservice.ownership import volume_key_info
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.refusals import Refusal
from cloister.keyservice.roster import MAX_ROSTER_BYTES, SignedRoster
from cloister.keyservice.submissions import (
    VALIDITY_S,
    NamespaceFacts,
    Submission,
    charter_subject,
    policy_subject,
)
from cloister.keyservice.transport import Transport
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
        self.call: Final = OwnerCall(
            transport,
            service,
            owner=owner,
            reference=reference,
            clock=clock,
            deadline_s=deadline_s,
        )
        self.secrets: Final = OwnerSecrets(self.call)
        self.sources: Final = OwnerSources(self.call)
        self.views: Final = OwnerViews(self.call)

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
        return self.call.records("policy.pending", {}, "proposals")

    def history(self, namespace: str, name: str) -> tuple[Mapping[str, Value], ...]:
        """List the versions of a policy, oldest first, as plain records."""
        return self.call.records(
            "policy.history", {"namespace": namespace, "name": name}, "versions"
        )

    def namespaces(self) -> tuple[Mapping[str, Value], ...]:
        """List the charters that this key may read, as plain records."""
        return self.call.records("namespace.list", {}, "charters")

    def read_namespace(self, namespace: str) -> NamespaceFacts:
        """Say who governs a namespace."""
        return NamespaceFacts.from_fields(self.call.do("namespace.read", {"namespace": namespace}))

    def read_policy(self, digest: bytes) -> bytes:
        """Return the canonical bytes of a policy that was applied."""
        fields = self.call.do("policy.read", {"hash": digest})
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
        self.call.require_genuine(service_hpke)
        info = volume_key_info(
            service=self.call.service.identity.raw,
            volume=volume,
            namespace=namespace,
            owner=self.call.owner.public.raw,
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
        self.call.do("volume.register", arguments).end()

    def volume_key(self, volume: bytes) -> OwnerLease:
        """Read a volume's key and state; logged like every release."""
        fields = self.call.do("volume.key", {"id": volume})
        return read_owner_lease(fields, lease=None)

    def take_lease(self, volume: bytes) -> OwnerLease:
        """Read a volume's key and become its one writer.

        Raises:
            UnavailableError: It has another writer (`volume.leased`).
        """
        fields = self.call.do("lease.take", {"id": volume})
        return read_owner_lease(fields, lease=Lease.from_fields(fields.submap("lease")))

    def break_lease(self, volume: bytes) -> None:
        """End whatever lease the volume has; its holder is fenced."""
        self.call.do("lease.break", {"id": volume}).end()

    def rotate_volume(self, volume: bytes, *, epoch: int) -> None:
        """Have the key service make a volume's key of this epoch, the one after its newest.

        Asking again for the newest changes nothing.

        Raises:
            ConfigError: The newest key has another epoch (`config.value`).
        """
        fields = self.call.do("volume.rotate", {"id": volume, "epoch": epoch})
        fields.constant("key_epoch", epoch)
        fields.end()

    def retire_keys(self, volume: bytes, *, before: int) -> int:
        """Destroy a volume's keys of epochs below `before`; returns the oldest that is kept.

        Raises:
            ReleaseDeniedError: Its newest state is sealed under one of them (`release.key-in-use`).
        """
        fields = self.call.do("volume.retire", {"id": volume, "before": before})
        oldest = fields.integer("oldest_key")
        fields.end()
        return oldest

    def enroll_client(
        self, *, namespace: str, name: str, instance: str, certificate_request: bytes
    ) -> EnrolledClient:
        """Have a client's certificate signed: `…/<namespace>/clients/<name>/<instance>`."""
        fields = self.call.do(
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
        fields = self.call.do("status", {})
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
        fields = self.call.do("log.read", {"first": first, "count": count, "old_size": old_size})
        service = self.call.service
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
        fields = self.call.do("log.own", arguments | {"old_size": old_size})
        service = self.call.service
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

    def refusals(self, namespace: str, name: str) -> tuple[Refusal, ...]:
        """List why releases by the policy in force were refused, the newest few, oldest first."""
        fields = self.call.do("release.refusals", {"namespace": namespace, "name": name})
        found = tuple(Refusal.from_value(item) for item in fields.array("refusals"))
        fields.end()
        return found

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
        return Submission.from_fields(self.call.do(operation, arguments))

    def _own_approval(
        self, canonical: bytes, subject_of: Callable[..., Subject]
    ) -> tuple[Approval, ...]:
        try:
            subject = subject_of(canonical, service=self.call.service.identity.raw)
        except MalformedError:
            return ()  # nothing to approve; the service says what is wrong with it
        expires_at = self.call.now() + VALIDITY_S
        return (Approval.make(subject, key=self.call.owner, expires_at=expires_at),)

    def job_status(self, namespace: str, name: str) -> JobStatus:
        """Tell a job's epoch, and how many members each role has."""
        fields = self.call.do("job.status", {"namespace": namespace, "name": name})
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
        fields = self.call.do("member.list", {"namespace": namespace, "name": name, "of": of})
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
        fields = self.call.do("member.expel", arguments)
        epoch = fields.integer("epoch")
        fields.end()
        return epoch

    def budgets(self, namespace: str, name: str, *, of: str = "") -> tuple[BudgetStatus, ...]:
        """Return a job's budgets by name; of one, what was spent in each name as well."""
        fields = self.call.do("budget.list", {"namespace": namespace, "name": name, "of": of})
        fields.octets("policy", length=32)
        found = fields.array("budgets", max_items=1 << 16)
        fields.end()
        return tuple(read_budget(each) for each in found)

    def _checkpoint(self, fields: Fields) -> Checkpoint:
        service = self.call.service
        note = fields.text("checkpoint", max_length=MAX_NOTE_BYTES)
        return Checkpoint.from_note(note, service=service.identity, origin=service.origin)
