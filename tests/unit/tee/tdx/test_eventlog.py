"""Event logs: two formats, and the registers that they give."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from cloister.errors import EvidenceError, MalformedError
from cloister.tee.tdx.eventlog import (
    MAX_EVENTS,
    MAX_LOG_BYTES,
    RUNTIME_EVENT,
    Event,
    read_log,
    replay,
    require_registers,
    runtime_digest,
    system_events,
    without_filling,
)

SHA384, SHA256 = 0x0C, 0x0B
SIZES = {SHA256: 32, SHA384: 48}


def spec_id(
    algorithms: Sequence[tuple[int, int]] = ((SHA384, 48),),
    *,
    signature: bytes = b"Spec ID Event03\0",
    kind: int = 3,
    vendor: bytes = b"\0",
) -> bytes:
    """Write the first event."""
    body = signature + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(algorithms))
    body += b"".join(struct.pack("<HH", *each) for each in algorithms) + vendor
    return struct.pack("<II20sI", 1, kind, bytes(20), len(body)) + body


def event(index: int, kind: int, digests: Mapping[int, bytes], payload: bytes = b"p") -> bytes:
    """Write a later event."""
    found = struct.pack("<III", index, kind, len(digests))
    found += b"".join(struct.pack("<H", name) + value for name, value in digests.items())
    return found + struct.pack("<I", len(payload)) + payload


ONE = event(1, 8, {SHA384: b"a" * 48})
TWO = event(4, 9, {SHA384: b"b" * 48}, b"")
LOG = spec_id() + ONE + TWO + event(0, 3, {SHA384: bytes(48)})


def _refused(form: str, data: bytes) -> None:
    with pytest.raises(MalformedError) as e:
        read_log(form, data)
    assert e.value.code == "evidence.malformed"


@pytest.mark.parametrize("filling", [b"", b"\xff" * 100, bytes(100)], ids=["none", "ones", "zeros"])
@pytest.mark.spec("INTEL-61")
def test_a_ccel_log_is_read(filling: bytes) -> None:
    """Indices 1 to 4 are RTMR0 to RTMR3; what only tells something is passed over."""
    assert read_log("ccel", LOG + filling) == (
        Event(0, 8, b"a" * 48, "", b"p"),
        Event(3, 9, b"b" * 48, "", b""),
    )


def test_a_log_can_do_without_its_filling() -> None:
    """As long as the firmware's area is, what is left is the log; what is none stays as it is."""
    for filling in (b"", b"\xff" * 100_000, bytes(100_000)):
        assert without_filling(LOG + filling) == LOG
    for other in (b"", b"no log", LOG + b"\xff" * 9 + b"x", LOG[:-3], LOG + bytes(2 << 20)):
        assert without_filling(other) == other
    many = LOG + ONE * 2000
    assert without_filling(many) == many


@pytest.mark.spec("INTEL-61")
def test_of_several_digests_sha384_is_taken() -> None:
    """The one that a TD's registers are made of."""
    two = spec_id(((SHA256, 32), (SHA384, 48)))
    data = two + event(2, 8, {SHA256: b"x" * 32, SHA384: b"y" * 48})
    (found,) = read_log("ccel", data)
    assert (found.register, found.digest) == (1, b"y" * 48)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        spec_id(kind=8) + ONE,
        spec_id(signature=b"Spec ID Event02\0") + ONE,
        spec_id(()) + ONE,
        spec_id(((SHA256, 32),)) + event(1, 8, {SHA256: b"x" * 32}),
        spec_id(((SHA384, 32),)),
        spec_id(((SHA384, 48), (SHA384, 48))),
        spec_id(((SHA384, 48),) * 9),
        spec_id(vendor=b"\x05"),
        spec_id(vendor=b"\0\x01"),
        spec_id() + ONE[:-1],
        spec_id() + ONE + b"\xff\x00",
        spec_id() + ONE + b"\0\xff",
        spec_id() + event(5, 8, {SHA384: b"a" * 48}),
        spec_id() + event(0, 8, {SHA384: b"a" * 48}),
        spec_id() + event(1, 8, {SHA256: b"a" * 32}),
        spec_id() + event(1, 8, {}),
        spec_id() + event(1, 8, {SHA384: b"a" * 48, SHA256: b"a" * 32}),
        spec_id() + ONE * (MAX_EVENTS + 1),
        bytes(MAX_LOG_BYTES + 1),
    ],
    ids=range(20),
)
@pytest.mark.spec("INTEL-60", "INTEL-61")
def test_other_ccel_bytes_are_malformed(data: bytes) -> None:
    """Beginnings, digests, indices, ends and limits."""
    _refused("ccel", data)


