"""Approvals: signatures over one change of one policy or charter, made offline and carried as text.

An approval says yes to exact bytes (by their hash) that replace exact bytes (by theirs), at one key
service, until an instant. It is no secret: whoever holds it may submit it, and no more.

Spec: policy-approval-v1, clauses PA-20 to PA-26.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cloister.attestation.binding import SERVICE_BYTES
from cloister.crypto.digest import DIGEST_BYTES
from cloister.crypto.signature import PUBLIC_BYTES, SIGNATURE_BYTES, SigningKey, VerifyingKey
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.namespaces import require_namespace
from cloister.wire import Fields, Value, encode

__all__ = [
    "APPROVAL_LABEL",
    "KINDS",
    "MAX_APPROVAL_BYTES",
    "NO_PREDECESSOR",
    "Approval",
    "Subject",
    "require_approval",
    "require_distinct",
]

APPROVAL_LABEL: Final = b"cloister/policy-approval/v1"
KINDS: Final = ("policy", "charter", "reset", "recovery", "platform", "rekey")
NO_PREDECESSOR: Final = bytes(DIGEST_BYTES)
MAX_APPROVAL_BYTES: Final = 1024
_VERSION: Final = 1
_LAST_INSTANT: Final = 2**40
_FIRST_LINE: Final = "-----BEGIN CLOISTER APPROVAL-----"
_LAST_LINE: Final = "-----END CLOISTER APPROVAL-----"
_WIDTH: Final = 64


@dataclass(frozen=True, slots=True)
class Subject:
    """What is approved.

    Attributes:
        service: Public key of the key service at which it counts.
        kind: One of `KINDS`.
        namespace: Where it takes effect.
        hash: Of the policy or charter, by its own label.
        predecessor: Hash of what it replaces; `NO_PREDECESSOR` for the first.
    """

    service: bytes
    kind: str
    namespace: str
    hash: bytes
    predecessor: bytes

    def __post_init__(self) -> None:
        """Exact lengths and a known kind."""
        lengths = (len(self.service), len(self.hash), len(self.predecessor))
        if lengths != (SERVICE_BYTES, DIGEST_BYTES, DIGEST_BYTES) or self.kind not in KINDS:
            raise MalformedError("not a subject of an approval", code="approval.malformed")
        require_namespace(self.namespace)


@dataclass(frozen=True, slots=True)
class Approval:
    """One approver's yes. Nobody has checked it before `require_approval`.

    Attributes:
        subject: What it says yes to.
        approver: The signer's public key.
        expires_at: The last second in which it counts.
        signature: Over all of that.
    """

    subject: Subject
    approver: bytes
    expires_at: int
    signature: bytes

    def __post_init__(self) -> None:
        """Exact lengths."""
        lengths = (len(self.approver), len(self.signature))
        if lengths != (PUBLIC_BYTES, SIGNATURE_BYTES) or not 0 < self.expires_at <= _LAST_INSTANT:
            raise MalformedError("not an approval", code="approval.malformed")

    @classmethod
    def make(cls, subject: Subject, *, key: SigningKey, expires_at: int) -> Approval:
        """Sign a yes to `subject` that counts until `expires_at`."""
        approver = key.public.raw
        signature = key.sign(APPROVAL_LABEL, _body(subject, approver, expires_at))
        return cls(subject, approver, expires_at, signature)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        body = _body(self.subject, self.approver, self.expires_at)
        return encode({"body": body, "signature": self.signature})

    @classmethod
    def from_bytes(cls, data: bytes) -> Approval:
        """Read from untrusted bytes.

        Raises:
            MalformedError: They are no approval (`approval.malformed`).
        """
        try:
            return cls._read(data)
        except MalformedError as e:
            raise MalformedError("the bytes are no approval", code="approval.malformed") from e

    @classmethod
    def _read(cls, data: bytes) -> Approval:
        outer = Fields.decode(data, what="approval", max_bytes=MAX_APPROVAL_BYTES)
        body = outer.octets("body", max_length=MAX_APPROVAL_BYTES)
        signature = outer.octets("signature", length=SIGNATURE_BYTES)
        outer.end()
        fields = Fields.decode(body, what="approval", max_bytes=MAX_APPROVAL_BYTES)
        fields.constant("version", _VERSION)
        subject = Subject(
            service=fields.octets("service", length=SERVICE_BYTES),
            kind=fields.text("kind", max_length=16),
            namespace=fields.text("namespace", max_length=255),
            hash=fields.octets("subject", length=DIGEST_BYTES),
            predecessor=fields.octets("predecessor", length=DIGEST_BYTES),
        )
        approver = fields.octets("approver", length=PUBLIC_BYTES)
        expires_at = fields.integer("expires_at", minimum=1, maximum=_LAST_INSTANT)
        fields.end()
        return cls(subject, approver, expires_at, signature)

    def to_text(self) -> str:
        """Return the file that a person carries."""
        coded = base64.b64encode(self.to_bytes()).decode()
        lines = [coded[place : place + _WIDTH] for place in range(0, len(coded), _WIDTH)]
        return "\n".join((_FIRST_LINE, *lines, _LAST_LINE, ""))

    @classmethod
    def from_text(cls, text: bytes) -> Approval:
        """Read such a file; the ends of its lines may have become those of another system.

        Raises:
            MalformedError: It is none (`approval.malformed`).
        """
        wrong = MalformedError("the file is no approval", code="approval.malformed")
        if len(text) > 2 * MAX_APPROVAL_BYTES:
            raise wrong
        try:
            lines = text.decode("ascii").splitlines()
            data = base64.b64decode("".join(lines[1:-1]), validate=True)
        except (ValueError, binascii.Error) as e:
            raise wrong from e
        approval = cls.from_bytes(data)
        if approval.to_text().splitlines() != lines:
            raise wrong
        return approval


def require_approval(
    approval: Approval, subject: Subject, *, approvers: Iterable[bytes], at: int
) -> None:
    """Raise unless this approval counts for this subject now.

    Args:
        approval: Untrusted.
        subject: What is about to be decided.
        approvers: Public keys that are asked.
        at: Now.

    Raises:
        ReleaseDeniedError: For another service, subject or predecessor, or the signature does not
            hold (`approval.invalid`); not by one of `approvers` (`approval.not-approver`); over
            (`approval.expired`).
    """
    error = ReleaseDeniedError(
        "an approval does not hold for this change at this key service", code="approval.invalid"
    )
    if approval.subject != subject:
        raise error
    body = _body(subject, approval.approver, approval.expires_at)
    key = VerifyingKey(approval.approver)
    key.verify(APPROVAL_LABEL, body, approval.signature, error=error)
    if approval.approver not in approvers:
        raise ReleaseDeniedError(
            f"{key.text} approved, and is none of those who are asked", code="approval.not-approver"
        )
    if at > approval.expires_at:
        raise ReleaseDeniedError(
            f"the approval by {key.text} is over",
            code="approval.expired",
            hint="let the approver sign again: cloister policy approve",
        )


def require_distinct(approvals: Iterable[Approval]) -> None:
    """Raise if one approver stands twice in what was handed in together.

    Raises:
        ReleaseDeniedError: Code `approval.repeated`.
    """
    seen: set[bytes] = set()
    for approval in approvals:
        if approval.approver in seen:
            raise ReleaseDeniedError(
                f"{VerifyingKey(approval.approver).text} approved twice, which counts once",
                code="approval.repeated",
            )
        seen.add(approval.approver)


def _body(subject: Subject, approver: bytes, expires_at: int) -> bytes:
    value: dict[str, Value] = {
        "version": _VERSION,
        "service": subject.service,
        "kind": subject.kind,
        "namespace": subject.namespace,
        "subject": subject.hash,
        "predecessor": subject.predecessor,
        "approver": approver,
        "expires_at": expires_at,
    }
    return encode(value)
