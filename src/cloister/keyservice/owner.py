"""The owner's operations over one key service.

Spec: key-release-v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.signature import SigningKey
from cloister.errors import MalformedError
from cloister.keyservice.anchors import AnchoredState
from cloister.keyservice.bundle import Lease
from cloister.keyservice.clock import Clock
from cloister.keyservice.exchange import DEADLINE_S, Call, another_service
from cloister.keyservice.log import (
    MAX_PROOF,
    Checkpoint,
    LogEntry,
    StateCommitment,
    read_leaf,
    verify_extension,
)
from cloister.keyservice.messages import MAX_REPLY_BYTES, OWNER_PATH
from cloister.keyservice.notes import MAX_NOTE_BYTES
from cloister.keyservice.ownership import OwnerRequest, owner_reply_info, volume_key_info
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.roster import MAX_ROSTER_BYTES, SignedRoster
from cloister.keyservice.transport import Transport
from cloister.wire import Fields, Value

__all__ = [
    "EnrolledClient",
    "JobStatus",
    "LogPage",
    "OwnerClient",
    "OwnerLease",
    "ServiceStatus",
]


@dataclass(frozen=True, slots=True, repr=False)
class OwnerLease:
    """A volume as its owner holds it: key, state, and for writing a lease."""

    key: bytes
    state: AnchoredState
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class EnrolledClient:
    """A client's identity: SPIFFE ID, certificate and authority, all public."""

    identity: str
    certificate: bytes
    ca: bytes


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What the key service holds; nothing secret. `policies` and `volumes` are plain records."""

    policies: tuple[Mapping[str, Value], ...]
    volumes: tuple[Mapping[str, Value], ...]
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job: its policy's hash and epoch, and each role's (live, maximum or None)."""

    namespace: str
    name: str
    policy: bytes
    epoch: int
    roles: Mapping[str, tuple[int, int | None]]


@dataclass(frozen=True, slots=True)
class LogPage:
    """Leaves of the log, the newest checkpoint with its note, and the proof from an older size."""

    leaves: tuple[bytes, ...]
    note: str
    checkpoint: Checkpoint
    consistency: tuple[bytes, ...]


class OwnerClient:
    """The owner's operations: each signed over a fresh challenge, each answer sealed to us."""

    def __init__(
        self,
        transport: Transport,
        service: PinnedService,
        *,
        owner: SigningKey,
        clock: Clock,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Make a fresh key for answers; leases that this object takes belong to it."""
        self._call = Call(transport, service, clock, deadline_s)
        self._owner = owner
        self._hpke = HPKEPrivateKey.generate()

    def apply_policy(self, canonical: bytes) -> bytes:
        """Make a policy the current one of its name; returns its hash.

        Raises:
            ReleaseDeniedError: It does not name its predecessor (`release.predecessor`), or the
                signer is not the owner (`release.not-owner`).
        """
        fields = self._do("policy.apply", {"canonical": canonical})
        digest = fields.octets("hash", length=32)
        fields.end()
        return digest

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
    ) -> None:
        """Entrust a volume's key and its first anchored state to the key service.

        Asking again with the same facts succeeds; with others it is refused (`config.exists`).
        """
        info = volume_key_info(service=self._call.service.identity.raw, volume=volume)
        arguments: dict[str, Value] = {
            "id": volume,
            "sealed_key": service_hpke.seal(key, info=info),
            "kind": kind,
            "version": version,
            "root": root,
        }
        self._do("volume.register", arguments).end()

    def volume_key(self, volume: bytes) -> OwnerLease:
        """Read a volume's key and state; logged like every release."""
        fields = self._do("volume.key", {"id": volume})
        return _owner_lease(fields, lease=None)

    def take_lease(self, volume: bytes) -> OwnerLease:
        """Read a volume's key and become its one writer.

        Raises:
            UnavailableError: It has another writer (`volume.leased`).
        """
        fields = self._do("lease.take", {"id": volume})
        return _owner_lease(fields, lease=Lease.from_fields(fields.submap("lease")))

    def break_lease(self, volume: bytes) -> None:
        """End whatever lease the volume has; its holder is fenced."""
        self._do("lease.break", {"id": volume}).end()

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
        policies = _records(fields.array("policies", max_items=1 << 20))
        volumes = _records(fields.array("volumes", max_items=1 << 20))
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
            leaves=_octets(fields.array("entries", max_items=count)),
            note=note,
            checkpoint=Checkpoint.from_note(note, service=service.identity, origin=service.origin),
            consistency=_octets(fields.array("consistency", max_items=MAX_PROOF)),
        )
        fields.end()
        return page

    def job_status(self, namespace: str, name: str) -> JobStatus:
        """Tell a job's epoch, and how many members each role has."""
        fields = self._do("job.status", {"namespace": namespace, "name": name})
        roles = fields.submap("roles")
        status = JobStatus(
            namespace,
            name,
            fields.octets("policy", length=32),
            fields.integer("epoch"),
            {role: _role_count(roles.submap(role)) for role in roles.keys()},  # noqa: SIM118
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


def _owner_lease(fields: Fields, *, lease: Lease | None) -> OwnerLease:
    key = fields.octets("key", length=32)
    version, root = fields.integer("version"), fields.octets("root", length=32)
    state = AnchoredState(version, root, fields.integer("epoch"))
    fields.end()
    return OwnerLease(key, state, lease)


def _role_count(fields: Fields) -> tuple[int, int | None]:
    live = fields.integer("live")
    maximum = fields.integer("maximum") if fields.has("maximum") else None
    fields.end()
    return live, maximum


def _octets(items: list[Value]) -> tuple[bytes, ...]:
    found = tuple(item for item in items if isinstance(item, bytes))
    if len(found) != len(items):
        raise MalformedError("log.read: not byte strings", code="message.malformed")
    return found


def _records(items: list[Value]) -> tuple[Mapping[str, Value], ...]:
    return tuple(item for item in items if isinstance(item, Mapping))
