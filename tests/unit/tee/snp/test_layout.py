"""AMD's report, byte for byte."""

import dataclasses
from typing import Any

import pytest

from cloister.errors import MalformedError
from cloister.tee.snp.layout import (
    POLICY_BITS,
    REPORT_BYTES,
    SIGNED_BYTES,
    Report,
    product_of,
    tcb_parts,
)
from cloister.testing.manufacturers.amd import SimulatedAmd

CHIP = SimulatedAmd(b"layout", "Genoa").chip()


@pytest.mark.spec("SNP-2")
@pytest.mark.parametrize(
    ("name", "offset", "value"),
    [
        ("version", 0x000, b"\x05\0\0\0"),
        ("guest_svn", 0x004, b"\x11\x22\x33\x44"),
        ("policy", 0x008, b"\x01\0\x02\0\0\0\0\0"),
        ("family_id", 0x010, b"f" * 16),
        ("image_id", 0x020, b"g" * 16),
        ("vmpl", 0x030, b"\x03\0\0\0"),
        ("signature_algo", 0x034, b"\x01\0\0\0"),
        ("current_tcb", 0x038, b"abcdefgh"),
        ("platform_info", 0x040, b"\x25\0\0\0\0\0\0\0"),
        ("key_info", 0x048, b"\x05\0\0\0"),
        ("report_data", 0x050, b"d" * 64),
        ("measurement", 0x090, b"m" * 48),
        ("host_data", 0x0C0, b"h" * 32),
        ("id_key_digest", 0x0E0, b"k" * 48),
        ("author_key_digest", 0x110, b"a" * 48),
        ("report_id", 0x140, b"r" * 32),
        ("report_id_ma", 0x160, b"s" * 32),
        ("reported_tcb", 0x180, b"ABCDEFGH"),
        ("cpuid", 0x188, b"\x19\x11\x02"),
        ("chip_id", 0x1A0, b"c" * 64),
        ("committed_tcb", 0x1E0, b"12345678"),
        ("current_version", 0x1E8, b"\x1d\x37\x01"),
        ("committed_version", 0x1EC, b"\x1c\x36\x02"),
        ("launch_tcb", 0x1F0, b"87654321"),
        ("launch_mit_vector", 0x1F8, b"\x0b\0\0\0\0\0\0\0"),
        ("current_mit_vector", 0x200, b"\x0f\0\0\0\0\0\0\0"),
    ],
)
def test_every_field_is_where_amd_puts_it(name: str, offset: int, value: bytes) -> None:
    """A field's bytes are read from its offset and written there again."""
    data = bytearray(CHIP.report())
    data[offset : offset + len(value)] = value
    report = Report.from_bytes(bytes(data))
    found = getattr(report, name)
    assert found == (value if isinstance(found, bytes) else int.from_bytes(value, "little"))
    assert report.to_bytes() == bytes(data)


@pytest.mark.spec("SNP-2")
def test_a_report_has_one_length() -> None:
    """Every shorter one, and a longer one, is malformed."""
    data = CHIP.report()
    for wrong in (*(data[:end] for end in range(REPORT_BYTES)), data + b"\0"):
        with pytest.raises(MalformedError) as e:
            Report.from_bytes(wrong)
        assert e.value.code == "evidence.malformed"


@pytest.mark.spec("SNP-3")
def test_reserved_bytes_are_zero() -> None:
    """Those that are signed, those inside the signature, and those behind it."""
    data = CHIP.report()
    used = set(range(0x4C)) | set(range(0x50, 0x18B)) | set(range(0x1A0, 0x1EB))
    used |= set(range(0x1EC, 0x1EF)) | set(range(0x1F0, 0x208))
    used |= set(range(0x2A0, 0x2D0)) | set(range(0x2E8, 0x318))
    reserved = sorted(set(range(REPORT_BYTES)) - used)
    assert reserved[0] == 0x4C
    for place in reserved:
        changed = bytearray(data)
        changed[place] = 1
        with pytest.raises(MalformedError) as e:
            Report.from_bytes(bytes(changed))
        assert e.value.code == "evidence.malformed"


