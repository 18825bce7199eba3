"""The firmware's event log: read, and replayed to the PCR values that it leads to; no trust.

TCG, PC Client Platform Firmware Profile, version 1.06: TCG_PCClientPCREvent (10.2.1),
TCG_EfiSpecIdEvent (10.4.5.1), TCG_PCR_EVENT2 (10.2.2), StartupLocality (10.4.5.3),
UEFI_VARIABLE_DATA (10.2.6). Numbers are little-endian.

    first event                             each event after it
    4  PCR, 0                               4  PCR
    4  type, 3                              4  type
    20 digest, zero                         4  number of digests, each:
    4  size of what follows                    2   hash
    16 "Spec ID Event03", zero                 n   digest
    4  platform class                       4  size of what follows
    4  minor, major, errata, word size      n  the event
    4  number of hashes, each:
       2 hash, 2 size
    1  size of what follows
    n  vendor's

Spec: tpm-evidence-v1.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.errors import MalformedError
from cloister.tee.tpm.layout import BANKS, Bank
from cloister.wire.binary import BinaryReader

__all__ = ["Event", "EventLog"]

_BANK_IDS: Final[dict[int, Bank]] = {4: "sha1", 0xB: "sha256", 0xC: "sha384", 0xD: "sha512"}
_NO_ACTION: Final = 3
_SPEC_ID: Final = b"Spec ID Event03\0"
_LOCALITY: Final = b"StartupLocality\0"
_MAX_EVENTS: Final = 4096
_MAX_HASHES: Final = 8
_MAX_HASH_BYTES: Final = 64
# Only these are extended by firmware and what it boots; others begin with other values.
_LOGGED_PCRS: Final = 16
# EFI_GLOBAL_VARIABLE, 8be4df61-93ca-11d2-aa0d-00e098032b8c.
_GLOBAL: Final = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
_SECURE_BOOT_PCR: Final = 7


@dataclass(frozen=True, slots=True)
class Event:
    """One event: what was extended into which PCR, and the firmware's words about it."""

    pcr: int
    kind: int
    digests: Mapping[Bank, bytes]
    data: bytes


@dataclass(frozen=True, slots=True)
class EventLog:
    """A log as it was read; it is only as good as the PCRs that it replays to.

    Attributes:
        banks: The banks for which each event has a digest.
        events: In their order, without the first.
    """

    banks: tuple[Bank, ...]
    events: tuple[Event, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> EventLog:
        """Read untrusted bytes, which hold one log and nothing else.

        Raises:
            MalformedError: They do not.
        """
        reader = _Reader(data)
        sizes = _spec_id(reader)
        events: list[Event] = []
        while reader.left:
            if len(events) >= _MAX_EVENTS:
                raise _malformed("too many events")
            events.append(_event(reader, sizes))
        return cls(tuple(_BANK_IDS[each] for each in sizes if each in _BANK_IDS), tuple(events))

    def replay(self, bank: Bank) -> dict[int, bytes]:
        """Return the value of each PCR that the log extends."""
        values: dict[int, bytes] = {}
        start = bytes(BANKS[bank])
        for event in self.events:
            if event.kind == _NO_ACTION:
                if event.pcr == 0 and event.data[:-1] == _LOCALITY and 0 not in values:
                    start = bytes(BANKS[bank] - 1) + event.data[-1:]
                continue
            before = values.get(event.pcr, start if event.pcr == 0 else bytes(BANKS[bank]))
            values[event.pcr] = hashlib.new(bank, before + event.digests[bank]).digest()
        return values

    def secure_boot(self, bank: Bank) -> bool | None:
        """Return what firmware measured of SecureBoot; None where that is not clear.

        Only to be believed where PCR 7 replays: the digests are then what was extended, in this
        order, whatever the log's words are. So the first of them counts, which firmware extends
        before anything else runs, and only where it is the digest of its data.
        """
        name = "SecureBoot".encode("utf-16-le")
        wanted = _GLOBAL + struct.pack("<QQ", len(name) // 2, 1) + name
        extended = (e for e in self.events if e.pcr == _SECURE_BOOT_PCR and e.kind != _NO_ACTION)
        first = next(extended, None)
        if first is None or hashlib.new(bank, first.data).digest() != first.digests[bank]:
            return None
        if first.data[:-1] != wanted:
            return None
        return {0: False, 1: True}.get(first.data[-1])


class _Reader(BinaryReader):
    """Takes numbers and bytes one after the other."""

    __slots__ = ()

    def __init__(self, data: bytes) -> None:
        super().__init__(data, cut_off=lambda: _malformed("it is cut off"))

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "little")


def _spec_id(reader: _Reader) -> dict[int, int]:
    """Read the first event: which hashes there are, and how long each is."""
    pcr, kind, digest = reader.number(4), reader.number(4), reader.take(20)
    inner = _Reader(reader.take(reader.number(4)))
    if pcr or kind != _NO_ACTION or any(digest) or inner.take(16) != _SPEC_ID:
        raise _malformed("it does not begin as crypto agile logs do")
    inner.take(8)
    count = inner.number(4)
    if not 1 <= count <= _MAX_HASHES:
        raise _malformed("a number of hashes that cannot be")
    sizes: dict[int, int] = {}
    for _ in range(count):
        number, size = inner.number(2), inner.number(2)
        bank = _BANK_IDS.get(number)
        if number in sizes or not 1 <= size <= _MAX_HASH_BYTES:
            raise _malformed("a hash that stands twice or has no size")
        if bank is not None and BANKS[bank] != size:
            raise _malformed("a hash of another size")
        sizes[number] = size
    inner.take(inner.number(1))
    if inner.left:
        raise _malformed("more in the first event than there should be")
    return sizes


def _event(reader: _Reader, sizes: Mapping[int, int]) -> Event:
    pcr, kind, count = reader.number(4), reader.number(4), reader.number(4)
    if count != len(sizes):
        raise _malformed("an event without a digest for each hash")
    found: dict[int, bytes] = {}
    for _ in range(count):
        number = reader.number(2)
        if number not in sizes or number in found:
            raise _malformed("a digest of an unknown hash, or two of one")
        found[number] = reader.take(sizes[number])
    data = reader.take(reader.number(4))
    if pcr >= _LOGGED_PCRS and kind != _NO_ACTION:
        raise _malformed("an event in a PCR that firmware does not extend")
    named = {_BANK_IDS[number]: digest for number, digest in found.items() if number in _BANK_IDS}
    return Event(pcr, kind, named, data)


def write(events: Sequence[Event], banks: Sequence[Bank]) -> bytes:
    """Return the log with these events, each of which has a digest for each bank."""
    numbers = {bank: number for number, bank in _BANK_IDS.items()}
    hashes = b"".join(struct.pack("<HH", numbers[bank], BANKS[bank]) for bank in banks)
    spec = _SPEC_ID + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(banks)) + hashes + b"\0"
    log = [struct.pack("<II20sI", 0, _NO_ACTION, bytes(20), len(spec)) + spec]
    for event in events:
        digests = b"".join(struct.pack("<H", numbers[bank]) + event.digests[bank] for bank in banks)
        log.append(struct.pack("<III", event.pcr, event.kind, len(banks)) + digests)
        log.append(struct.pack("<I", len(event.data)) + event.data)
    return b"".join(log)


def _malformed(why: str) -> MalformedError:
    return MalformedError("an event log cannot be read", code="evidence.malformed", detail=why)
