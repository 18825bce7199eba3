"""Event logs of TDs: what was measured into RTMR0 to RTMR3, in which order. Pure.

A log is untrusted until its digests, extended one after the other, give the registers of a genuine
quote; then the digests are what was measured. Names and payloads are vouched for only where a
digest is made of them alone, which is so for dstack's runtime events.

Formats: the CC event log that ACPI's CCEL table points to (UEFI 2.10 section 38, TCG PC Client
Platform Firmware Profile section 10, `TCG_PCR_EVENT2`), and dstack's JSON.

Spec: intel-evidence-v1, clauses INTEL-60 to INTEL-65.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloister.errors import EvidenceError, MalformedError
from cloister.wire.binary import BinaryReader
from cloister.wire.strict_json import read_json

__all__ = [
    "MAX_EVENTS",
    "MAX_LOG_BYTES",
    "REGISTERS",
    "RUNTIME_EVENT",
    "SYSTEM_READY",
    "Event",
    "read_log",
    "replay",
    "require_registers",
    "runtime_digest",
    "system_events",
    "without_filling",
]

MAX_LOG_BYTES: Final = 65536
MAX_EVENTS: Final = 1024
_MAX_AREA_BYTES: Final = 1 << 20
REGISTERS: Final = 4
RUNTIME_EVENT: Final = 0x08000001
SYSTEM_READY: Final = "system-ready"

_DIGEST_BYTES: Final = 48
_NO_ACTION: Final = 3
_SHA384: Final = 0x000C
_HEADER: Final = struct.Struct("<II20sI")
_SPEC_ID: Final = struct.Struct("<16sIBBBBI")
_ALGORITHM: Final = struct.Struct("<HH")
_EVENT: Final = struct.Struct("<III")
_WORD: Final = struct.Struct("<I")
_SIGNATURE: Final = b"Spec ID Event03\0"
_MAX_ALGORITHMS: Final = 8
_FILLINGS: Final = (0x00, 0xFF)
_RUNTIME_REGISTER: Final = 3
_MAX_NAME: Final = 256


@dataclass(frozen=True, slots=True)
class Event:
    """One measurement.

    Attributes:
        register: 0 to 3: which RTMR it was extended into.
        kind: The log's number for what was measured.
        digest: SHA-384 that was extended.
        name: dstack's name for a runtime event, otherwise empty.
        payload: What the log says was measured.
    """

    register: int
    kind: int
    digest: bytes
    name: str
    payload: bytes


def read_log(log_format: str, data: bytes) -> tuple[Event, ...]:
    """Read an untrusted log.

    Args:
        log_format: `ccel` or `dstack`.
        data: At most 65 536 bytes, at most 1 024 events.

    Raises:
        MalformedError: It does not have the form of its format.
    """
    if len(data) > MAX_LOG_BYTES:
        raise _malformed("an event log is too long")
    if log_format == "ccel":
        return _read_ccel(data)
    if log_format == "dstack":
        return _read_dstack(data)
    raise _malformed("an event log of an unknown format")


def without_filling(data: bytes) -> bytes:
    """Return a CC event log without what fills the firmware's area up behind it.

    The area is as long as the firmware likes, and evidence is bounded: what it has no use for stays
    behind. What is no log is returned as it is, for `read_log` to refuse.
    """
    reader = _Reader(data)
    try:
        sizes = _spec_id(reader)
        for _ in range(MAX_EVENTS if len(data) <= _MAX_AREA_BYTES else 0):
            if reader.ended():
                return data[: reader.at]
            _ccel_event(reader, sizes)
    except MalformedError:
        pass
    return data


def replay(events: Sequence[Event]) -> tuple[bytes, ...]:
    """Return the four registers that these events give, each from zero."""
    registers = [bytes(_DIGEST_BYTES)] * REGISTERS
    for event in events:
        extended = registers[event.register] + event.digest
        registers[event.register] = hashlib.sha384(extended).digest()
    return tuple(registers)


def require_registers(events: Sequence[Event], rtmrs: Sequence[bytes]) -> None:
    """Check that a log explains all four registers of a genuine quote, and its own runtime events.

    Raises:
        EvidenceError: A register has another value, or a runtime event another digest than its
            name and payload give (`evidence.log`).
    """
    for number, (played, signed) in enumerate(zip(replay(events), rtmrs, strict=True)):
        if played != signed:
            raise EvidenceError(
                "the event log, played again, does not give the registers that were signed",
                code="evidence.log",
                detail=f"RTMR{number}",
            )
    for event in events:
        if event.name and event.digest != runtime_digest(event.name, event.payload):
            raise EvidenceError(
                "a runtime event has not the digest of its name and payload",
                code="evidence.log",
                detail=event.name,
            )


def runtime_digest(name: str, payload: bytes) -> bytes:
    """Return what dstack extends for a runtime event."""
    parts = (_WORD.pack(RUNTIME_EVENT), name.encode(), payload)
    return hashlib.sha384(b":".join(parts)).digest()


def system_events(events: Sequence[Event]) -> Mapping[str, bytes]:
    """Return dstack's events up to `system-ready`: those of the system, none of its application.

    Raises:
        EvidenceError: A name stands twice among them (`evidence.log`): which one counts is open.
    """
    found: dict[str, bytes] = {}
    for event in events:
        if not event.name:
            continue
        if event.name in found:
            raise EvidenceError("an event of the system stands twice", code="evidence.log")
        found[event.name] = event.payload
        if event.name == SYSTEM_READY:
            break
    return found


def _read_dstack(data: bytes) -> tuple[Event, ...]:
    entries = read_json(
        data, what="an event log", max_bytes=MAX_LOG_BYTES, max_depth=2, code="evidence.malformed"
    )
    if not isinstance(entries, list) or len(entries) > MAX_EVENTS:
        raise _malformed("an event log is a list of at most 1024 events")
    return tuple(_dstack_event(entry) for entry in entries)


def _dstack_event(entry: Any) -> Event:
    names = {"imr", "event_type", "digest", "event", "event_payload"}
    if not isinstance(entry, dict) or set(entry) != names:
        raise _malformed("an event has other members")
    register, kind, name = entry["imr"], entry["event_type"], entry["event"]
    if type(register) is not int or type(kind) is not int or not isinstance(name, str):
        raise _malformed("an event has members of another type")
    if not 0 <= register < REGISTERS or not 0 <= kind < 1 << 32 or len(name) > _MAX_NAME:
        raise _malformed("an event is out of bounds")
    runtime = kind == RUNTIME_EVENT
    if runtime != bool(name) or (runtime and register != _RUNTIME_REGISTER):
        raise _malformed("runtime events have a name and are in RTMR3; others have none")
    if not name.isprintable():
        raise _malformed("an event's name is not printable")
    digest = _octets(entry["digest"])
    if len(digest) != _DIGEST_BYTES:
        raise _malformed("an event's digest has 48 bytes")
    return Event(register, kind, digest, name, _octets(entry["event_payload"]))


def _octets(value: Any) -> bytes:
    try:
        found = bytes.fromhex(value)
    except (TypeError, ValueError) as e:
        raise _malformed("an event's bytes are not hexadecimal") from e
    if found.hex() != value:
        raise _malformed("an event's bytes are not lower-case hexadecimal")
    return found


class _Reader(BinaryReader):
    """Takes parts of a binary log from the front."""

    __slots__ = ()

    def __init__(self, data: bytes) -> None:
        super().__init__(data, cut_off=lambda: _malformed("an event log ends within an event"))

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        return form.unpack(self.take(form.size))

    def ended(self) -> bool:
        """Tell whether nothing follows, or only what fills the area up: all ones or all zeros."""
        rest = self.rest()
        return not rest or (rest[0] in _FILLINGS and rest.count(rest[0]) == len(rest))


def _read_ccel(data: bytes) -> tuple[Event, ...]:
    reader = _Reader(data)
    sizes = _spec_id(reader)
    events: list[Event] = []
    count = 0
    while not reader.ended():
        count += 1
        if count > MAX_EVENTS:
            raise _malformed("an event log has too many events")
        event = _ccel_event(reader, sizes)
        if event is not None:
            events.append(event)
    return tuple(events)


def _spec_id(reader: _Reader) -> dict[int, int]:
    """Read the first event, which lists the sizes of digests; SHA-384 is among them."""
    _, kind, _, size = reader.unpack(_HEADER)
    inner = _Reader(reader.take(size))
    signature, _, _, _, _, _, count = inner.unpack(_SPEC_ID)
    if kind != _NO_ACTION or signature != _SIGNATURE or not 0 < count <= _MAX_ALGORITHMS:
        raise _malformed("an event log does not begin as the specification says")
    sizes: dict[int, int] = dict(inner.unpack(_ALGORITHM) for _ in range(count))
    inner.take(inner.take(1)[0])
    if len(sizes) != count or sizes.get(_SHA384) != _DIGEST_BYTES or not inner.ended():
        raise _malformed("an event log lists its algorithms in another way")
    return sizes


def _ccel_event(reader: _Reader, sizes: Mapping[int, int]) -> Event | None:
    """Read an event; None for one that tells something and is extended nowhere."""
    index, kind, count = reader.unpack(_EVENT)
    digests: dict[int, bytes] = {}
    if count != len(sizes):
        raise _malformed("an event has other digests than its log")
    for _ in range(count):
        algorithm = int.from_bytes(reader.take(2), "little")
        if algorithm in digests or algorithm not in sizes:
            raise _malformed("an event has other digests than its log")
        digests[algorithm] = reader.take(sizes[algorithm])
    (size,) = reader.unpack(_WORD)
    payload = reader.take(size)
    if kind == _NO_ACTION:
        return None
    # Index 0 is MRTD, which nothing extends once the TD runs.
    if not 1 <= index <= REGISTERS:
        raise _malformed("an event is in no runtime register")
    return Event(index - 1, kind, digests[_SHA384], "", payload)


def _malformed(why: str) -> MalformedError:
    return MalformedError(why, code="evidence.malformed")
