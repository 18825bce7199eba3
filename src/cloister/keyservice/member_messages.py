"""A member's own operations as messages: who is in the job, who was refused, a token, leaving.

A request carries a code (HMAC) made with the member's secret, which the bundle brought; replies
are signed by the service over the request, whose nonce the member chose. Repeating a recorded
request changes nothing: `leave` needs a challenge of the service, `roster` and `refusals` only
read, `token` says again to the same audience what is so, and demands of `spend` are numbered.

Spec: membership-v1, clauses MEM-20 to MEM-28 and MEM-70.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.attestation.binding import NONCE_BYTES, SERVICE_BYTES
from cloister.crypto.digest import framed
from cloister.crypto.kdf import derive_key
from cloister.crypto.mac import MAC_BYTES, make_mac, require_mac
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.budget_messages import SEALED_DEMAND_BYTES
from cloister.keyservice.member_records import Job, Member
from cloister.keyservice.messages import PROTOCOL_VERSION, require_name
from cloister.keyservice.namespaces import require_namespace
from cloister.wire import Fields, Value, encode

__all__ = [
    "KEYS_PATH",
    "MEMBER_PATH",
    "REQUEST_LABEL",
    "SECRET_LABEL",
    "MemberGrant",
    "MemberRequest",
    "RefusalNotice",
    "SealedMemberRequest",
    "TokenDemand",
    "member_secret",
    "not_a_member",
]

MEMBER_PATH: Final = "/v1/member"
KEYS_PATH: Final = "/v1/keys"
REQUEST_LABEL: Final = b"cloister/membership/v1/request"
SECRET_LABEL: Final = b"cloister/membership/v1/secret"
OPERATIONS: Final = ("roster", "refusals", "leave", "token", "spend")
_SECRET_BYTES: Final = 32
_MAX_RESULT: Final = 262144
_MAX_BYTES: Final = _MAX_RESULT + 2048
_MAX_AUDIENCE: Final = 255
_MIN_ANSWERS, _MAX_ANSWERS = 8, 64


@dataclass(frozen=True, slots=True, repr=False)
class MemberGrant:
    """What a bundle says about its holder's membership.

    Attributes:
        domain: The trust domain.
        namespace: Of the job.
        name: Of the job: the policy's name.
        epoch: The job's epoch when the release was granted.
        expires: When the membership lapses unless renewed; the certificate's end.
        secret: 32 secret bytes that prove the membership.
    """

    domain: str
    namespace: str
    name: str
    epoch: int
    expires: int
    secret: bytes

    def __post_init__(self) -> None:
        """Exact length; whoever is in a job has made it change at least once."""
        if len(self.secret) != _SECRET_BYTES or self.epoch < 1:
            raise MalformedError("not a membership", code="message.malformed")

    def __repr__(self) -> str:
        """Show no secret."""
        return f"MemberGrant(job={self.namespace}/{self.name}, epoch={self.epoch})"

    def to_value(self) -> dict[str, Value]:
        """Return it as part of the bundle."""
        return {
            "domain": self.domain,
            "namespace": self.namespace,
            "name": self.name,
            "epoch": self.epoch,
            "expires": self.expires,
            "secret": self.secret,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> MemberGrant:
        """Read it from the bundle."""
        grant = cls(
            domain=fields.text("domain", max_length=255),
            namespace=require_namespace(fields.text("namespace", max_length=255)),
            name=require_name(fields.text("name", max_length=64)),
            epoch=fields.integer("epoch"),
            expires=fields.integer("expires"),
            secret=fields.octets("secret", length=_SECRET_BYTES),
        )
        fields.end()
        return grant


@dataclass(frozen=True, slots=True)
class TokenDemand:
    """What a token is for.

    Attributes:
        audience: The relying party, as it calls itself.
        answers: Its nonce, 8 to 64 bytes.
        result: The attestation result that the member's newest bundle brought, as it is.
    """

    audience: str
    answers: bytes
    result: bytes

    def __post_init__(self) -> None:
        """Within bounds."""
        if (
            not 1 <= len(self.audience) <= _MAX_AUDIENCE
            or not _MIN_ANSWERS <= len(self.answers) <= _MAX_ANSWERS
            or len(self.result) > _MAX_RESULT
        ):
            raise MalformedError("not a token that can be asked for", code="message.malformed")

    def to_value(self) -> dict[str, Value]:
        """Return it as part of a request."""
        return {"audience": self.audience, "answers": self.answers, "result": self.result}

    @classmethod
    def from_fields(cls, fields: Fields) -> TokenDemand:
        """Read it from a request."""
        demand = cls(
            fields.text("audience", max_length=_MAX_AUDIENCE),
            fields.octets("answers", max_length=_MAX_ANSWERS),
            fields.octets("result", max_length=_MAX_RESULT),
        )
        fields.end()
        return demand


@dataclass(frozen=True, slots=True)
class RefusalNotice:
    """What a job learns of somebody who was refused: not what a rule wanted, nor what was found.

    Attributes:
        entry: Number of the refusal's entry in the log; tells one from another.
        at: When, in seconds since the epoch.
        role: The workload that was asked for.
        code: Of the refusal.
    """

    entry: int
    at: int
    role: str
    code: str

    def to_value(self) -> dict[str, Value]:
        """Return it as part of a list."""
        return {"entry": self.entry, "at": self.at, "role": self.role, "code": self.code}

    @classmethod
    def from_value(cls, value: Value) -> RefusalNotice:
        """Read it from a list."""
        fields = Fields(value, what="refusal")
        notice = cls(
            entry=fields.integer("entry"),
            at=fields.integer("at"),
            role=require_name(fields.text("role", max_length=64)),
            code=fields.text("code", max_length=64),
        )
        fields.end()
        return notice


@dataclass(frozen=True, slots=True)
class MemberRequest:
    """One operation by one member of one job.

    Attributes:
        service: The key service that is meant.
        nonce: The member's; for `leave`, the service's challenge.
        namespace: Of the job.
        name: Of the job.
        role: Of the member.
        instance: Of the member.
        operation: `roster`, `refusals`, `leave`, `token` or `spend`.
        of: For `roster` only: the role that is asked for, or empty for all.
        token: For `token` only.
        since: For `refusals` only: what was before is not asked for.
        demand: For `spend` only: a sealed `SpendDemand`.
    """

    service: bytes
    nonce: bytes
    namespace: str
    name: str
    role: str
    instance: str
    operation: str
    of: str | None = None
    token: TokenDemand | None = None
    since: int | None = None
    demand: bytes | None = None

    def __post_init__(self) -> None:
        """Exact lengths, plain names; each part exactly for the operation that it is of."""
        if (len(self.service), len(self.nonce)) != (SERVICE_BYTES, NONCE_BYTES):
            raise MalformedError("a member request has fixed lengths", code="message.malformed")
        require_namespace(self.namespace)
        for name in (self.name, self.role, self.instance):
            require_name(name)
        has = (
            ("roster", self.of is not None),
            ("token", self.token is not None),
            ("refusals", self.since is not None),
            ("spend", self.demand is not None),
        )
        if self.operation not in OPERATIONS or any(
            (self.operation == operation) != there for operation, there in has
        ):
            raise MalformedError("not an operation of a member", code="message.malformed")
        if self.since is not None and self.since < 0:
            raise MalformedError("a time is not below zero", code="message.malformed")
        if self.demand is not None and len(self.demand) != SEALED_DEMAND_BYTES:
            raise MalformedError("a sealed demand has one length", code="message.malformed")
        if self.of:
            require_name(self.of)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that the code covers."""
        value: dict[str, Value] = {
            "version": PROTOCOL_VERSION,
            "service": self.service,
            "nonce": self.nonce,
            "namespace": self.namespace,
            "name": self.name,
            "role": self.role,
            "instance": self.instance,
            "operation": self.operation,
        }
        if self.of is not None:
            value["of"] = self.of
        if self.token is not None:
            value["token"] = self.token.to_value()
        if self.since is not None:
            value["since"] = self.since
        if self.demand is not None:
            value["demand"] = self.demand
        return encode(value)

    @classmethod
    def from_bytes(cls, data: bytes) -> MemberRequest:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="member request", max_bytes=_MAX_BYTES)
        fields.constant("version", PROTOCOL_VERSION)
        operation = fields.text("operation", max_length=16)
        request = cls(
            service=fields.octets("service", length=SERVICE_BYTES),
            nonce=fields.octets("nonce", length=NONCE_BYTES),
            namespace=fields.text("namespace", max_length=255),
            name=fields.text("name", max_length=64),
            role=fields.text("role", max_length=64),
            instance=fields.text("instance", max_length=64),
            operation=operation,
            of=fields.text("of", max_length=64) if operation == "roster" else None,
            token=(
                TokenDemand.from_fields(fields.submap("token")) if operation == "token" else None
            ),
            since=fields.integer("since") if operation == "refusals" else None,
            demand=(
                fields.octets("demand", length=SEALED_DEMAND_BYTES)
                if operation == "spend"
                else None
            ),
        )
        fields.end()
        return request

    def sealed(self, secret: bytes) -> SealedMemberRequest:
        """Add the code that proves the membership."""
        body = self.to_bytes()
        return SealedMemberRequest(body, make_mac(secret, REQUEST_LABEL, body))


