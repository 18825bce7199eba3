"""The asking side: release, owner operations, and anchors over one key service.

Every answer is checked against the pinned identity before anything in it is read. Retrying happens
in one place (`_Session.call`), only for what `retryable` says, until a deadline.

Spec: key-release-v1.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from cloister.attestation.binding import NONCE_BYTES, bind
from cloister.attestation.evidence import Attester
from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import AttestationResult
from cloister.crypto.digest import require_equal, sha256
from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.kdf import random_bytes
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import (
    CloisterError,
    IdentityError,
    MalformedError,
    ReleaseDeniedError,
    UnavailableError,
)
from cloister.keyservice.anchoring import AnchorReply, AnchorRequest
from cloister.keyservice.bundle import Bundle, Lease
from cloister.keyservice.clock import Clock
from cloister.keyservice.leases import AnchorMove
from cloister.keyservice.log import (
    MAX_PROOF,
    Checkpoint,
    LogEntry,
    StateCommitment,
    read_leaf,
    verify_extension,
    verify_receipt,
)
from cloister.keyservice.messages import (
    ANCHOR_PATH,
    CHALLENGE_PATH,
    MAX_REPLY_BYTES,
    OWNER_PATH,
    RELEASE_PATH,
    Challenge,
    ChallengeRequest,
    Failure,
    ReleaseRequest,
    SignedReply,
    bundle_info,
)
from cloister.keyservice.notes import MAX_NOTE_BYTES
from cloister.keyservice.ownership import OwnerRequest, owner_reply_info, volume_key_info
from cloister.keyservice.transport import Transport
from cloister.wire import Fields, Value

__all__ = [
    "MAX_SKEW_S",
    "AnchoredState",
    "EnrolledClient",
    "KeyServiceAnchor",
    "LogPage",
    "OwnerClient",
    "OwnerLease",
    "PinnedService",
    "Release",
    "ReleaseClient",
    "ServiceStatus",
]

MAX_SKEW_S: Final = 300
_DEADLINE_S: Final = 30.0
_ATTEMPT_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.02
_LAST_PAUSE_S: Final = 1.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PinnedService:
    """What a client knows of a key service before it speaks to it.

    Attributes:
        identity: Its public key.
        origin: The name of its log.
    """

    identity: VerifyingKey
    origin: str


@dataclass(frozen=True, slots=True)
class _Call:
    """One exchange over a transport, with its limits."""

    transport: Transport
    service: PinnedService
    clock: Clock
    deadline_s: float

    def until_deadline(self, attempt: Callable[[float], Result]) -> Result:
        """Call `attempt` with the seconds it has, again while it raises what may pass."""
        end = time.monotonic() + self.deadline_s
        pause = _FIRST_PAUSE_S
        while True:
            left = end - time.monotonic()
            try:
                return attempt(min(max(left, 0.001), _ATTEMPT_S))
            except UnavailableError as e:
                if not _may_pass(e) or time.monotonic() + pause >= end:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE_S)

    def exchange(self, path: str, request: bytes, *, timeout_s: float) -> bytes:
        """Post once; return the result's bytes if the pinned service gave them to this request.

        Raises:
            IdentityError: Somebody else answered (`identity.keyservice`), or the clocks differ by
                more than `MAX_SKEW_S` (`identity.clock`).
            CloisterError: What the service refused with.
        """
        data = self.transport.post(path, request, timeout_s=timeout_s)
        try:
            signed = SignedReply.from_bytes(data)
        except MalformedError as e:
            raise IdentityError(
                "what answered is not the pinned key service", code="identity.keyservice"
            ) from e
        answer = signed.open(path=path, request=request, service=self.service.identity)
        _require_same_time(answer.at, self.clock().at)
        if isinstance(answer, Failure):
            raise answer.error()
        return answer.result

    def challenge(self, *, timeout_s: float) -> bytes:
        """Ask for a nonce for one request."""
        request = ChallengeRequest(random_bytes(NONCE_BYTES)).to_bytes()
        challenge = Challenge.from_bytes(
            self.exchange(CHALLENGE_PATH, request, timeout_s=timeout_s)
        )
        require_equal(challenge.service, self.service.identity.raw, error=_another_service())
        return challenge.nonce


@dataclass(frozen=True, slots=True, repr=False)
class Release:
    """A granted release: the bundle, and the private half of the certificate's key.

    Attributes:
        bundle: Verified, with its receipt.
        tls_key: PEM; a secret.
        result: What the appraisal established and what nobody checked.
        entry: The log's entry of this decision.
    """

    bundle: Bundle
    tls_key: bytes
    result: AttestationResult
    entry: LogEntry


class ReleaseClient:
    """Asks for what a policy grants one workload. Its keys live and die with it."""

    def __init__(
        self,
        transport: Transport,
        service: PinnedService,
        *,
        clock: Clock,
        deadline_s: float = _DEADLINE_S,
    ) -> None:
        """Make fresh keys. A repeated `release` uses the same, so that leases are taken over."""
        # Imported here: certificates load slowly, and only this client needs them.
        from cloister.crypto.x509 import TLSKey  # noqa: PLC0415

        self._call = _Call(transport, service, clock, deadline_s)
        self._hpke = HPKEPrivateKey.generate()
        self._tls = TLSKey.generate()
        self._csr = self._tls.request()

    def release(
        self,
        *,
        policy: bytes,
        workload: str,
        instance: str,
        measurement: LaunchMeasurement,
        attester: Attester,
    ) -> Release:
        """Prove what runs here and get what the policy grants it.

        Args:
            policy: SHA-256 of the canonical policy.
            workload: The role in it.
            instance: This run's name.
            measurement: What was measured and is about to run; bound into the evidence.
            attester: The root of trust that this process runs under.

        Raises:
            RefusedError: The service refused, or is not the pinned one.
            UnavailableError: It cannot be reached or does not answer in time, or a volume has
                another writer (`volume.leased`, after the deadline).
        """

        def attempt(timeout_s: float) -> Release:
            nonce = self._call.challenge(timeout_s=timeout_s)
            binding = {
                "service": self._call.service.identity.raw,
                "nonce": nonce,
                "policy": policy,
                "hpke_key": self._hpke.public.raw,
                "certificate_request": self._csr,
            }
            report_data = bind(
                **binding, workload=workload, instance=instance, measurement=measurement
            )
            request = ReleaseRequest(
                **binding,
                workload=workload,
                instance=instance,
                measurement=measurement,
                evidence=attester.collect(report_data),
            )
            return self._ask(request, timeout_s=timeout_s)

        return self._call.until_deadline(attempt)

    def _ask(self, request: ReleaseRequest, *, timeout_s: float) -> Release:
        body = request.to_bytes()
        sealed = self._call.exchange(RELEASE_PATH, body, timeout_s=timeout_s)
        service = self._call.service
        info = bundle_info(service=service.identity.raw, nonce=request.nonce, request=body)
        bundle = Bundle.from_bytes(self._hpke.open(sealed, info=info, error=_another_service()))
        entry = verify_receipt(bundle.receipt, service=service.identity, origin=service.origin)
        asked = (request.policy, request.workload, request.instance)
        logged = (entry.policy, entry.subject, entry.instance)
        given = (bundle.policy, bundle.workload, bundle.instance)
        evidence = sha256(request.evidence.to_bytes())
        if not (asked == logged == given and entry.granted and entry.evidence == evidence):
            raise _another_service()
        result = AttestationResult.from_bytes(bundle.result)
        return Release(bundle, self._tls.pem(), result, entry)


@dataclass(frozen=True, slots=True)
class AnchoredState:
    """The newest committed state of a volume, as the key service holds it."""

    version: int
    root: bytes
    epoch: int


class KeyServiceAnchor:
    """A volume's anchor at the key service, for one lease; matches the volume's `Anchor`.

    Whoever writes calls `renew` well before `ttl_s` has passed since the last `advance` or `renew`.
    Safe to share between the thread that commits and the one that renews.
    """

    def __init__(
        self,
        transport: Transport,
        service: PinnedService,
        *,
        volume: bytes,
        lease: Lease,
        clock: Clock,
        deadline_s: float = _DEADLINE_S,
    ) -> None:
        """Use a lease as the bundle gave it; an epoch of 0 only reads."""
        self._call = _Call(transport, service, clock, deadline_s)
        self._volume = volume
        self._secret = lease.secret
        self._epoch = lease.epoch
        self._lock = threading.Lock()
        self.ttl_s: Final = lease.ttl_s

    @property
    def epoch(self) -> int:
        """The epoch of the lease held here; 0 where the volume may only be read."""
        return self._epoch

    def state(self) -> AnchoredState:
        """Return the newest committed state."""
        return _state_of(self._ask("state", move=None))

    def advance(self, *, version: int, root: bytes, new_version: int, new_root: bytes) -> None:
        """Replace one state by the next; asking again for what is already there succeeds.

        Raises:
            ReleaseDeniedError: A newer writer, or another state (`release.fenced`): stop writing.
            UnavailableError: Not known whether it happened; ask again.
        """
        self._ask("advance", move=AnchorMove(version, root, new_version, new_root))

    def renew(self) -> None:
        """Let the lease run for a full lifetime from now."""
        self._ask("renew", move=None)

    def take_over(self) -> AnchoredState:
        """Fence whoever used this lease before, and go on under a new epoch at once.

        For a volume server that replaces one that died in the same run.
        """

        def attempt(timeout_s: float) -> AnchorReply:
            nonce = self._call.challenge(timeout_s=timeout_s)
            return self._send("takeover", nonce, move=None, timeout_s=timeout_s)

        with self._lock:
            reply = self._call.until_deadline(attempt)
            self._epoch = reply.epoch
        return _state_of(reply)

    def release(self) -> None:
        """Give the lease back, so that another may write at once. Twice is once."""
        try:
            self._ask("release", move=None)
        except ReleaseDeniedError as e:
            if e.code != "release.fenced":
                raise

    def _ask(self, operation: str, *, move: AnchorMove | None) -> AnchorReply:
        return self._call.until_deadline(
            lambda timeout_s: self._send(
                operation, random_bytes(NONCE_BYTES), move=move, timeout_s=timeout_s
            )
        )

    def _send(
        self, operation: str, nonce: bytes, *, move: AnchorMove | None, timeout_s: float
    ) -> AnchorReply:
        request = AnchorRequest(
            service=self._call.service.identity.raw,
            nonce=nonce,
            volume=self._volume,
            epoch=self._epoch,
            operation=operation,
            move=move,
        )
        body = request.sealed(self._secret).to_bytes()
        return AnchorReply.from_bytes(self._call.exchange(ANCHOR_PATH, body, timeout_s=timeout_s))


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
        deadline_s: float = _DEADLINE_S,
    ) -> None:
        """Make a fresh key for answers; leases that this object takes belong to it."""
        self._call = _Call(transport, service, clock, deadline_s)
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
            plain = self._hpke.open(sealed, info=info, error=_another_service())
            return Fields.decode(plain, what=operation, max_bytes=MAX_REPLY_BYTES)

        return self._call.until_deadline(attempt)


def _owner_lease(fields: Fields, *, lease: Lease | None) -> OwnerLease:
    key = fields.octets("key", length=32)
    version, root = fields.integer("version"), fields.octets("root", length=32)
    state = AnchoredState(version, root, fields.integer("epoch"))
    fields.end()
    return OwnerLease(key, state, lease)


def _octets(items: list[Value]) -> tuple[bytes, ...]:
    found = tuple(item for item in items if isinstance(item, bytes))
    if len(found) != len(items):
        raise MalformedError("log.read: not byte strings", code="message.malformed")
    return found


def _records(items: list[Value]) -> tuple[Mapping[str, Value], ...]:
    return tuple(item for item in items if isinstance(item, Mapping))


def _state_of(reply: AnchorReply) -> AnchoredState:
    return AnchoredState(reply.version, reply.root, reply.state_epoch)


def _may_pass(error: CloisterError) -> bool:
    """A full disk or a broken state is for a person; the rest may be over in a moment."""
    return error.code in {
        "keyservice.unreachable",
        "keyservice.slow",
        "keyservice.busy",
        "volume.leased",
    }


def _require_same_time(theirs: int, ours: int) -> None:
    if abs(theirs - ours) > MAX_SKEW_S:
        raise IdentityError(
            f"the key service's clock says {_time(theirs)} and this machine's {_time(ours)}",
            code="identity.clock",
            hint="set the clock that is wrong",
        )


def _time(at: int) -> str:
    try:
        return f"{dt.datetime.fromtimestamp(at, tz=dt.UTC):%F %T} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{at} s after 1970"


def _another_service() -> IdentityError:
    return IdentityError(
        "the answer is not the pinned key service's to this request", code="identity.keyservice"
    )
