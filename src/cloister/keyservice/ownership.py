"""Owner operations as messages: signed by the owner over a challenge, answered under a seal.

Spec: key-release-v1, clauses KR-70 to KR-79.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cloister.attestation.binding import NONCE_BYTES, SERVICE_BYTES
from cloister.crypto.digest import framed, sha256
from cloister.crypto.hpke import PUBLIC_BYTES as HPKE_PUBLIC_BYTES
from cloister.crypto.signature import PUBLIC_BYTES, SIGNATURE_BYTES, SigningKey, VerifyingKey
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.messages import MAX_REQUEST_BYTES, PROTOCOL_VERSION
from cloister.wire import Fields, Value, decode, encode

__all__ = [
    "OPERATIONS",
    "OWNER_LABEL",
    "OwnerRequest",
    "SignedOwnerRequest",
    "owner_reply_info",
    "volume_key_info",
]

OWNER_LABEL: Final = b"cloister/key-release/v1/owner"
OWNER_REPLY_LABEL: Final = b"cloister/key-release/v1/owner-reply"
VOLUME_KEY_LABEL: Final = b"cloister/key-release/v1/volume-key"
OPERATIONS: Final = (
    "policy.apply",
    "policy.read",
    "policy.pending",
    "policy.history",
    "volume.register",
    "volume.key",
    "volume.rotate",
    "volume.retire",
    "lease.take",
    "lease.break",
    "client.enroll",
    "status",
    "log.read",
    "log.own",
    "release.refusals",
    "view.issue",
    "view.list",
    "view.revoke",
    "secret.put",
    "secret.list",
    "source.put",
    "source.pin",
    "source.list",
    "source.remove",
    "namespace.apply",
    "namespace.read",
    "namespace.list",
    "job.status",
    "member.list",
    "member.expel",
    "budget.list",
)


@dataclass(frozen=True, slots=True)
class OwnerRequest:
    """One operation by the owner of the trust domain.

    Attributes:
        service: The key service that is meant.
        nonce: From its challenge.
        owner: The signer's public key.
        operation: One of `OPERATIONS`.
        arguments: By the operation's own table; read strictly by whoever carries it out.
        reply_key: HPKE key that the answer is sealed to.
    """

    service: bytes
    nonce: bytes
    owner: bytes
    operation: str
    arguments: Mapping[str, Value]
    reply_key: bytes

    def __post_init__(self) -> None:
        """Exact lengths and a known operation."""
        lengths = (len(self.service), len(self.nonce), len(self.owner), len(self.reply_key))
        if lengths != (SERVICE_BYTES, NONCE_BYTES, PUBLIC_BYTES, HPKE_PUBLIC_BYTES):
            raise MalformedError("an owner request has fixed lengths", code="message.malformed")
        if self.operation not in OPERATIONS:
            raise MalformedError("not an operation of the owner", code="message.malformed")

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that are signed."""
        return encode(
            {
                "version": PROTOCOL_VERSION,
                "service": self.service,
                "nonce": self.nonce,
                "owner": self.owner,
                "operation": self.operation,
                "arguments": encode(dict(self.arguments)),
                "reply_key": self.reply_key,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> OwnerRequest:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="owner request", max_bytes=MAX_REQUEST_BYTES)
        fields.constant("version", PROTOCOL_VERSION)
        arguments = decode(
            fields.octets("arguments", max_length=MAX_REQUEST_BYTES), max_bytes=MAX_REQUEST_BYTES
        )
        if not isinstance(arguments, Mapping):
            raise MalformedError("arguments are a map", code="message.malformed")
        request = cls(
            service=fields.octets("service", length=SERVICE_BYTES),
            nonce=fields.octets("nonce", length=NONCE_BYTES),
            owner=fields.octets("owner", length=PUBLIC_BYTES),
            operation=fields.text("operation", max_length=32),
            arguments=arguments,
            reply_key=fields.octets("reply_key", length=HPKE_PUBLIC_BYTES),
        )
        fields.end()
        return request

    def signed(self, key: SigningKey) -> SignedOwnerRequest:
        """Sign it."""
        body = self.to_bytes()
        return SignedOwnerRequest(body, key.sign(OWNER_LABEL, body))


@dataclass(frozen=True, slots=True)
class SignedOwnerRequest:
    """An owner request's bytes and the signature over them; nobody has checked it yet."""

    body: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode({"body": self.body, "signature": self.signature})

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedOwnerRequest:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="signed owner request", max_bytes=MAX_REQUEST_BYTES)
        signed = cls(
            fields.octets("body", max_length=MAX_REQUEST_BYTES),
            fields.octets("signature", length=SIGNATURE_BYTES),
        )
        fields.end()
        return signed

    def require(self, owner: VerifyingKey) -> OwnerRequest:
        """Return the request if the owner signed it.

        Raises:
            ReleaseDeniedError: Another signer, or one changed bit (code `release.not-owner`).
            MalformedError: It does not parse.
        """
        error = _not_owner()
        request = OwnerRequest.from_bytes(self.body)
        if request.owner != owner.raw:
            raise error
        owner.verify(OWNER_LABEL, self.body, self.signature, error=error)
        return request

    def require_known(self, known: Callable[[bytes], bool]) -> OwnerRequest:
        """Return the request if a known key signed it.

        What that key may do is not settled by this.

        Raises:
            ReleaseDeniedError: An unknown signer, or one changed bit (code `release.not-owner`).
            MalformedError: It does not parse.
        """
        request = OwnerRequest.from_bytes(self.body)
        if not known(request.owner):
            raise _not_owner()
        return self.require(VerifyingKey(request.owner))


def _not_owner() -> ReleaseDeniedError:
    return ReleaseDeniedError(
        "the request was not signed by a key that this service knows", code="release.not-owner"
    )


def owner_reply_info(*, service: bytes, nonce: bytes, request: bytes) -> bytes:
    """Return the HPKE `info` under which the answer to `request` is sealed."""
    return framed(OWNER_REPLY_LABEL, service, nonce, sha256(request))


def volume_key_info(*, service: bytes, volume: bytes, namespace: str, owner: bytes) -> bytes:
    """Return the HPKE `info` under which an owner seals a volume's key to the service.

    It names who registers the volume and where: nobody has the service open it for himself.
    """
    return framed(VOLUME_KEY_LABEL, service, volume, namespace.encode(), owner)
