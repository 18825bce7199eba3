"""The messages of an exchange: a head of fixed fields, a body of fixed size, one size for all.

Numbers lie at fixed places, little-endian as the arrays are. What a message does not use is zero,
and a reader looks at all of it, so that one message has one reading and a body that is not used
carries nothing.

Spec: training-round-v1, clauses TR-10 to TR-16.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np

from cloister.cleanroom.aggregation import FLOAT, Array
from cloister.cleanroom.round_rules import MAX_METRICS, MAX_TRAINERS, RoundRules
from cloister.errors import LocalProtocolError, MalformedError

__all__ = [
    "HEAD_BYTES",
    "LIFE_BYTES",
    "NO_WISH",
    "SERVER",
    "ExchangeMessage",
    "Kind",
    "message_bytes",
    "read_message",
    "write_message",
]

HEAD_BYTES: Final = 256
LIFE_BYTES: Final = 16
SERVER: Final = 255
NO_WISH: Final = 2**32 - 1
_MAGIC: Final = b"CXR1"
# magic, kind, sender, metrics, tick, epoch, round, version, durable, life, room, wish, offset,
# total, count, plan held, then the metrics.
_HEAD: Final = struct.Struct(f"<4sBBHIIIQQ{LIFE_BYTES}s32sIIIII{MAX_METRICS}d")
_FILL: Final = HEAD_BYTES - _HEAD.size


class Kind(IntEnum):
    """What a message's body is."""

    IDLE = 0
    HELLO = 1
    WELCOME = 2
    PLAN = 3
    INITIAL = 4
    PUSH = 5
    PARAMETERS = 6


_FROM_TRAINERS: Final = frozenset({Kind.IDLE, Kind.HELLO, Kind.PLAN, Kind.INITIAL, Kind.PUSH})
_FROM_SERVER: Final = frozenset({Kind.IDLE, Kind.WELCOME, Kind.PLAN, Kind.PARAMETERS})
_FLOATS: Final = frozenset({Kind.INITIAL, Kind.PUSH, Kind.PARAMETERS})
_EMPTY: Final = frozenset({Kind.IDLE, Kind.HELLO, Kind.WELCOME})


@dataclass(frozen=True, slots=True)
class ExchangeMessage:
    """One message.

    Attributes:
        kind: What the body is.
        sender: A trainer's index, or `SERVER`.
        tick: The tick that it is of.
        epoch: How often the server has begun; what a trainer has seen of it.
        life: What tells two servers of one epoch apart.
        version: Of the parameters in the body; of a difference, what it is to; else the newest.
        durable: The newest version that the server's checkpoint has.
        wish: From which byte on a trainer wants the plan; `NO_WISH` for parameters.
        offset: Where in the plan the body belongs.
        total: The plan's bytes; 0 where there is none.
        held: How many of the plan's bytes the server holds.
        round: The round that the metrics are of.
        metrics: Numbers by their place in the terms; None where there is none.
        body: Bytes of the plan, or parameters.
    """

    kind: Kind
    sender: int
    tick: int
    epoch: int = 0
    life: bytes = bytes(LIFE_BYTES)
    version: int = 0
    durable: int = 0
    wish: int = NO_WISH
    offset: int = 0
    total: int = 0
    held: int = 0
    round: int = 0
    metrics: tuple[float | None, ...] = ()
    body: bytes | memoryview | Array = b""


def message_bytes(rules: RoundRules) -> int:
    """Return the size of every message of a room."""
    return HEAD_BYTES + rules.body_bytes


def write_message(message: ExchangeMessage, rules: RoundRules, out: bytearray) -> None:
    """Write a message over `out`, all of it.

    Raises:
        LocalProtocolError: `protocol.local`: it has no such form, or `out` another size: our bug.
    """
    body = _octets(message.body)
    if len(out) != message_bytes(rules) or len(body) > rules.body_bytes:
        raise LocalProtocolError("a message of another size", code="protocol.local")
    mask = 0
    values = [0.0] * MAX_METRICS
    for place, value in enumerate(message.metrics):
        if value is not None:
            mask |= 1 << place
            values[place] = value
    count = len(body) // FLOAT.itemsize if message.kind in _FLOATS else len(body)
    try:
        head = _HEAD.pack(
            _MAGIC, message.kind, message.sender, mask, message.tick, message.epoch, message.round,
            message.version, message.durable, message.life, rules.room, message.wish,
            message.offset, message.total, count, message.held, *values,
        )  # fmt: skip
    except struct.error as e:
        raise LocalProtocolError("a number that has no place", code="protocol.local") from e
    out[: _HEAD.size] = head
    whole = np.frombuffer(out, np.uint8)
    whole[_HEAD.size : HEAD_BYTES] = 0
    whole[HEAD_BYTES : HEAD_BYTES + len(body)] = np.frombuffer(body, np.uint8)
    whole[HEAD_BYTES + len(body) :] = 0