@pytest.mark.spec("INTEL-61")
def test_no_prefix_within_an_event_is_a_log() -> None:
    """A log that was cut is noticed, by its form or by its registers."""
    ends = {len(spec_id()), len(spec_id() + ONE), len(spec_id() + ONE + TWO), len(LOG)}
    for size in range(len(spec_id()), len(LOG)):
        if size in ends:
            continue
        rest = LOG[max(end for end in ends if end < size) : size]
        if rest.strip(b"\0"):
            _refused("ccel", LOG[:size])


ENTRY: dict[str, Any] = {
    "imr": 0,
    "event_type": 8,
    "digest": "aa" * 48,
    "event": "",
    "event_payload": "0102",
}
RUNTIME: dict[str, Any] = {
    "imr": 3,
    "event_type": RUNTIME_EVENT,
    "digest": runtime_digest("name", b"x").hex(),
    "event": "name",
    "event_payload": b"x".hex(),
}


@pytest.mark.spec("INTEL-62")
def test_a_dstack_log_is_read() -> None:
    """Events of the firmware and of the system."""
    assert read_log("dstack", json.dumps([ENTRY, RUNTIME]).encode()) == (
        Event(0, 8, b"\xaa" * 48, "", b"\1\2"),
        Event(3, RUNTIME_EVENT, runtime_digest("name", b"x"), "name", b"x"),
    )


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY | {"imr": 4},
        ENTRY | {"imr": -1},
        ENTRY | {"imr": True},
        ENTRY | {"imr": "0"},
        ENTRY | {"event_type": 1 << 32},
        ENTRY | {"digest": "aa" * 47},
        ENTRY | {"digest": "AA" * 48},
        ENTRY | {"digest": 7},
        ENTRY | {"event_payload": "0"},
        ENTRY | {"event_payload": "0 1 "},
        ENTRY | {"event": "name"},
        ENTRY | {"more": 1},
        RUNTIME | {"event": ""},
        RUNTIME | {"event": "n" * 257},
        RUNTIME | {"event": "\x1b[2J"},
        RUNTIME | {"imr": 2},
        {"imr": 0},
        7,
    ],
    ids=str,
)
@pytest.mark.spec("INTEL-60", "INTEL-62")
def test_other_dstack_entries_are_malformed(entry: object) -> None:
    """Members, types, ranges, spellings, and names where they belong."""
    _refused("dstack", json.dumps([entry]).encode())


@pytest.mark.spec("INTEL-60")
def test_other_json_is_malformed() -> None:
    """Neither an object nor too many events; and there are no other formats."""
    _refused("text", b"[]")
    _refused("dstack", b"{}")
    _refused("dstack", b"x")
    _refused("dstack", b"[" + b",".join([b"0"] * (MAX_EVENTS + 1)) + b"]")


@pytest.mark.spec("INTEL-63")
def test_registers_are_extended_in_order() -> None:
    """Each from zero, each event after the one before."""
    events = [Event(1, 1, b"a" * 48, "", b""), Event(1, 1, b"b" * 48, "", b"")]
    first = hashlib.sha384(bytes(48) + b"a" * 48).digest()
    second = hashlib.sha384(first + b"b" * 48).digest()
    assert replay(events) == (bytes(48), second, bytes(48), bytes(48))
    require_registers(events, replay(events))
    for number in range(4):
        wrong = [
            bytes([1]) * 48 if at == number else each for at, each in enumerate(replay(events))
        ]
        with pytest.raises(EvidenceError) as e:
            require_registers(events, wrong)
        assert e.value.code == "evidence.log"
        assert e.value.detail == f"RTMR{number}"


@pytest.mark.spec("INTEL-64")
def test_a_runtime_event_is_what_its_digest_says() -> None:
    """The registers hold, but the name was exchanged."""
    event = Event(3, RUNTIME_EVENT, runtime_digest("name", b"x"), "other", b"x")
    with pytest.raises(EvidenceError) as e:
        require_registers([event], replay([event]))
    assert e.value.code == "evidence.log"


@pytest.mark.spec("INTEL-65")
def test_the_systems_events_end_when_it_is_ready() -> None:
    """An application that calls its event like one of the system's changes nothing."""

    def events(*names: str) -> list[Event]:
        return [
            Event(3, RUNTIME_EVENT, bytes(48), name, str(at).encode())
            for at, name in enumerate(names)
        ]

    found = system_events(events("compose-hash", "system-ready", "compose-hash"))
    assert found == {"compose-hash": b"0", "system-ready": b"1"}
    assert system_events([Event(0, 8, bytes(48), "", b"")]) == {}
    with pytest.raises(EvidenceError) as e:
        system_events(events("compose-hash", "compose-hash", "system-ready"))
    assert e.value.code == "evidence.log"
