"""What is handed in for approval, as its authors and approvers see it.

Spec: policy-approval-v1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, digest_from_text
from cloister.crypto.signature import PUBLIC_BYTES
from cloister.errors import MalformedError
from cloister.keyservice.approvals import NO_PREDECESSOR, Subject
from cloister.keyservice.policy.canonical import policy_from_canonical, policy_hash
from cloister.keyservice.policy.charter import (
    MAX_CHARTER_BYTES,
    charter_from_canonical,
    charter_hash,
)
from cloister.wire import Fields

__all__ = ["VALIDITY_S", "NamespaceFacts", "Submission", "charter_subject", "policy_subject"]

VALIDITY_S: Final = 7 * 86400
_MAX_KEYS: Final = 64
_MAX_PEM: Final = 16384


def policy_subject(canonical: bytes, *, service: bytes) -> Subject:
    """Return what somebody who approves a policy at a service signs.

    Raises:
        MalformedError: The bytes are no policy.
    """
    policy = policy_from_canonical(canonical)
    predecessor = _predecessor(policy.predecessor)
    return Subject(service, "policy", policy.namespace, policy_hash(policy), predecessor)


def charter_subject(canonical: bytes, *, service: bytes) -> Subject:
    """Return what somebody who approves a charter at a service signs.

    Raises:
        MalformedError: The bytes are no charter.
    """
    charter = charter_from_canonical(canonical)
    predecessor = _predecessor(charter.predecessor)
    return Subject(service, "charter", charter.namespace, charter_hash(charter), predecessor)


def _predecessor(text: str) -> bytes:
    return NO_PREDECESSOR if text == "none" else digest_from_text(text)


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a policy or charter that was handed in.

    Attributes:
        hash: Its hash.
        in_force: Whether it is in force now.
        approved: Who has approved, where it is not.
        missing: Who still may.
        lacking: How many of them must.
        deadline: The last second in which they can.
    """

    hash: bytes
    in_force: bool
    approved: tuple[bytes, ...] = ()
    missing: tuple[bytes, ...] = ()
    lacking: int = 0
    deadline: int = 0

    @classmethod
    def from_fields(cls, fields: Fields) -> Submission:
        """Read a service's answer."""
        state = fields.text("state", max_length=32)
        digest = fields.octets("hash", length=DIGEST_BYTES)
        if state == "in-force":
            fields.end()
            return cls(digest, in_force=True)
        submission = cls(
            digest,
            in_force=False,
            approved=_keys(fields, "approved"),
            missing=_keys(fields, "missing"),
            lacking=fields.integer("lacking", minimum=1, maximum=_MAX_KEYS),
            deadline=fields.integer("deadline"),
        )
        fields.end()
        return submission


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """Who governs a namespace.

    Attributes:
        namespace: The one whose charter it is; `/` for the root.
        canonical: The charter's canonical bytes; empty where the founder's key governs.
        approvers: Public keys.
        threshold: How many must approve.
        ca: PEM of the certificate authority.
    """

    namespace: str
    canonical: bytes
    approvers: tuple[bytes, ...]
    threshold: int
    ca: bytes

    @classmethod
    def from_fields(cls, fields: Fields) -> NamespaceFacts:
        """Read a service's answer."""
        facts = cls(
            namespace=fields.text("namespace", max_length=255),
            canonical=fields.octets("canonical", max_length=MAX_CHARTER_BYTES),
            approvers=_keys(fields, "approvers"),
            threshold=fields.integer("threshold", minimum=1, maximum=_MAX_KEYS),
            ca=fields.octets("ca", max_length=_MAX_PEM),
        )
        fields.end()
        return facts


def _keys(fields: Fields, name: str) -> tuple[bytes, ...]:
    found = fields.array(name, max_items=_MAX_KEYS)
    keys = tuple(item for item in found if isinstance(item, bytes) and len(item) == PUBLIC_BYTES)
    if len(keys) != len(found):
        raise MalformedError("not a list of public keys", code="message.malformed")
    return keys