@pytest.mark.spec("SNP-4")
@pytest.mark.parametrize(
    "changes",
    [
        {"version": 1},
        {"version": 6},
        {"signature_algo": 0},
        {"signature_algo": 2},
        {"vmpl": 4},
        {"vmpl": 0xFFFFFFFF},
        {"policy": 0x10000},
        {"key_info": 2 << 2},
        {"key_info": 6 << 2},
        {"key_info": 1 << 5},
        {"version": 2, "cpuid": b"\x19\x11\x01"},
        {"version": 2, "cpuid": bytes(3), "current_mit_vector": 1},
        {"version": 4, "launch_mit_vector": 1},
    ],
)
def test_values_outside_the_specification_are_malformed(changes: dict[str, Any]) -> None:
    """Building such a report fails as reading it does."""
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(CHIP.fields(), **changes)
    assert e.value.code == "evidence.malformed"


def test_what_is_signed_ends_before_the_signature() -> None:
    """0x2a0 bytes; the signature does not change them."""
    data = CHIP.report()
    report = Report.from_bytes(data)
    assert report.signed_bytes() == data[:SIGNED_BYTES]
    assert len(report.signature) == 96


@pytest.mark.parametrize(("name", "bit"), POLICY_BITS.items())
def test_policy_bits(name: str, bit: int) -> None:
    """Each bit is its own name and no other's."""
    report = dataclasses.replace(CHIP.fields(), policy=1 << 17 | 1 << bit)
    assert [each for each, value in report.policy_bits().items() if value] == [name]
    assert report.unknown_policy_bits == 0


def test_bits_that_nobody_knows_are_kept() -> None:
    """They do not vanish."""
    report = dataclasses.replace(CHIP.fields(), policy=0x20000 | 1 << 40, platform_info=0x41)
    assert (report.unknown_policy_bits, report.unknown_platform_bits) == (1 << 40, 0x40)


def test_key_info() -> None:
    """Author key, masked chip key, and who signs."""
    for key_info, expected in {
        0: (False, False, "VCEK"),
        4: (False, False, "VLEK"),
        0x1C: (False, False, "none"),
        1: (True, False, "VCEK"),
        2: (False, True, "VCEK"),
    }.items():
        report = dataclasses.replace(CHIP.fields(), key_info=key_info)
        assert (report.author_key_en, report.mask_chip_key, report.signing_key) == expected


@pytest.mark.spec("SNP-5")
def test_products_of_processors() -> None:
    """Zen4c parts are Genoa (c8s#72); what is not known has no product."""
    known = {
        (0x19, 0x01): "Milan",
        (0x19, 0x11): "Genoa",
        (0x19, 0xA0): "Genoa",
        (0x19, 0xAF): "Genoa",
        (0x1A, 0x02): "Turin",
        (0x1A, 0x11): "Turin",
        (0x19, 0x21): None,
        (0x19, 0xB0): None,
        (0x1A, 0x50): None,
        (0x17, 0x01): None,
        (0, 0): None,
    }
    for (family, model), product in known.items():
        assert product_of(bytes((family, model, 0))) == product


@pytest.mark.spec("SNP-6")
def test_turin_has_another_order_of_versions() -> None:
    """The same eight bytes mean different things."""
    raw = bytes((1, 2, 3, 4, 0, 0, 7, 8))
    assert tcb_parts(raw, "Milan") == {"bootloader": 1, "tee": 2, "snp": 7, "microcode": 8}
    assert tcb_parts(raw, "Genoa") == tcb_parts(raw, "Milan")
    assert tcb_parts(raw, "Turin") == {
        "fmc": 1,
        "bootloader": 2,
        "tee": 3,
        "snp": 4,
        "microcode": 8,
    }
