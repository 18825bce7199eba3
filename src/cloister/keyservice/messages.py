"""Messages of the key release protocol, and their canonical bytes. Invalid ones cannot be built.

Nothing here depends on the transport: a reply is signed over the very request that it answers, and
secrets in it are sealed to a key in that request.

Spec: key-release-v1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cloister.attestation.binding import NONCE_BYTES, SERVICE_BYTES, bind
from cloister.attestation.evidence import (
    MAX_EVIDENCE_BYTES,
    Endorsement,
    Evidence,
    ReportData,
)
from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import DIGEST_BYTES, framed, sha256
from cloister.crypto.hpke import PUBLIC_BYTES as HPKE_PUBLIC_BYTES
from cloister.crypto.signature import SIGNATURE_BYTES, SigningKey, VerifyingKey
from cloister.errors import CloisterError, IdentityError, MalformedError, error_from_wire
from cloister.wire import Fields, Value, encode

__all__ = [
    "ANCHOR_PATH",
    "CHALLENGE_PATH",
    "MAX_ENDORSEMENTS",
    "MAX_ENDORSEMENT_BYTES",
    "MAX_REPLY_BYTES",
    "MAX_REQUEST_BYTES",
    "MEDIA_TYPE",
    "OWNER_PATH",
    "PROTOCOL_VERSION",
    "RELEASE_PATH",
    "VOLUME_ID_BYTES",
    "Challenge",
    "ChallengeRequest",
    "Failure",
    "ReleaseRequest",
    "Reply",
    "SignedReply",
    "bundle_info",
    "require_name",
]

PROTOCOL_VERSION: Final = 1
MEDIA_TYPE: Final = "application/vnd.cloister.keyservice+cbor"
CHALLENGE_PATH: Final = "/v1/challenge"
RELEASE_PATH: Final = "/v1/release"
ANCHOR_PATH: Final = "/v1/anchor"
OWNER_PATH: Final = "/v1/owner"
MAX_REQUEST_BYTES: Final = 1 << 20
MAX_REPLY_BYTES: Final = 1 << 22
MAX_ENDORSEMENTS: Final = 16
MAX_ENDORSEMENT_BYTES: Final = 327_680  # of all together
VOLUME_ID_BYTES: Final = 16

REPLY_LABEL: Final = b"cloister/key-release/v1/reply"
BUNDLE_LABEL: Final = b"cloister/key-release/v1/bundle"

_MAX_RELEASE_BYTES: Final = 1 << 19
_MAX_CSR_BYTES: Final = 8192
_MAX_MEDIA_TYPE: Final = 127
_MAX_LIFETIME_S: Final = 86400
_MAX_MESSAGE: Final = 2000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CODE: Final = re.compile(r"[a-z0-9.-]{1,64}")


def require_name(text: str) -> str:
    """Return a workload's, instance's or client's name: 1 to 64 of `A-Za-z0-9._-`, no dot first.

    Raises:
        MalformedError: It is none.
    """
    if _NAME.fullmatch(text) is None:
        raise MalformedError("not a name of 1 to 64 plain characters", code="message.malformed")
    return text


@dataclass(frozen=True, slots=True)
class ChallengeRequest:
    """Ask for a challenge. The nonce is the requester's and makes the signed reply fresh."""

    nonce: bytes

    def __post_init__(self) -> None:
        """Exact length."""
        _require_length(self.nonce, NONCE_BYTES)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode({"version": PROTOCOL_VERSION, "nonce": self.nonce})

    @classmethod
    def from_bytes(cls, data: bytes) -> ChallengeRequest:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="challenge request", max_bytes=256)
        fields.constant("version", PROTOCOL_VERSION)
        request = cls(fields.octets("nonce", length=NONCE_BYTES))
        fields.end()
        return request


