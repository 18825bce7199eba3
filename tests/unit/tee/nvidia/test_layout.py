"""The bytes of GPU reports and of lists of them."""

from dataclasses import replace

import pytest

from cloister.errors import MalformedError
from cloister.tee.nvidia.layout import OPAQUE, GpuReport, MeasurementBlock

REPORT = GpuReport(
    nonce=bytes(range(32)),
    blocks=(MeasurementBlock(1, 1, b"m" * 48), MeasurementBlock(2, 1, b"n" * 48)),
    response_nonce=b"r" * 32,
    opaque={
        OPAQUE["vbios_version"]: bytes.fromhex("009f009601000000"),
        OPAQUE["driver_version"]: b"550.90.07\x00",
        OPAQUE["nvdec0_status"]: b"\xaa",
        OPAQUE["fwid"]: b"f" * 48,
        99: b"unknown",
    },
    signature=b"s" * 96,
)
DATA = REPORT.to_bytes()


@pytest.mark.spec("NV-2", "NV-3", "NV-4")
def test_bytes_round_trip() -> None:
    """What was written is read, unknown fields included."""
    assert GpuReport.from_bytes(DATA) == REPORT
    assert REPORT.signed + REPORT.signature == DATA


@pytest.mark.spec("NV-2")
def test_every_cut_and_any_byte_more_is_malformed() -> None:
    """A report ends where its lengths say."""
    for end in range(len(DATA)):
        with pytest.raises(MalformedError) as caught:
            GpuReport.from_bytes(DATA[:end])
        assert caught.value.code == "evidence.malformed"
    for more in (b"\x00", bytes(20000)):
        with pytest.raises(MalformedError):
            GpuReport.from_bytes(DATA + more)


@pytest.mark.spec("NV-2", "NV-3", "NV-4")
@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 0x12),  # another version of SPDM
        (2, 0x00),  # no signature asked for
        (3, 0x01),  # one block instead of all
        (36, 0x01),  # another slot
        (38, 0x7F),  # an error for an answer
        (41, 0x03),  # more blocks than there are
        (45, 0x00),  # index 0
        (46, 0x02),  # not DMTF's
        (47, 0x34),  # sizes that differ
        (45 + 55, 0x01),  # the same index twice
    ],
)
def test_other_headers_and_blocks_are_malformed(at: int, value: int) -> None:
    """Only one form of exchange is read."""
    with pytest.raises(MalformedError):
        GpuReport.from_bytes(DATA[:at] + bytes([value]) + DATA[at + 1 :])


@pytest.mark.spec("NV-4")
def test_a_field_twice_is_malformed() -> None:
    """One reading of the opaque data, or none."""
    field = b"\x63\x00\x01\x00x"
    opaque = len(DATA) - 96 - len(b"\x63\x00\x07\x00unknown")
    size = opaque - sum(len(v) + 4 for k, v in REPORT.opaque.items() if k != 99) - 2
    length = int.from_bytes(DATA[size : size + 2], "little") + len(field)
    twice = DATA[:size] + length.to_bytes(2, "little") + DATA[size + 2 : -96] + field + DATA[-96:]
    with pytest.raises(MalformedError):
        GpuReport.from_bytes(twice)


@pytest.mark.spec("NV-4")
def test_versions_are_written_as_the_manufacturer_does() -> None:
    """The VBIOS version has its bytes in NVIDIA's order."""
    assert REPORT.driver_version == "550.90.07"
    assert REPORT.vbios_version == "96.00.9F.00.01"
    assert REPORT.fwid == b"f" * 48
    assert not REPORT.nvdec0_disabled
    assert REPORT.measurement(2) == b"n" * 48
    assert REPORT.measurement(3) is None


@pytest.mark.spec("NV-4")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("driver_version", b"550.90.07"),
        ("driver_version", b"550\n.90\x00"),
        ("driver_version", None),
        ("vbios_version", b"\x00" * 7),
        ("vbios_version", b"\x01" * 8),
        ("vbios_version", None),
        ("nvdec0_status", b"\x00"),
        ("nvdec0_status", None),
        ("fwid", None),
    ],
)
def test_a_field_that_is_read_has_its_form(name: str, value: bytes | None) -> None:
    """What is missing or has another form is malformed where it is asked for."""
    kind = OPAQUE[name]
    opaque = {key: each for key, each in REPORT.opaque.items() if key != kind}
    if value is not None:
        opaque[kind] = value
    report = replace(REPORT, opaque=opaque)
    attribute = "nvdec0_disabled" if name == "nvdec0_status" else name
    with pytest.raises(MalformedError) as caught:
        getattr(report, attribute)
    assert caught.value.code == "evidence.malformed"
