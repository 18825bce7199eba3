"""The messages of a query: greeting, request and answer, each of one size in a room.

Numbers lie at fixed places, little-endian. What a message does not use is zero, and a reader looks
at all of it. Whether something was answered or refused, and why, changes no byte's place and no
size: it is a number inside of TLS.

A request is signed over this room, this enclave, this connection's nonce and its own number, so
that it is good once, here.

Spec: cleanroom-query-v1, clauses CQ-1 to CQ-12.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from cloister.cleanroom.agreement import Room
from cloister.crypto.digest import sha256
from cloister.crypto.signature import SIGNATURE_BYTES, SigningKey
from cloister.errors import CODES, ConfigError, LocalProtocolError, MalformedError

__all__ = [
    "ALPN",
    "CODE_OF",
    "GREETING_BYTES",
    "NONCE_BYTES",
    "SIGNATURE_LABEL",
    "Answer",
    "Ask",
    "Greeting",
    "Outcome",
    "QueryRules",
    "Request",
    "Session",
    "Standing",
]

ALPN: Final = "cloister-query/1"
SIGNATURE_LABEL: Final = b"cloister/cleanroom-query/v1"
GREETING_BYTES: Final = 128
NONCE_BYTES: Final = 32
MAX_RECORD_BYTES: Final = 16 << 20
MAX_SCORE: Final = 1000
NO_COUNT: Final = 2**64 - 1

_ROOM_BYTES: Final = 32
_NAME_BYTES: Final = 64
_GREETING: Final = struct.Struct(f"<4s{_ROOM_BYTES}s{NONCE_BYTES}s")
# magic, kind, three zeros, number, principal, signature
_REQUEST: Final = struct.Struct(f"<4sB3xI{_NAME_BYTES}s{SIGNATURE_BYTES}s4x")
# magic, outcome, labels, two zeros, number, left, answered, noticed, signal
_ANSWER: Final = struct.Struct("<4sBB2xIQIII")
_ANSWER_HEAD: Final = 64
_LABEL: Final = struct.Struct("<Ii")
_SIGNED: Final = struct.Struct("<IB")
_GREETS, _ASKS, _ANSWERS = b"CQG1", b"CQR1", b"CQA1"
_PRINCIPAL: Final = re.compile(rb"[a-z][a-z0-9-]{0,62}")
_FLOAT: Final = np.dtype("<f4")
_PARTS: Final = 1_000_000  # a signal is written in millionths

Record = npt.NDArray[np.float32]


class Ask(IntEnum):
    """What a request asks for."""

    LABELS = 1
    STANDING = 2


class Outcome(IntEnum):
    """What became of a request."""

    ANSWERED = 0
    PRINCIPAL = 1
    MALFORMED = 2
    SPENT = 3
    COPYING = 4
    BUSY = 5
    LATE = 6
    UNCOUNTED = 7
    FAILED = 8


CODE_OF: Final = {
    Outcome.PRINCIPAL: "query.principal",
    Outcome.MALFORMED: "message.malformed",
    Outcome.SPENT: "budget.spent",
    Outcome.COPYING: "query.copying",
    Outcome.BUSY: "query.busy",
    Outcome.LATE: "query.late",
    Outcome.UNCOUNTED: "query.uncounted",
    Outcome.FAILED: "query.failed",
}
assert CODE_OF.keys() == set(Outcome) - {Outcome.ANSWERED}  # noqa: S101  # seen at import
assert set(CODE_OF.values()) <= CODES.keys()  # noqa: S101  # the same


@dataclass(frozen=True, slots=True)
class QueryRules:
    """What a room's terms say of queries, as sizes.

    Attributes:
        room: Digest of the terms.
        shape: Of a record.
        classes: How many labels there are.
        kind: Whether answers have scores.
        top_k: How many labels an answer has.
        digits: Decimal places of a score.
        tick_s: Answers leave at these times only.
        limit: Queries of each principal.
    """

    room: bytes
    shape: tuple[int, ...]
    classes: int
    kind: Literal["label", "rounded"]
    top_k: int
    digits: int
    tick_s: float
    limit: int

    def __post_init__(self) -> None:
        """Refuse records that no request can hold.

        Raises:
            ConfigError: `config.value`.
        """
        if self.record_bytes > MAX_RECORD_BYTES:
            raise ConfigError("a record is too large to be asked about", code="config.value")

    @classmethod
    def of(cls, room: Room) -> Self:
        """Return what signed terms say.

        Raises:
            ConfigError: `config.value`: a record is too large to be asked about.
        """
        data, queries = room.terms.data, room.terms.queries
        return cls(
            room=room.digest,
            shape=data.shape,
            classes=data.classes,
            kind=queries.answer,
            top_k=queries.top_k,
            digits=queries.digits,
            tick_s=queries.tick_ms / 1000,
            limit=queries.limit,
        )

    @property
    def record_bytes(self) -> int:
        """How many bytes a record has."""
        return _FLOAT.itemsize * math.prod(self.shape)

    @property
    def request_bytes(self) -> int:
        """The size of every request."""
        return _REQUEST.size + self.record_bytes

    @property
    def answer_bytes(self) -> int:
        """The size of every answer."""
        return _ANSWER_HEAD + _LABEL.size * self.top_k


@dataclass(frozen=True, slots=True)
class Greeting:
    """What an enclave says first on every connection.

    Attributes:
        room: Digest of the terms that it keeps.
        nonce: Fresh for this connection.
    """

    room: bytes
    nonce: bytes

    def to_bytes(self) -> bytes:
        """Return the 128 bytes."""
        return _GREETING.pack(_GREETS, self.room, self.nonce).ljust(GREETING_BYTES, b"\0")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what a server sent.

        Raises:
            MalformedError: `message.malformed`.
        """
        if len(data) != GREETING_BYTES:
            raise _wrong("a greeting of another size")
        magic, room, nonce = _GREETING.unpack_from(data)
        if magic != _GREETS or any(data[_GREETING.size :]):
            raise _wrong("no greeting")
        return cls(room, nonce)


