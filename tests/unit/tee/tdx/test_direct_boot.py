"""RTMR2 of a kernel that the monitor passes."""

from __future__ import annotations

import hashlib
from typing import Final

import pytest

from cloister.errors import MalformedError
from cloister.tee.tdx.direct_boot import boot_register, load_options
from cloister.tee.tdx.eventlog import read_log, replay
from evidence_samples import folder

INITRD: Final = hashlib.sha384(b"the disk").digest()


@pytest.mark.spec("TDL-20")
def test_load_options_are_those_of_the_firmware() -> None:
    """UTF-16 with its end, and where the initial disk is."""
    assert load_options("quiet", initrd=False) == b"q\0u\0i\0e\0t\0\0\0"
    assert load_options("a", initrd=True) == "a initrd=initrd\0".encode("utf-16-le")
    assert load_options("", initrd=True) == " initrd=initrd\0".encode("utf-16-le")
    assert load_options("", initrd=False) == b""


@pytest.mark.spec("TDL-20")
@pytest.mark.parametrize("text", ["a\n", "ä", "a\0", "x" * 4097])
def test_other_command_lines_are_refused(text: str) -> None:
    """What the firmware would not pass on as it is."""
    with pytest.raises(MalformedError) as e:
        load_options(text, initrd=False)
    assert e.value.code == "firmware.malformed"


@pytest.mark.spec("TDL-21", "TDL-22")
def test_what_is_not_there_is_not_extended() -> None:
    """Each of the two parts, both, and none; computed here by hand."""
    options = load_options("quiet", initrd=True)
    first = hashlib.sha384(bytes(48) + hashlib.sha384(options).digest()).digest()
    assert boot_register(options, None) == first
    assert boot_register(options, INITRD) == hashlib.sha384(first + INITRD).digest()
    assert boot_register(b"", INITRD) == hashlib.sha384(bytes(48) + INITRD).digest()
    assert boot_register(b"", None) == bytes(48)
    with pytest.raises(MalformedError):
        boot_register(b"", b"short")


@pytest.mark.spec("TDL-21")
def test_a_genuine_direct_boot_measures_these_two_and_in_this_order() -> None:
    """The events of RTMR2 in the log of a TD whose kernel its monitor passed."""
    log = (folder("eventlog") / "dstack-report" / "event_log.json").read_bytes()
    events = [event for event in read_log("dstack", log) if event.register == 2]
    names = [event.payload[8:].rstrip(b"\0") for event in events]
    assert names == [b"LOADED_IMAGE::LoadOptions", b"Linux initrd"]
    register = bytes(48)
    for event in events:
        register = hashlib.sha384(register + event.digest).digest()
    assert register == replay(events)[2]
