"""The log of decisions: leaves, signed checkpoints, receipts, and their offline verification.

Each decision, granted or refused, is a leaf of a Merkle tree (`merkle`); so is a commitment to each
change of the service's state. A checkpoint is a signed note in the form of C2SP tlog-checkpoint; a
receipt is an entry with its inclusion proof. Leaves hold no secret.

Spec: release-log-v1.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import IdentityError, MalformedError
from cloister.keyservice.merkle import leaf_hash, verify_consistency, verify_inclusion
from cloister.keyservice.notes import (
    MAX_NOTE_BYTES,
    MAX_NUMBER,
    Note,
    NoteLine,
    from_base64,
    is_key_name,
    key_id,
    read_decimal,
)
from cloister.wire import Fields, Value, decode, encode

__all__ = [
    "MAX_ENTRY_BYTES",
    "MAX_PROOF",
    "MAX_RECEIPT_BYTES",
    "Checkpoint",
    "LogEntry",
    "Receipt",
    "StateCommitment",
    "read_leaf",
    "verify_extension",
    "verify_receipt",
]

MAX_ENTRY_BYTES: Final = 4096
MAX_PROOF: Final = 64
MAX_RECEIPT_BYTES: Final = 4 * MAX_ENTRY_BYTES
_VERSION: Final = 1
_NOTE_ED25519: Final = b"\x01"
_STATE: Final = "state"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One decision.

    Attributes:
        at: When, in seconds since the epoch, by the service's clock.
        operation: `release`, or the name of an owner's operation.
        code: Empty if granted, else the code of the refusal.
        policy: Hash of the policy named; zeros where none is.
        subject: Workload, volume or client.
        instance: The requester's name for itself; empty for the owner.
        evidence: SHA-256 of the evidence envelope; zeros for the owner, who signs instead.
        requester: SHA-256 of the HPKE key that the answer went to.
    """

    at: int
    operation: str
    code: str
    policy: bytes
    subject: str
    instance: str
    evidence: bytes
    requester: bytes

    def __post_init__(self) -> None:
        """Exact lengths; the operation is none that another kind of leaf has."""
        digests = (self.policy, self.evidence, self.requester)
        if any(len(digest) != DIGEST_BYTES for digest in digests):
            raise MalformedError("a digest has 32 bytes", code="message.malformed")
        if self.operation == _STATE:
            raise MalformedError("a decision is no change of state", code="message.malformed")

    @property
    def granted(self) -> bool:
        """Whether the decision was yes."""
        return not self.code

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: the leaf's content."""
        return encode(
            {
                "version": _VERSION,
                "at": self.at,
                "operation": self.operation,
                "code": self.code,
                "policy": self.policy,
                "subject": self.subject,
                "instance": self.instance,
                "evidence": self.evidence,
                "requester": self.requester,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> LogEntry:
        """Read from untrusted bytes."""
        return cls._from_value(decode(data, max_bytes=MAX_ENTRY_BYTES))

    @classmethod
    def _from_value(cls, value: Value) -> LogEntry:
        fields = Fields(value, what="log entry")
        fields.constant("version", _VERSION)
        entry = cls(
            at=fields.integer("at"),
            operation=fields.text("operation", max_length=64),
            code=fields.text("code", max_length=64),
            policy=fields.octets("policy", length=DIGEST_BYTES),
            subject=fields.text("subject", max_length=256),
            instance=fields.text("instance", max_length=64),
            evidence=fields.octets("evidence", length=DIGEST_BYTES),
            requester=fields.octets("requester", length=DIGEST_BYTES),
        )
        fields.end()
        return entry


@dataclass(frozen=True, slots=True)
class StateCommitment:
    """One change of the service's state, committed to without showing anything of it.

    Whoever holds the log can tell a service whose state was put back: it would have to sign another
    commitment under a number that the log has already.

    Attributes:
        sequence: The change's number; larger than that of any commitment before it in the log.
        digest: SHA-256 of the sealed record of the change.
    """

    sequence: int
    digest: bytes

    def __post_init__(self) -> None:
        """Exact length and range."""
        if len(self.digest) != DIGEST_BYTES or not 0 <= self.sequence <= MAX_NUMBER:
            raise MalformedError("not a state commitment", code="message.malformed")

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: the leaf's content."""
        return encode(
            {
                "version": _VERSION,
                "operation": _STATE,
                "sequence": self.sequence,
                "digest": self.digest,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> StateCommitment:
        """Read from untrusted bytes."""
        return cls._from_value(decode(data, max_bytes=MAX_ENTRY_BYTES))

    @classmethod
    def _from_value(cls, value: Value) -> StateCommitment:
        fields = Fields(value, what="state commitment")
        fields.constant("version", _VERSION)
        fields.constant("operation", _STATE)
        found = cls(fields.integer("sequence"), fields.octets("digest", length=DIGEST_BYTES))
        fields.end()
        return found


def read_leaf(data: bytes) -> LogEntry | StateCommitment:
    """Read a leaf of either kind from untrusted bytes; its `operation` says which it is.

    Raises:
        MalformedError: Neither. Spec: RL-1.
    """
    value = decode(data, max_bytes=MAX_ENTRY_BYTES)
    if isinstance(value, Mapping) and value.get("operation") == _STATE:
        return StateCommitment._from_value(value)  # noqa: SLF001  # of this module
    return LogEntry._from_value(value)  # noqa: SLF001  # likewise


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log's size and root at one moment."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        """An origin is one line without spaces or plus signs."""
        if not is_key_name(self.origin) or len(self.root) != DIGEST_BYTES:
            raise MalformedError("not a checkpoint", code="message.malformed")
        if not 0 <= self.size <= MAX_NUMBER:
            raise MalformedError("not a checkpoint", code="message.malformed")

    def to_note(self, key: SigningKey) -> str:
        """Return the signed note."""
        body = self._body()
        signature = key.sign_text(body.encode())
        line = NoteLine(self.origin, key_id(self.origin, _NOTE_ED25519, key.public), signature)
        return Note(body, (line,)).to_text()

    @classmethod
    def from_note(cls, note: str, *, service: VerifyingKey, origin: str) -> Checkpoint:
        """Read a signed note; lines by other signers are skipped, ours must be there and hold.

        Raises:
            MalformedError: Not a signed note of a checkpoint.
            IdentityError: Not signed by the pinned service for this log.
        """
        parsed = Note.from_text(note)
        checkpoint = _read_body(parsed.body)
        wrong = IdentityError(
            "the log's checkpoint was not signed by the pinned key service",
            code="identity.keyservice",
        )
        if checkpoint.origin != origin:
            raise wrong
        ours = key_id(origin, _NOTE_ED25519, service)
        for line in parsed.lines:
            if (line.name, line.key_id) == (origin, ours):
                service.verify_text(parsed.body.encode(), line.signature, error=wrong)
                return checkpoint
        raise wrong

    def _body(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class Receipt:
    """An entry, where it is in the log, and the checkpoint and path that prove it."""

    entry: bytes
    index: int
    proof: tuple[bytes, ...]
    checkpoint: str

    def to_value(self) -> dict[str, Value]:
        """Return it as part of a larger message."""
        return {
            "entry": self.entry,
            "index": self.index,
            "proof": list(self.proof),
            "checkpoint": self.checkpoint,
        }

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, for keeping."""
        return encode(self.to_value())

    @classmethod
    def from_fields(cls, fields: Fields) -> Receipt:
        """Read it from a larger message."""
        entry = fields.octets("entry", max_length=MAX_ENTRY_BYTES)
        index = fields.integer("index")
        proof: list[bytes] = []
        for node in fields.array("proof", max_items=MAX_PROOF):
            if not isinstance(node, bytes) or len(node) != DIGEST_BYTES:
                raise MalformedError("a proof holds digests only", code="message.malformed")
            proof.append(node)
        checkpoint = fields.text("checkpoint", max_length=MAX_NOTE_BYTES)
        fields.end()
        return cls(entry, index, tuple(proof), checkpoint)

    @classmethod
    def from_bytes(cls, data: bytes) -> Receipt:
        """Read from untrusted bytes."""
        return cls.from_fields(Fields.decode(data, what="receipt", max_bytes=MAX_RECEIPT_BYTES))


def verify_receipt(receipt: Receipt, *, service: VerifyingKey, origin: str) -> LogEntry:
    """Return the entry that the log of the pinned service provably holds. Offline.

    Raises:
        MalformedError: The receipt does not parse.
        IdentityError: The checkpoint is not the pinned service's.
        TamperedError: The entry is not in the tree that the checkpoint names (`log.proof`).
    """
    checkpoint = Checkpoint.from_note(receipt.checkpoint, service=service, origin=origin)
    verify_inclusion(
        leaf=leaf_hash(receipt.entry),
        index=receipt.index,
        size=checkpoint.size,
        proof=receipt.proof,
        root=checkpoint.root,
    )
    return LogEntry.from_bytes(receipt.entry)


def verify_extension(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
    """Raise `log.proof` unless `new` only appends to `old`."""
    verify_consistency(
        old_size=old.size, old_root=old.root, size=new.size, root=new.root, proof=proof
    )


def _read_body(body: str) -> Checkpoint:
    lines = body.split("\n")
    if len(lines) != 4 or lines[3]:  # noqa: PLR2004  # origin, size, root, and the end
        raise _not_a_note()
    origin, size, root, _ = lines
    return Checkpoint(origin, read_decimal(size), from_base64(root))


def _not_a_note() -> MalformedError:
    return MalformedError("not a signed checkpoint of a log", code="message.malformed")