@dataclass(frozen=True, slots=True)
class Challenge:
    """The service's nonce for one request, good once and for `lifetime_s` seconds."""

    service: bytes
    nonce: bytes
    lifetime_s: int

    def __post_init__(self) -> None:
        """Exact lengths; a lifetime between a second and a day."""
        _require_length(self.service, SERVICE_BYTES)
        _require_length(self.nonce, NONCE_BYTES)
        if not 1 <= self.lifetime_s <= _MAX_LIFETIME_S:
            raise MalformedError("a challenge lives 1 s to 1 day", code="message.malformed")

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode(
            {
                "version": PROTOCOL_VERSION,
                "service": self.service,
                "nonce": self.nonce,
                "lifetime_s": self.lifetime_s,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Challenge:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="challenge", max_bytes=512)
        fields.constant("version", PROTOCOL_VERSION)
        challenge = cls(
            service=fields.octets("service", length=SERVICE_BYTES),
            nonce=fields.octets("nonce", length=NONCE_BYTES),
            lifetime_s=fields.integer("lifetime_s", minimum=1, maximum=_MAX_LIFETIME_S),
        )
        fields.end()
        return challenge


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """Ask for what a policy grants one workload, with evidence that binds every field before it.

    Attributes:
        service: The key service that is meant, as pinned.
        nonce: From its challenge.
        policy: SHA-256 of the canonical policy.
        workload: The role in it.
        instance: The requester's name for itself.
        hpke_key: Where the reply's secrets go; made by the requester.
        certificate_request: DER; only its key is used.
        measurement: What the launcher measured.
        evidence: Untrusted; its report data must equal `report_data()`.
        endorsements: Untrusted, what vouches for the evidence; bound by nothing, since they count
            by their endorsers' signatures alone.
    """

    service: bytes
    nonce: bytes
    policy: bytes
    workload: str
    instance: str
    hpke_key: bytes
    certificate_request: bytes
    measurement: LaunchMeasurement
    evidence: Evidence
    endorsements: tuple[Endorsement, ...] = ()

    def __post_init__(self) -> None:
        """Exact lengths and plain names."""
        _require_length(self.service, SERVICE_BYTES)
        _require_length(self.nonce, NONCE_BYTES)
        _require_length(self.policy, DIGEST_BYTES)
        _require_length(self.hpke_key, HPKE_PUBLIC_BYTES)
        require_name(self.workload)
        require_name(self.instance)
        if not 1 <= len(self.certificate_request) <= _MAX_CSR_BYTES:
            raise MalformedError("certificate request too long", code="message.malformed")
        size = sum(len(each.body) for each in self.endorsements)
        if len(self.endorsements) > MAX_ENDORSEMENTS or size > MAX_ENDORSEMENT_BYTES:
            raise MalformedError("too many endorsements", code="message.malformed")
        if not all(each.media_type and each.body for each in self.endorsements):
            raise MalformedError("an empty endorsement", code="message.malformed")

    def report_data(self) -> ReportData:
        """Return what the evidence must have bound."""
        return bind(
            service=self.service,
            nonce=self.nonce,
            policy=self.policy,
            workload=self.workload,
            instance=self.instance,
            hpke_key=self.hpke_key,
            certificate_request=self.certificate_request,
            measurement=self.measurement,
        )

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        message: dict[str, Value] = {
            "version": PROTOCOL_VERSION,
            "service": self.service,
            "nonce": self.nonce,
            "policy": self.policy,
            "workload": self.workload,
            "instance": self.instance,
            "hpke_key": self.hpke_key,
            "certificate_request": self.certificate_request,
            "measurement": {"code": self.measurement.code, "runtime": self.measurement.runtime},
            "evidence": self.evidence.to_bytes(),
        }
        if self.endorsements:
            message["endorsements"] = [
                {"media_type": each.media_type, "body": each.body} for each in self.endorsements
            ]
        return encode(message)

    @classmethod
    def from_bytes(cls, data: bytes) -> ReleaseRequest:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="release request", max_bytes=_MAX_RELEASE_BYTES)
        fields.constant("version", PROTOCOL_VERSION)
        request = cls(
            service=fields.octets("service", length=SERVICE_BYTES),
            nonce=fields.octets("nonce", length=NONCE_BYTES),
            policy=fields.octets("policy", length=DIGEST_BYTES),
            workload=fields.text("workload", max_length=64),
            instance=fields.text("instance", max_length=64),
            hpke_key=fields.octets("hpke_key", length=HPKE_PUBLIC_BYTES),
            certificate_request=fields.octets("certificate_request", max_length=_MAX_CSR_BYTES),
            measurement=LaunchMeasurement.from_fields(fields.submap("measurement")),
            evidence=Evidence.from_bytes(
                fields.octets("evidence", max_length=MAX_EVIDENCE_BYTES + 512)
            ),
            endorsements=_read_endorsements(fields) if fields.has("endorsements") else (),
        )
        fields.end()
        return request