@dataclass(frozen=True, slots=True)
class SealedMemberRequest:
    """A member request's bytes and the code over them; nobody has checked it yet."""

    body: bytes
    mac: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode({"body": self.body, "mac": self.mac})

    @classmethod
    def from_bytes(cls, data: bytes) -> SealedMemberRequest:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="sealed member request", max_bytes=_MAX_BYTES + 256)
        sealed = cls(
            fields.octets("body", max_length=_MAX_BYTES), fields.octets("mac", length=MAC_BYTES)
        )
        fields.end()
        return sealed

    def require(self, secret: bytes) -> None:
        """Raise `release.not-member` unless the sender knows the secret."""
        require_mac(secret, REQUEST_LABEL, self.body, self.mac, error=not_a_member())


def member_secret(service_secret: bytes, job: Job, member: Member) -> bytes:
    """Derive the secret that proves one membership: of this key, under this policy version."""
    names = (job.namespace, job.name, member.role, member.instance)
    salt = framed(*(name.encode() for name in names), member.policy, member.key_digest)
    return derive_key(service_secret, label=SECRET_LABEL, salt=salt)


def not_a_member() -> ReleaseDeniedError:
    """Return the one refusal for everybody who is no live member, whatever the reason."""
    return ReleaseDeniedError(
        "the sender is not a live member of this job", code="release.not-member"
    )
