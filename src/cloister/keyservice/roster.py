"""The roster: who is in a job at one epoch, signed by the key service, checked offline. Pure.

Whoever has the service's public key can check it; it holds no secret. It is bound to the trust
domain, the job, the policy, the epoch and the time, and says which role was asked for, so that a
part is not taken for the whole.

Spec: membership-v1, clauses MEM-30 to MEM-38.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.crypto.signature import SIGNATURE_BYTES, SigningKey, VerifyingKey
from cloister.errors import EvidenceError, IdentityError, MalformedError
from cloister.keyservice.member_records import Job, Member
from cloister.keyservice.membership import MAX_MEMBERS
from cloister.keyservice.messages import require_name
from cloister.keyservice.namespaces import require_namespace
from cloister.wire import Fields, Value, encode

__all__ = [
    "MAX_ROSTER_BYTES",
    "ROSTER_LABEL",
    "Expected",
    "Roster",
    "SignedRoster",
    "identity_uri",
    "make_roster",
]

MAX_ROSTER_BYTES: Final = 1 << 20
ROSTER_LABEL: Final = b"cloister/membership/v1/roster"
_VERSION: Final = 1
_MAX_SKEW_S: Final = 300


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is in a job.

    Attributes:
        domain: The trust domain.
        namespace: Of the job.
        name: Of the job.
        policy: Hash of the version that admitted every member here.
        of: The role that this roster shows, or empty where it shows all.
        epoch: The job's.
        at: When the service made it, in seconds since the epoch.
        members: Live then, by role and instance.
    """

    domain: str
    namespace: str
    name: str
    policy: bytes
    of: str
    epoch: int
    at: int
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        """Members in order, each once, live, of the role that is shown, under their own names."""
        require_namespace(self.namespace)
        for name in (self.name, *([self.of] if self.of else [])):
            require_name(name)
        names = [(member.role, member.instance) for member in self.members]
        if names != sorted(set(names)) or len(names) > MAX_MEMBERS:
            raise _not_a_roster()
        for member in self.members:
            uri = identity_uri(self.domain, self.namespace, self.name, member)
            if member.identity != uri or member.policy != self.policy:
                raise _not_a_roster()
            if member.expires <= self.at or self.of not in {"", member.role}:
                raise _not_a_roster()

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that are signed."""
        members: list[Value] = [
            {
                "role": member.role,
                "instance": member.instance,
                "identity": member.identity,
                "evidence": member.evidence,
                "result": member.result,
                "key": member.key_digest,
                "since": member.since,
                "renewed": member.renewed,
                "expires": member.expires,
            }
            for member in self.members
        ]
        return encode(
            {
                "version": _VERSION,
                "domain": self.domain,
                "namespace": self.namespace,
                "name": self.name,
                "policy": self.policy,
                "of": self.of,
                "epoch": self.epoch,
                "at": self.at,
                "members": members,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Roster:
        """Read it; the signature is the caller's to check."""
        fields = Fields.decode(data, what="roster", max_bytes=MAX_ROSTER_BYTES)
        fields.constant("version", _VERSION)
        policy = fields.octets("policy", length=DIGEST_BYTES)
        roster = cls(
            domain=fields.text("domain", max_length=255),
            namespace=fields.text("namespace", max_length=255),
            name=fields.text("name", max_length=64),
            policy=policy,
            of=fields.text("of", max_length=64),
            epoch=fields.integer("epoch"),
            at=fields.integer("at"),
            members=tuple(
                _read_member(item, policy)
                for item in fields.array("members", max_items=MAX_MEMBERS)
            ),
        )
        fields.end()
        return roster

    def signed(self, key: SigningKey) -> SignedRoster:
        """Sign it."""
        body = self.to_bytes()
        return SignedRoster(body, key.sign(ROSTER_LABEL, body))