def read_message(data: bytearray | bytes, rules: RoundRules) -> ExchangeMessage:
    """Read a message from untrusted bytes; the body is a view of them.

    Raises:
        MalformedError: `wire.too-large`: another size; `message.malformed`: not of this form, or
            of another room.
    """
    if len(data) != message_bytes(rules):
        raise MalformedError("a message of another size", code="wire.too-large")
    (
        magic, number, sender, mask, tick, epoch, round_number, version, durable, life, room, wish,
        offset, total, count, held, *values,
    ) = _HEAD.unpack_from(data)  # fmt: skip
    if magic != _MAGIC or room != rules.room:
        raise _wrong("is not of this room")
    try:
        kind = Kind(number)
    except ValueError:
        raise _wrong("is of no kind") from None
    if kind not in (_FROM_SERVER if sender == SERVER else _FROM_TRAINERS):
        raise _wrong("is not its sender's")
    if sender != SERVER and sender >= min(rules.trainers, MAX_TRAINERS):
        raise _wrong("is of no trainer")
    used = count * FLOAT.itemsize if kind in _FLOATS else count
    if used > rules.body_bytes or (kind in _EMPTY) != (count == 0):
        raise _wrong("has a body of another size")
    _require_zero(data, _HEAD.size, HEAD_BYTES)
    _require_zero(data, HEAD_BYTES + used, len(data))
    body = memoryview(data)[HEAD_BYTES : HEAD_BYTES + used]
    message = ExchangeMessage(
        kind=kind,
        sender=sender,
        tick=tick,
        epoch=epoch,
        life=life,
        version=version,
        durable=durable,
        wish=wish,
        offset=offset,
        total=total,
        held=held,
        round=round_number,
        metrics=_metrics(mask, values, rules),
        body=np.frombuffer(body, FLOAT) if kind in _FLOATS else body,
    )
    _require_plan(message, count, rules)
    return message


def _octets(body: bytes | memoryview | Array) -> bytes | memoryview:
    if isinstance(body, np.ndarray):
        return np.ascontiguousarray(body, FLOAT).view(np.uint8).data
    return body


def _require_zero(data: bytes | bytearray, begin: int, end: int) -> None:
    """Look at all bytes from `begin` to `end`, by words where they are many."""
    view: np.ndarray[Any, np.dtype[np.uint8]] = np.frombuffer(data, np.uint8)[begin:end]
    words = view[: len(view) // 8 * 8].view("<u8")
    found = int(np.bitwise_or.reduce(words)) | int(np.bitwise_or.reduce(view[len(words) * 8 :]))
    if found:
        raise _wrong("has bytes that belong to nothing")


def _require_plan(message: ExchangeMessage, count: int, rules: RoundRules) -> None:
    if message.total > rules.plan_max_bytes or message.held > message.total:
        raise _wrong("is about a plan that is too long")
    if message.wish != NO_WISH and message.wish > rules.plan_max_bytes:
        raise _wrong("wishes for what no plan has")
    if message.kind is Kind.PLAN and message.offset + count > message.total:
        raise _wrong("has more of the plan than there is")
    if message.kind is not Kind.PLAN and message.offset:
        raise _wrong("has no place in the plan")


def _metrics(mask: int, values: list[float], rules: RoundRules) -> tuple[float | None, ...]:
    if mask >> len(rules.metrics):
        raise _wrong("has a metric that the terms do not name")
    for place, value in enumerate(values):
        there = bool(mask >> place & 1)
        if not there and struct.pack("<d", value) != bytes(8):
            raise _wrong("has a metric that it does not name")
        if there and not math.isfinite(value):
            raise _wrong("has a metric that is no number")
    return tuple(
        values[place] if mask >> place & 1 else None for place in range(len(rules.metrics))
    )


def _wrong(problem: str) -> MalformedError:
    return MalformedError(f"a message of the exchange {problem}", code="message.malformed")
