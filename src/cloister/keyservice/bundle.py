"""The bundle: what a granted release hands over, sealed to the requester's key.

The launcher does what the bundle says and nothing else: argv, environment, volumes, listeners and
outputs all come from here.

Spec: key-release-v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.crypto.keyring import KeyRing
from cloister.errors import MalformedError
from cloister.keyservice.log import Receipt
from cloister.keyservice.member_messages import MemberGrant
from cloister.keyservice.messages import PROTOCOL_VERSION, VOLUME_ID_BYTES, require_name
from cloister.wire import Fields, Value, encode

__all__ = ["MAX_BUNDLE_BYTES", "Bundle", "FileGrant", "Lease", "ListenerGrant", "VolumeGrant"]

MAX_BUNDLE_BYTES: Final = 1 << 21
KEY_BYTES: Final = 32
_MAX_ARGUMENT: Final = 65_536  # a policy's texts are shorter; secrets may make them this long
_MAX_FILE: Final = 1 << 20
_MAX_PEM: Final = 16384
_MAX_RESULT: Final = 262144
_ACCESS: Final = ("read", "write")
_LOGS: Final = ("pass", "drop")


@dataclass(frozen=True, slots=True, repr=False)
class Lease:
    """The right to move one volume's anchor, or with epoch 0 only to read it.

    Attributes:
        epoch: Larger than any earlier writer's; 0 for readers.
        secret: 32 secret bytes that prove it.
        ttl_s: Seconds after which it lapses unless renewed.
    """

    epoch: int
    secret: bytes
    ttl_s: int

    def __post_init__(self) -> None:
        """Exact length."""
        if len(self.secret) != KEY_BYTES or self.epoch < 0 or self.ttl_s < 1:
            raise MalformedError("not a lease", code="message.malformed")

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Lease(epoch={self.epoch})"

    def to_value(self) -> dict[str, Value]:
        """Return it as part of a larger message."""
        return {"epoch": self.epoch, "secret": self.secret, "ttl_s": self.ttl_s}

    @classmethod
    def from_fields(cls, fields: Fields) -> Lease:
        """Read it from a larger message."""
        lease = cls(
            epoch=fields.integer("epoch"),
            secret=fields.octets("secret", length=KEY_BYTES),
            ttl_s=fields.integer("ttl_s", minimum=1),
        )
        fields.end()
        return lease


@dataclass(frozen=True, slots=True, repr=False)
class VolumeGrant:
    """One volume for the workload.

    Attributes:
        name: In the policy.
        id: The volume's 16-byte identity.
        keys: Every key that it may be sealed under; secret.
        access: `read` or `write`.
        version: Of the newest anchored state.
        root: Of the newest anchored state, 32 bytes.
        epoch: Of the writer who anchored it.
        lease: For `write`, the lease; for `read`, the right to ask the anchor.
    """

    name: str
    id: bytes
    keys: KeyRing
    access: str
    version: int
    root: bytes
    epoch: int
    lease: Lease

    def __post_init__(self) -> None:
        """Exact lengths; a writer has a lease."""
        if (len(self.id), len(self.root)) != (VOLUME_ID_BYTES, DIGEST_BYTES):
            raise MalformedError("a volume grant has fixed lengths", code="message.malformed")
        if self.access not in _ACCESS or (self.access == "write") != (self.lease.epoch > 0):
            raise MalformedError("access and lease do not agree", code="message.malformed")

    def __repr__(self) -> str:
        """Show no secret."""
        return f"VolumeGrant(name={self.name!r}, id={self.id.hex()}, access={self.access!r})"

    def to_value(self) -> dict[str, Value]:
        """Return it as part of the bundle."""
        return {
            "name": self.name,
            "id": self.id,
            **self.keys.to_value(),
            "access": self.access,
            "version": self.version,
            "root": self.root,
            "epoch": self.epoch,
            "lease": self.lease.to_value(),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> VolumeGrant:
        """Read it from the bundle."""
        grant = cls(
            name=fields.text("name", max_length=63),
            id=fields.octets("id", length=VOLUME_ID_BYTES),
            keys=KeyRing.from_fields(fields),
            access=fields.text("access", max_length=8),
            version=fields.integer("version"),
            root=fields.octets("root", length=DIGEST_BYTES),
            epoch=fields.integer("epoch"),
            lease=Lease.from_fields(fields.submap("lease")),
        )
        fields.end()
        return grant


@dataclass(frozen=True, slots=True)
class ListenerGrant:
    """A TCP port that the workload may accept on.

    Attributes:
        port: 0 lets the launcher choose.
        clients: SPIFFE IDs whose certificates are accepted; empty where the policy's author left
            the check out.
        unchecked: The author's reason for that, else empty.
    """

    port: int
    clients: tuple[str, ...]
    unchecked: str

    def __post_init__(self) -> None:
        """Either clients or a reason."""
        if bool(self.clients) == bool(self.unchecked) or not 0 <= self.port <= 65535:  # noqa: PLR2004  # bounds of ports and modes
            raise MalformedError("not a listener", code="message.malformed")

    def to_value(self) -> dict[str, Value]:
        """Return it as part of the bundle."""
        return {"port": self.port, "clients": list(self.clients), "unchecked": self.unchecked}

    @classmethod
    def from_fields(cls, fields: Fields) -> ListenerGrant:
        """Read it from the bundle."""
        grant = cls(
            port=fields.integer("port", maximum=65535),
            clients=tuple(fields.texts("clients", max_items=256)),
            unchecked=fields.text("unchecked", max_length=300),
        )
        fields.end()
        return grant


@dataclass(frozen=True, slots=True, repr=False)
class FileGrant:
    """A file for the workload, in memory only: its bytes, and its permission bits."""

    content: bytes
    mode: int

    def __post_init__(self) -> None:
        """Permission bits and nothing else."""
        if not 0 <= self.mode <= 0o777 or len(self.content) > _MAX_FILE:  # noqa: PLR2004  # bounds of ports and modes
            raise MalformedError("not a file", code="message.malformed")

    def to_value(self) -> dict[str, Value]:
        """Return it as part of the bundle."""
        return {"content": self.content, "mode": self.mode}

    @classmethod
    def from_fields(cls, fields: Fields) -> FileGrant:
        """Read it from the bundle."""
        grant = cls(fields.octets("content", max_length=_MAX_FILE), fields.integer("mode"))
        fields.end()
        return grant


@dataclass(frozen=True, slots=True, repr=False)
class Bundle:
    """All that one instance of one workload gets.

    Attributes:
        policy: SHA-256 of the canonical policy that granted it.
        workload: The role.
        instance: The requester's name for itself.
        identity: The SPIFFE ID in the certificate.
        command: argv.
        environment: All of it.
        volumes: Mount point to volume; a code volume is mounted at `/code`.
        listen: Name to listener.
        logs: `pass` or `drop`.
        certificate: PEM; its key is the one in the request.
        ca: PEM of the trust domain's authority.
        result: Canonical bytes of the attestation result.
        receipt: That the log holds this decision.
        files: Absolute path to file; absent from the bytes where there is none.
        member: The membership in the job that came with it.
    """

    policy: bytes
    workload: str
    instance: str
    identity: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    volumes: Mapping[str, VolumeGrant]
    listen: Mapping[str, ListenerGrant]
    logs: str
    certificate: bytes
    ca: bytes
    result: bytes
    receipt: Receipt
    files: Mapping[str, FileGrant] = field(default_factory=dict)
    member: MemberGrant | None = None

    def __post_init__(self) -> None:
        """A command is not empty; names are plain."""
        require_name(self.workload)
        require_name(self.instance)
        if not self.command or self.logs not in _LOGS or len(self.policy) != DIGEST_BYTES:
            raise MalformedError("not a bundle", code="message.malformed")

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Bundle(identity={self.identity!r})"

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: secret until sealed."""
        value: dict[str, Value] = {
            "version": PROTOCOL_VERSION,
            "policy": self.policy,
            "workload": self.workload,
            "instance": self.instance,
            "identity": self.identity,
            "command": list(self.command),
            "environment": dict(self.environment),
            "volumes": {path: grant.to_value() for path, grant in self.volumes.items()},
            "listen": {name: grant.to_value() for name, grant in self.listen.items()},
            "logs": self.logs,
            "certificate": self.certificate,
            "ca": self.ca,
            "result": self.result,
            "receipt": self.receipt.to_value(),
        }
        if self.files:
            value["files"] = {path: file.to_value() for path, file in self.files.items()}
        if self.member is not None:
            value["member"] = self.member.to_value()
        return encode(value)

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """Read a bundle; the sealing has authenticated it, and it is still read strictly."""
        fields = Fields.decode(data, what="bundle", max_bytes=MAX_BUNDLE_BYTES)
        fields.constant("version", PROTOCOL_VERSION)
        environment = fields.submap("environment")
        volumes = fields.submap("volumes")
        listen = fields.submap("listen")
        files = _files(fields)
        bundle = cls(
            policy=fields.octets("policy", length=DIGEST_BYTES),
            workload=fields.text("workload", max_length=64),
            instance=fields.text("instance", max_length=64),
            identity=fields.text("identity", max_length=1024),
            command=tuple(fields.texts("command", max_items=256, max_length=_MAX_ARGUMENT)),
            environment={
                name: environment.text(name, max_length=_MAX_ARGUMENT)
                for name in environment.keys()  # noqa: SIM118  # a method of Fields, no mapping
            },
            volumes={
                path: VolumeGrant.from_fields(volumes.submap(path))
                for path in volumes.keys()  # noqa: SIM118  # Fields, not a dict
            },
            listen={
                name: ListenerGrant.from_fields(listen.submap(name))
                for name in listen.keys()  # noqa: SIM118  # Fields, not a dict
            },
            logs=fields.text("logs", max_length=8),
            certificate=fields.octets("certificate", max_length=_MAX_PEM),
            ca=fields.octets("ca", max_length=_MAX_PEM),
            result=fields.octets("result", max_length=_MAX_RESULT),
            receipt=Receipt.from_fields(fields.submap("receipt")),
            files=files,
            member=(
                MemberGrant.from_fields(fields.submap("member")) if fields.has("member") else None
            ),
        )
        fields.end()
        return bundle


def _files(fields: Fields) -> dict[str, FileGrant]:
    """Read the files; none is spelled by leaving the field out, and not otherwise."""
    if not fields.has("files"):
        return {}
    files = fields.submap("files")
    found = {path: FileGrant.from_fields(files.submap(path)) for path in files.keys()}  # noqa: SIM118  # a method of Fields
    if not found:
        raise MalformedError("a bundle without files has no such field", code="message.malformed")
    return found
