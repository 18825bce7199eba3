"""What a witness signs and what it refuses; no I/O, no clock.

A witness holds one size and root for each log that it knows, and cosigns only what extends them. So
a log that shows two histories, or puts its history back, gets no more cosignatures from it.

Spec: release-log-v1, clauses RL-40 to RL-43; c2sp.org/tlog-witness.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, same_bytes
from cloister.crypto.signature import VerifyingKey
from cloister.errors import IdentityError, MalformedError, TamperedError
from cloister.keyservice.cosigning import Cosigner
from cloister.keyservice.log import Checkpoint
from cloister.keyservice.merkle import EMPTY_ROOT, verify_consistency
from cloister.keyservice.notes import Note, from_base64, read_decimal

__all__ = [
    "ADD_CHECKPOINT_PATH",
    "MAX_REQUEST_BYTES",
    "SIZE_MEDIA_TYPE",
    "TEXT_MEDIA_TYPE",
    "AddCheckpoint",
    "Held",
    "Verdict",
    "Witness",
]

ADD_CHECKPOINT_PATH: Final = "/add-checkpoint"
MAX_REQUEST_BYTES: Final = 16384
SIZE_MEDIA_TYPE: Final = "text/x.tlog.size"
TEXT_MEDIA_TYPE: Final = "text/plain; charset=utf-8"
_MAX_PROOF: Final = 63
_OLD: Final = "old "


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request to cosign: from which size, the proof that the log only grew, and the note."""

    old: int
    proof: tuple[bytes, ...]
    note: str

    def to_bytes(self) -> bytes:
        """Return the request's body."""
        nodes = "".join(base64.b64encode(node).decode() + "\n" for node in self.proof)
        return f"{_OLD}{self.old}\n{nodes}\n{self.note}".encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> AddCheckpoint:
        """Read an untrusted body.

        Raises:
            MalformedError: Not of this form (`message.malformed`). Spec: RL-40.
        """
        wrong = MalformedError("not a request to a witness", code="message.malformed")
        if len(data) > MAX_REQUEST_BYTES:
            raise wrong
        try:
            text = data.decode()
        except UnicodeDecodeError as e:
            raise wrong from e
        head, gap, note = text.partition("\n\n")
        first, *nodes = head.split("\n")
        if not gap or not first.startswith(_OLD) or len(nodes) > _MAX_PROOF:
            raise wrong
        proof = tuple(from_base64(node) for node in nodes)
        if any(len(node) != DIGEST_BYTES for node in proof):
            raise wrong
        return cls(read_decimal(first.removeprefix(_OLD)), proof, note)


@dataclass(frozen=True, slots=True)
class Held:
    """The largest tree of one log that a witness has seen; of a new log, the empty one."""

    size: int = 0
    root: bytes = EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class Verdict:
    """A witness's answer, and what must be durable before it leaves.

    Attributes:
        status: Of HTTP.
        body: The cosignature line, the size that is held, or nothing.
        media_type: Of the body.
        origin: Of the log that `keep` belongs to; empty where nothing is to be kept.
        held: The new size and root.
        keep: The log's own signed note of it.
    """

    status: int
    body: bytes = b""
    media_type: str = TEXT_MEDIA_TYPE
    origin: str = ""
    held: Held = Held()
    keep: str = ""


class Witness:
    """Judges requests for the logs that it knows. Holds no state: that is an argument."""

    def __init__(self, cosigner: Cosigner, logs: Mapping[str, VerifyingKey]) -> None:
        """Take the signing side, and the key of each log by its origin."""
        self._cosigner = cosigner
        self._logs: Final = dict(logs)

    def judge(self, data: bytes, held: Mapping[str, Held], *, at: int) -> Verdict:
        """Answer one request.

        The caller makes `keep` durable before the answer leaves, and judges no other request in
        between (RL-42).

        Args:
            data: Untrusted.
            held: What was made durable last, for each origin; none means nothing was seen.
            at: The time that a cosignature says, in seconds since the epoch.
        """
        try:
            request = AddCheckpoint.from_bytes(data)
            origin = Note.from_text(request.note).first_line
            service = self._logs.get(origin)
            if service is None:
                return Verdict(404)
            new = Checkpoint.from_note(request.note, service=service, origin=origin)
        except MalformedError:
            return Verdict(400)
        except IdentityError:
            return Verdict(403)
        return self._judge_growth(request, new, held.get(origin, Held()), at)

    def _judge_growth(
        self, request: AddCheckpoint, new: Checkpoint, held: Held, at: int
    ) -> Verdict:
        """Judge a checkpoint that the log signed (RL-41)."""
        if request.old > new.size:
            return Verdict(400)
        same_size = held.size == new.size
        if request.old != held.size or (same_size and not same_bytes(held.root, new.root)):
            return Verdict(409, f"{held.size}\n".encode(), SIZE_MEDIA_TYPE)
        try:
            _require_growth(request, new, held)
        except TamperedError:
            return Verdict(422)
        note = Note.from_text(request.note)
        line = self._cosigner.cosign(note, at=at).to_text().encode()
        return Verdict(
            200, line, origin=new.origin, held=Held(new.size, new.root), keep=request.note
        )


def _require_growth(request: AddCheckpoint, new: Checkpoint, held: Held) -> None:
    """Raise `log.proof` unless the request proves that `new` extends what is held."""
    if held.size:
        verify_consistency(
            old_size=held.size,
            old_root=held.root,
            size=new.size,
            root=new.root,
            proof=request.proof,
        )
    elif request.proof:
        raise TamperedError("nothing is proved from nothing", code="log.proof")