@dataclass(frozen=True, slots=True)
class Expected:
    """What a reader knows before he reads a roster; all of it is compared.

    Attributes:
        service: The pinned key service.
        domain: Its trust domain.
        namespace: Of the job that is meant.
        name: Of the job that is meant.
        of: The role that is wanted, or empty for all.
        epoch: The newest epoch of this job that the reader has seen; 0 for none.
        at: Now, in seconds since the epoch.
        max_age_s: How old a roster may be.
    """

    service: VerifyingKey
    domain: str
    namespace: str
    name: str
    of: str
    epoch: int
    at: int
    max_age_s: int


@dataclass(frozen=True, slots=True)
class SignedRoster:
    """A roster's bytes and the signature over them; nobody has checked it yet."""

    body: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode({"body": self.body, "signature": self.signature})

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedRoster:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="signed roster", max_bytes=MAX_ROSTER_BYTES + 256)
        signed = cls(
            fields.octets("body", max_length=MAX_ROSTER_BYTES),
            fields.octets("signature", length=SIGNATURE_BYTES),
        )
        fields.end()
        return signed

    def verify(self, expected: Expected) -> Roster:
        """Return the roster if it is the service's, of the job that is meant, and new enough.

        Raises:
            IdentityError: Another signer, or one changed bit (`identity.keyservice`).
            EvidenceError: Of another domain, job or role (`roster.foreign`); of an older epoch than
                the reader has seen, too old, or of a time to come (`roster.stale`).
            MalformedError: Signed, yet not a roster.
        """
        # MEM-35. The pinned service signed it.
        expected.service.verify(
            ROSTER_LABEL,
            self.body,
            self.signature,
            error=IdentityError(
                "the roster was not signed by the pinned key service", code="identity.keyservice"
            ),
        )
        roster = Roster.from_bytes(self.body)
        # MEM-36. It is about the job, and shows the role, that the reader means.
        found = (roster.domain, roster.namespace, roster.name, roster.of)
        if found != (expected.domain, expected.namespace, expected.name, expected.of):
            raise EvidenceError("the roster is of another job or role", code="roster.foreign")
        # MEM-37. The reader has seen no newer one.
        if roster.epoch < expected.epoch:
            raise EvidenceError(
                f"the roster is of epoch {roster.epoch}, and epoch {expected.epoch} was seen",
                code="roster.stale",
            )
        # MEM-38. It was made not long ago, and not after now.
        if not -_MAX_SKEW_S <= expected.at - roster.at <= expected.max_age_s:
            raise EvidenceError(
                f"the roster was made {expected.at - roster.at} s ago, and may be "
                f"{expected.max_age_s} s old",
                code="roster.stale",
                hint="ask for a new one, or compare the clocks",
            )
        return roster


def make_roster(
    job: Job, members: Sequence[Member], *, domain: str, of: str, epoch_at: int
) -> Roster:
    """Return the roster of a job without lapsed members, as of `epoch_at`."""
    shown = [member for member in members if of in {"", member.role}]
    shown.sort(key=lambda member: (member.role, member.instance))
    return Roster(
        domain, job.namespace, job.name, job.policy, of, job.epoch, epoch_at, tuple(shown)
    )


def identity_uri(domain: str, namespace: str, name: str, member: Member) -> str:
    """Return the SPIFFE ID that a member's certificate has."""
    return f"spiffe://{domain}/{namespace}/{name}/{member.role}/{member.instance}"


def _read_member(item: Value, policy: bytes) -> Member:
    fields = Fields(item, what="member")
    member = Member(
        role=require_name(fields.text("role", max_length=64)),
        instance=require_name(fields.text("instance", max_length=64)),
        identity=fields.text("identity"),
        policy=policy,
        evidence=fields.octets("evidence", length=DIGEST_BYTES),
        result=fields.octets("result", length=DIGEST_BYTES),
        key_digest=fields.octets("key", length=DIGEST_BYTES),
        since=fields.integer("since"),
        renewed=fields.integer("renewed"),
        expires=fields.integer("expires"),
    )
    fields.end()
    return member


def _not_a_roster() -> MalformedError:
    return MalformedError("not a roster", code="message.malformed")