def _read_endorsements(fields: Fields) -> tuple[Endorsement, ...]:
    """Read a list that is there, and so is not empty: one message has one spelling."""
    found: list[Endorsement] = []
    for item in fields.array("endorsements", max_items=MAX_ENDORSEMENTS):
        inner = Fields(item, what="endorsement")
        media_type = inner.text("media_type", max_length=_MAX_MEDIA_TYPE)
        body = inner.octets("body", max_length=MAX_ENDORSEMENT_BYTES)
        found.append(Endorsement(media_type, body))
        inner.end()
    if not found:
        raise MalformedError("an empty list of endorsements", code="message.malformed")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: the service's time, and the result's bytes, whose kind the path decides."""

    at: int
    result: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode({"version": PROTOCOL_VERSION, "at": self.at, "result": self.result})


@dataclass(frozen=True, slots=True)
class Failure:
    """A refusal or fault: a registered code and the one sentence that the peer may see."""

    at: int
    code: str
    message: str

    def __post_init__(self) -> None:
        """Plain code, bounded message."""
        if _CODE.fullmatch(self.code) is None or len(self.message) > _MAX_MESSAGE:
            raise MalformedError("not a failure of ours", code="message.malformed")

    @classmethod
    def of(cls, error: CloisterError, *, at: int) -> Failure:
        """Report `error` by its code and public sentence; never by its detail."""
        return cls(at=at, code=error.code, message=error.public[:_MAX_MESSAGE])

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode(
            {
                "version": PROTOCOL_VERSION,
                "at": self.at,
                "code": self.code,
                "message": self.message,
            }
        )

    def error(self) -> CloisterError:
        """Rebuild the error; its text is cleaned, its class is ours to choose."""
        return error_from_wire(self.code, self.message)


@dataclass(frozen=True, slots=True)
class SignedReply:
    """The bytes of a `Reply` or `Failure`, signed over path and request."""

    body: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode({"body": self.body, "signature": self.signature})

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedReply:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="signed reply", max_bytes=MAX_REPLY_BYTES)
        signed = cls(
            body=fields.octets("body", max_length=MAX_REPLY_BYTES),
            signature=fields.octets("signature", length=SIGNATURE_BYTES),
        )
        fields.end()
        return signed

    @classmethod
    def make(
        cls, answer: Reply | Failure, *, path: str, request: bytes, key: SigningKey
    ) -> SignedReply:
        """Sign an answer to exactly this request at this path."""
        body = answer.to_bytes()
        return cls(body, key.sign(REPLY_LABEL, _signed_message(path, request, body)))

    def open(self, *, path: str, request: bytes, service: VerifyingKey) -> Reply | Failure:
        """Return the answer if the pinned service gave it to exactly this request.

        Raises:
            IdentityError: Another key, another request, or one changed bit
                (code `identity.keyservice`).
            MalformedError: Signed, yet not an answer.
        """
        service.verify(
            REPLY_LABEL,
            _signed_message(path, request, self.body),
            self.signature,
            error=IdentityError(
                "the reply was not signed by the pinned key service", code="identity.keyservice"
            ),
        )
        return _read_answer(self.body)


def bundle_info(*, service: bytes, nonce: bytes, request: bytes) -> bytes:
    """Return the HPKE `info` under which a release's bundle is sealed."""
    return framed(BUNDLE_LABEL, service, nonce, sha256(request))


def _signed_message(path: str, request: bytes, body: bytes) -> bytes:
    return framed(path.encode(), sha256(request), body)


def _read_answer(body: bytes) -> Reply | Failure:
    fields = Fields.decode(body, what="reply", max_bytes=MAX_REPLY_BYTES)
    fields.constant("version", PROTOCOL_VERSION)
    at = fields.integer("at")
    answer: Reply | Failure
    if fields.has("result"):
        answer = Reply(at, fields.octets("result", max_length=MAX_REPLY_BYTES))
    else:
        code = fields.text("code", max_length=64)
        answer = Failure(at, code, fields.text("message", max_length=_MAX_MESSAGE))
    fields.end()
    return answer


def _require_length(value: bytes, length: int) -> None:
    if len(value) != length:
        raise MalformedError(
            f"{len(value)} bytes where {length} are meant", code="message.malformed"
        )