@dataclass(frozen=True, slots=True)
class Session:
    """Where a request is good: one enclave, one connection, one number on it.

    Attributes:
        room: Digest of the terms.
        server: The SPIFFE ID that the enclave proved.
        nonce: Of its greeting.
        number: Requests on this connection before this one.
    """

    room: bytes
    server: str
    nonce: bytes
    number: int


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came, its signature not checked.

    Attributes:
        ask: What for.
        number: Which one of the connection it says it is.
        principal: Who asks, or whose standing is asked for.
        signature: Ed25519 over `signed`.
        record: The record's bytes; zeros where no labels are asked for.
    """

    ask: Ask
    number: int
    principal: str
    signature: bytes
    record: bytes

    @classmethod
    def make(
        cls, ask: Ask, session: Session, *, principal: str, record: bytes, key: SigningKey
    ) -> Self:
        """Return a request for one session, signed.

        Raises:
            MalformedError: `message.malformed`: nobody can have that name.
        """
        signed = _signed(ask, session, _name_bytes(principal), record)
        signature = key.sign(SIGNATURE_LABEL, signed)
        return cls(ask, session.number, principal, signature, record)

    def signed(self, session: Session) -> bytes:
        """Return what the signature has to cover in a session."""
        return _signed(self.ask, session, _name_bytes(self.principal), self.record)

    def to_bytes(self) -> bytes:
        """Return the bytes."""
        name = _name_bytes(self.principal)
        return _REQUEST.pack(_ASKS, self.ask, self.number, name, self.signature) + self.record

    @classmethod
    def from_bytes(cls, data: bytes, rules: QueryRules) -> Self:
        """Read an untrusted request.

        Raises:
            MalformedError: `message.malformed`: not of this form.
        """
        if len(data) != rules.request_bytes:
            raise _wrong("a request of another size")
        magic, kind, number, name, signature = _REQUEST.unpack_from(data)
        name = name.rstrip(b"\0")
        record = data[_REQUEST.size :]
        if magic != _ASKS or any(data[5:8]) or any(data[_REQUEST.size - 4 : _REQUEST.size]):
            raise _wrong("no request")
        if kind not in set(Ask) or not _PRINCIPAL.fullmatch(name):
            raise _wrong("a request for nothing that is known, or of nobody")
        if kind == Ask.STANDING and any(record):
            raise _wrong("a request that has a record for nothing")
        return cls(Ask(kind), number, name.decode("ascii"), signature, record)

    def floats(self, rules: QueryRules) -> Record:
        """Return the record as numbers.

        Raises:
            MalformedError: `message.malformed`: one is not finite.
        """
        record: npt.NDArray[Any] = np.frombuffer(self.record, _FLOAT).reshape(rules.shape)
        if not np.isfinite(record).all():
            raise _wrong("a record holds what is not a number")
        return record.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Standing:
    """What an owner is told of a principal's queries since the enclave began.

    Attributes:
        answered: How many were.
        noticed: How many looked like copying the model.
        signal: How natural the last of them look, from 0 to 1 in millionths; 1 until there are
            enough to say.
    """

    answered: int = 0
    noticed: int = 0
    signal: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or a refusal; both look the same from outside.

    Attributes:
        outcome: Which.
        number: Of the request.
        labels: The most likely first.
        scores: As many, in units of the last digit; zeros where the terms give none.
        left: What is left of the principal's queries; None where nobody asked the key service.
        standing: For owners who asked for it.
    """

    outcome: Outcome
    number: int
    labels: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    left: int | None = None
    standing: Standing = Standing()

    def to_bytes(self, rules: QueryRules) -> bytes:
        """Return the bytes, as many for every answer.

        Raises:
            LocalProtocolError: `protocol.local`: it is not what the terms say: our bug.
        """
        standing = self.standing
        left = NO_COUNT if self.left is None else self.left
        if len(self.labels) not in {0, rules.top_k} or len(self.labels) != len(self.scores):
            raise LocalProtocolError("an answer of another size", code="protocol.local")
        try:
            head = _ANSWER.pack(
                _ANSWERS, self.outcome, len(self.labels), self.number, left,
                standing.answered, standing.noticed, standing.signal,
            )  # fmt: skip
            pairs = zip(self.labels, self.scores, strict=True)
            body = b"".join(_LABEL.pack(label, score) for label, score in pairs)
        except struct.error as e:
            raise LocalProtocolError("a number that has no place", code="protocol.local") from e
        return (head.ljust(_ANSWER_HEAD, b"\0") + body).ljust(rules.answer_bytes, b"\0")

    @classmethod
    def from_bytes(cls, data: bytes, rules: QueryRules) -> Self:
        """Read what a server sent.

        Raises:
            MalformedError: `message.malformed`: not of this form, or not what the terms say.
        """
        if len(data) != rules.answer_bytes:
            raise _wrong("an answer of another size")
        magic, kind, count, number, left, *counts = _ANSWER.unpack_from(data)
        end = _ANSWER_HEAD + _LABEL.size * count
        if magic != _ANSWERS or any(data[6:8]) or any(data[_ANSWER.size : _ANSWER_HEAD]):
            raise _wrong("no answer")
        if kind not in set(Outcome) or count not in {0, rules.top_k} or any(data[end:]):
            raise _wrong("an answer of no kind that is known")
        if left != NO_COUNT and left > rules.limit:
            raise _wrong("an answer that leaves more than the terms give")
        if (kind != Outcome.ANSWERED and count) or (count and any(counts)) or counts[2] > _PARTS:
            raise _wrong("an answer that is two")
        pairs = [_LABEL.unpack_from(data, _ANSWER_HEAD + _LABEL.size * i) for i in range(count)]
        labels, scores = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
        _require_agreed(labels, scores, rules)
        known = None if left == NO_COUNT else left
        return cls(Outcome(kind), number, labels, scores, known, Standing(*counts))


def _require_agreed(labels: tuple[int, ...], scores: tuple[int, ...], rules: QueryRules) -> None:
    """Raise unless these are labels and scores that the terms allow."""
    if len(set(labels)) != len(labels) or any(label >= rules.classes for label in labels):
        raise _wrong("an answer with a label twice, or one that there is not")
    most = MAX_SCORE * 10**rules.digits if rules.kind == "rounded" else 0
    if any(abs(score) > most for score in scores):
        raise _wrong("an answer with a score that the terms do not give")


def _name_bytes(principal: str) -> bytes:
    data = principal.encode("utf-8", "surrogatepass")
    if not _PRINCIPAL.fullmatch(data):
        raise _wrong("no principal has that name")
    return data.ljust(_NAME_BYTES, b"\0")


def _signed(ask: Ask, session: Session, name: bytes, record: bytes) -> bytes:
    server = sha256(session.server.encode("utf-8", "surrogatepass"))
    number = _SIGNED.pack(session.number, ask)
    return b"".join((session.room, server, session.nonce, number, name, record))


def _wrong(problem: str) -> MalformedError:
    return MalformedError(f"messages of a query: {problem}", code="message.malformed")
