"""What leaf certificates say of their firmware."""

from types import MappingProxyType

import pytest

from cloister.crypto.chain import Certificate
from cloister.errors import MalformedError
from cloister.tee.nvidia.dice import COMPOSITE_DEVICE_ID, TCB_INFO, DiceIdentity, is_device
from cloister.testing.manufacturers.nvidia import SimulatedNvidia

MAKER = SimulatedNvidia("dice", at=1_800_000_000)
HOPPER = MAKER.gpu("HOPPER")
BLACKWELL = MAKER.gpu("BLACKWELL", debug=True)
FWID = bytes.fromhex("303d06096086480165030402020430") + b"f" * 48


def leaf(**extensions: bytes) -> Certificate:
    """A certificate with other extensions; nothing else of it is looked at."""
    certificate = Certificate.from_der(HOPPER.device.path[0].der)
    names = {"composite": COMPOSITE_DEVICE_ID, "tcb_info": TCB_INFO}
    found = MappingProxyType({names[name]: value for name, value in extensions.items()})
    object.__setattr__(certificate, "extensions", found)
    return certificate


def sequence(body: bytes) -> bytes:
    """DER of a SEQUENCE of at most 255 bytes."""
    length = bytes([len(body)]) if len(body) < 128 else b"\x81" + bytes([len(body)])
    return b"\x30" + length + body


@pytest.mark.spec("NV-13")
def test_both_forms_are_read() -> None:
    """Hopper's has a digest; Blackwell's has flags as well."""
    assert DiceIdentity.of(HOPPER.device.path[0]) == DiceIdentity(HOPPER.fwid, ())
    found = DiceIdentity.of(BLACKWELL.device.path[0])
    assert found == DiceIdentity(BLACKWELL.fwid, ("notConfigured", "debug", "fixedWidth"))
    assert is_device(HOPPER.device.path[0])
    assert not is_device(HOPPER.device.path[1])


@pytest.mark.spec("NV-13", "NV-40")
def test_flags_without_a_name_are_told() -> None:
    """A policy can refuse what nobody knows yet."""
    fwids = b"\xa6\x3f" + FWID
    found = DiceIdentity.of(leaf(tcb_info=sequence(fwids + b"\x87\x03\x00\x10\x40")))
    assert found.flags == ("debug", "bit9")
    assert DiceIdentity.of(leaf(tcb_info=sequence(fwids))).flags == ()


@pytest.mark.spec("NV-13")
@pytest.mark.parametrize(
    "extensions",
    [
        {},
        {"composite": sequence(b"\x02\x01\x01" + FWID + FWID), "tcb_info": sequence(b"")},
        {"composite": sequence(FWID)},
        {"composite": b""},
        {"composite": b"\x30"},
        {"composite": b"\x30\x80"},
        {"composite": b"\x30\x81\x05hello"},
        {"composite": b"\x30\x82\x00\x05hello"},
        {"composite": b"\x30\x7f"},
        {"composite": sequence(b"\x02\x01\x01" + FWID + b"\x04\x01a")},
        {"composite": sequence(b"\x02\x01\x01" + FWID + b"\x30\x01a")},
        {"tcb_info": sequence(b"\xa6\x00")},
        {"tcb_info": sequence(b"\xa6\x3f" + FWID + b"\xa6\x3f" + FWID)},
        {"tcb_info": sequence(b"\xa6\x3e" + FWID[:1] + b"\x3c" + FWID[2:-1])},
        {"tcb_info": sequence(b"\xa6\x3f" + FWID + b"\x87\x00")},
        {"tcb_info": sequence(b"\xa6\x3f" + FWID + b"\x87\x02\x08\x00")},
    ],
)
def test_other_forms_are_malformed(extensions: dict[str, bytes]) -> None:
    """A leaf that does not say which firmware holds its key is of no use."""
    with pytest.raises(MalformedError) as caught:
        DiceIdentity.of(leaf(**extensions))
    assert caught.value.code == "evidence.malformed"
