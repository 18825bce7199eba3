"""The log of decisions: entries, signed checkpoints, receipts, and their offline verification.

Each decision, granted or refused, is an entry of a Merkle tree (`merkle`). A checkpoint is a signed
note in the form of C2SP tlog-checkpoint; a receipt is an entry with its inclusion proof.
Entries hold no secret.

Spec: key-release-v1, clauses KR-60 to KR-64.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, sha256
from cloister.crypto.signature import SIGNATURE_BYTES, SigningKey, VerifyingKey
from cloister.errors import IdentityError, MalformedError
from cloister.keyservice.merkle import leaf_hash, verify_consistency, verify_inclusion
from cloister.wire import Fields, Value, encode

__all__ = [
    "MAX_ENTRY_BYTES",
    "Checkpoint",
    "LogEntry",
    "Receipt",
    "verify_extension",
    "verify_receipt",
]

MAX_ENTRY_BYTES: Final = 4096
MAX_PROOF: Final = 64
_VERSION: Final = 1
_MAX_NOTE_BYTES: Final = 4096
_NOTE_ED25519: Final = b"\x01"
_KEY_ID_BYTES: Final = 4
_SIGNATURE_MARK: Final = "\u2014 "
_NO_DIGEST: Final = bytes(DIGEST_BYTES)


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
        """Exact lengths."""
        digests = (self.policy, self.evidence, self.requester)
        if any(len(digest) != DIGEST_BYTES for digest in digests):
            raise MalformedError("a digest has 32 bytes", code="message.malformed")

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
        fields = Fields.decode(data, what="log entry", max_bytes=MAX_ENTRY_BYTES)
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
class Checkpoint:
    """The log's size and root at one moment."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        """An origin is one line without spaces at its ends or plus signs."""
        bad = not self.origin or self.origin != self.origin.strip() or "+" in self.origin
        if bad or not self.origin.isprintable() or len(self.root) != DIGEST_BYTES or self.size < 0:
            raise MalformedError("not a checkpoint", code="message.malformed")

    def to_note(self, key: SigningKey) -> str:
        """Return the signed note."""
        body = self._body()
        signature = _key_id(self.origin, key.public) + key.sign_text(body.encode())
        return f"{body}\n{_SIGNATURE_MARK}{self.origin} {base64.b64encode(signature).decode()}\n"

    @classmethod
    def from_note(cls, note: str, *, service: VerifyingKey, origin: str) -> Checkpoint:
        """Read a signed note; lines by other signers are skipped, ours must be there and hold.

        Raises:
            MalformedError: Not a signed note of a checkpoint.
            IdentityError: Not signed by the pinned service for this log.
        """
        body, separator, tail = note.partition("\n\n")
        if not separator or not tail.endswith("\n") or len(note) > _MAX_NOTE_BYTES:
            raise _not_a_note()
        checkpoint = _read_body(body + "\n")
        wrong = IdentityError(
            "the log's checkpoint was not signed by the pinned key service",
            code="identity.keyservice",
        )
        if checkpoint.origin != origin:
            raise wrong
        for line in tail[:-1].split("\n"):
            name, blob = _read_signature(line)
            if name == origin and blob[:_KEY_ID_BYTES] == _key_id(origin, service):
                text = (body + "\n").encode()
                service.verify_text(text, blob[_KEY_ID_BYTES:], error=wrong)
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
        checkpoint = fields.text("checkpoint", max_length=_MAX_NOTE_BYTES)
        fields.end()
        return cls(entry, index, tuple(proof), checkpoint)

    @classmethod
    def from_bytes(cls, data: bytes) -> Receipt:
        """Read from untrusted bytes."""
        return cls.from_fields(Fields.decode(data, what="receipt", max_bytes=4 * MAX_ENTRY_BYTES))


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


def _key_id(name: str, key: VerifyingKey) -> bytes:
    return sha256(name.encode() + b"\n" + _NOTE_ED25519 + key.raw)[:_KEY_ID_BYTES]


def _read_body(body: str) -> Checkpoint:
    lines = body.split("\n")
    if len(lines) != 4 or lines[3]:  # noqa: PLR2004  # origin, size, root, and the end
        raise _not_a_note()
    origin, size, root, _ = lines
    if not size.isascii() or not size.isdecimal() or len(size) > 19 or str(int(size)) != size:  # noqa: PLR2004
        raise _not_a_note()
    return Checkpoint(origin, int(size), _from_base64(root))


def _read_signature(line: str) -> tuple[str, bytes]:
    name, separator, blob = line.removeprefix(_SIGNATURE_MARK).partition(" ")
    if not line.startswith(_SIGNATURE_MARK) or not separator:
        raise _not_a_note()
    signature = _from_base64(blob)
    if len(signature) < _KEY_ID_BYTES + 1 or len(signature) > _KEY_ID_BYTES + 4 * SIGNATURE_BYTES:
        raise _not_a_note()
    return name, signature


def _from_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError) as e:
        raise _not_a_note() from e
    if base64.b64encode(data).decode() != text:
        raise _not_a_note()
    return data


def _not_a_note() -> MalformedError:
    return MalformedError("not a signed checkpoint of a log", code="message.malformed")
