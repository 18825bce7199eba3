"""The firmware's log: read, and replayed."""

import dataclasses
import hashlib
import struct

import pytest

from cloister.errors import MalformedError
from cloister.tee.tpm.event_log import EventLog, write
from cloister.testing.manufacturers.tpm import SECURE_BOOT, SimulatedTpm, events

TPM = SimulatedTpm(b"log")
GOOD = TPM.log()
FIRST = 32 + 16 + 12 + 12 + 1


def malformed(data: bytes) -> None:
    with pytest.raises(MalformedError) as e:
        EventLog.from_bytes(data)
    assert e.value.code == "evidence.malformed"


def log_of(*boot: tuple[int, int, bytes]) -> EventLog:
    return EventLog.from_bytes(write(events(boot), ("sha256",)) if boot else GOOD)


@pytest.mark.spec("TPM-6")
def test_a_log_is_read_as_it_was_written() -> None:
    """Events, banks, and every cut."""
    log = EventLog.from_bytes(GOOD)
    assert (log.events, log.banks) == (TPM.events, ("sha1", "sha256", "sha384"))
    assert write(log.events, log.banks) == GOOD
    ends = {FIRST}
    place = FIRST
    for event in TPM.events:
        place += 12 + 3 * 2 + 20 + 32 + 48 + 4 + len(event.data)
        ends.add(place)
    for end in range(len(GOOD)):
        if end in ends:
            assert EventLog.from_bytes(GOOD[:end])
        else:
            malformed(GOOD[:end])
    malformed(GOOD + b"\0")


@pytest.mark.spec("TPM-6")
@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, b"\x01"),
        (4, b"\x08"),
        (8, b"\x01"),
        (32, b"X"),
        (56, b"\x00\0\0\0"),
        (56, b"\x09\0\0\0"),
        (60, b"\x0b\0\x14\0"),
        (60, b"\x04\0\x15\0"),
        (64, b"\x04\0\x14\0"),
        (72, b"\x05"),
        (FIRST + 8, b"\x02"),
        (FIRST + 12, b"\x12"),
        (FIRST + 12 + 22, b"\x04\0"),
        (FIRST, b"\x10"),
        (FIRST, b"\0\0\0\x80"),
    ],
)
def test_other_forms_are_malformed(place: int, value: bytes) -> None:
    """Logs before SHA-256, hashes without size, digests that do not belong, PCRs beyond 15."""
    malformed(GOOD[:place] + value + GOOD[place + len(value) :])


def test_too_many_events() -> None:
    """They end before memory does."""
    event = events([(0, 8, b"")])[0]
    log = write([event] * 4096, ("sha256",))
    assert len(EventLog.from_bytes(log).events) == 4096
    malformed(write([event] * 4097, ("sha256",)))


def test_hashes_that_nobody_knows_are_kept_apart() -> None:
    """SM3 in a log is no bank of ours, and does not disturb."""
    spec = struct.pack("<16sIBBBBI", b"Spec ID Event03", 0, 0, 2, 0, 2, 2)
    spec += struct.pack("<HHHHB", 0x0B, 32, 0x12, 32, 0)
    data = struct.pack("<II20sI", 0, 3, bytes(20), len(spec)) + spec
    digest = hashlib.sha256(b"x").digest()
    data += struct.pack("<IIIH32sH32sI", 1, 8, 2, 0x12, bytes(32), 0x0B, digest, 1) + b"x"
    log = EventLog.from_bytes(data)
    assert (log.banks, log.events[0].digests) == (("sha256",), {"sha256": digest})


@pytest.mark.spec("TPM-7")
def test_replay_extends_in_order() -> None:
    """H(H(0 + first) + second), of each PCR on its own."""
    log = log_of((4, 1, b"a"), (5, 1, b"b"), (4, 1, b"c"))
    a, b, c = (hashlib.sha256(each).digest() for each in (b"a", b"b", b"c"))
    once = hashlib.sha256(bytes(32) + a).digest()
    assert log.replay("sha256") == {
        4: hashlib.sha256(once + c).digest(),
        5: hashlib.sha256(bytes(32) + b).digest(),
    }


@pytest.mark.spec("TPM-7")
def test_what_is_no_action_extends_nothing() -> None:
    """But the locality in which the machine started is where PCR 0 begins."""
    started = (0, 3, b"StartupLocality\0\x03")
    log = log_of((0, 3, b"anything"), started, (0, 8, b"version"))
    version = hashlib.sha256(b"version").digest()
    assert log.replay("sha256") == {0: hashlib.sha256(bytes(31) + b"\x03" + version).digest()}
    late = log_of((0, 8, b"version"), started)
    assert late.replay("sha256") == {0: hashlib.sha256(bytes(32) + version).digest()}


@pytest.mark.spec("TPM-8")
def test_secure_boot_is_what_was_measured_first() -> None:
    """The first event in PCR 7, whose digest is that of its data."""
    off = SECURE_BOOT[:-1] + b"\0"
    assert log_of((7, 0x80000001, SECURE_BOOT)).secure_boot("sha256") is True
    assert log_of((7, 0x80000001, off), (7, 4, bytes(4))).secure_boot("sha256") is False
    for unclear in (
        [(7, 0x80000001, SECURE_BOOT + b"\1")],
        [(7, 0x80000001, SECURE_BOOT[:-1] + b"\2")],
        [(6, 0x80000001, SECURE_BOOT)],
        [(7, 3, SECURE_BOOT)],
        [(7, 0x80000001, b"SecureBoot")],
        [(7, 0x80000007, b"UEFI Debug Mode"), (7, 0x80000001, SECURE_BOOT)],
    ):
        assert log_of(*unclear).secure_boot("sha256") is None


@pytest.mark.spec("TPM-8")
def test_a_system_cannot_measure_secure_boot_later() -> None:
    """One that booted without it extends PCR 7 itself, and puts other words to the first event."""
    off, on = events([(7, 0x80000001, SECURE_BOOT[:-1] + b"\0"), (7, 0x80000001, SECURE_BOOT)])
    for words in (b"", SECURE_BOOT, b"other"):
        lie = dataclasses.replace(off, data=words, kind=0x80000002)
        log = EventLog(("sha256",), (lie, on))
        assert log.replay("sha256") == EventLog(("sha256",), (off, on)).replay("sha256")
        assert log.secure_boot("sha256") is None
    assert EventLog(("sha256",), (off, on)).secure_boot("sha256") is False
