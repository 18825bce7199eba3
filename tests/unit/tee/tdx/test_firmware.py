"""MRTD from an image, against a computation in another style, and a distribution's firmware."""

from __future__ import annotations

import hashlib
import os
import struct
import uuid
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.errors import MalformedError
from cloister.tee.tdx.firmware import TdxFirmware
from cloister.tee.tdx.layout import read_quote
from evidence_samples import folder

FOOTER: Final = "96b582de-1fb2-45f7-baea-a366c55a082d"
METADATA: Final = "e47a6535-984a-4798-865e-4685a7bf8ec2"
PAGE: Final = 4096

# Firmware of distributions by SHA-256, and its MRTD in the order of pages. The second is that of
# a genuine quote, whose TD ran that package's firmware: hardware agrees. Nobody publishes the first
# one's: it is this project's, computed twice.
DEBIAN: Final = "7b456907dd0786d415999e801a1ac4637b8ed4d7cf5378cfc6edbe5e574dd773"
UBUNTU: Final = "ae577ac531f6d7ecf7aee3203bfbd3d40db5eb8f79ce3e1ba69894a4711bc118"
KNOWN: Final = {
    DEBIAN: "4c7206f0f483c524f12c366c711e9049030a8d47c471ee5aa9c4999a08de4057"
    "fb887fed0744d5631a212967fb231c47",  # ovmf 2022.11-6+deb12u2, OVMF.fd
    UBUNTU: "7348651a34b2d2d3462822e3a750ec6110125f36757c78480bbfc69cc0d21fb0"
    "01a1ced3ee19747dda8f750c3bc8f876",  # ovmf-inteltdx 2025.02-8ubuntu3, OVMF.inteltdx.fd
}

Row = tuple[int, int, int, int, int, int]


def build(content: bytes, rows: list[Row]) -> bytes:
    """An image of some content, its metadata, and the table before the reset vector."""
    metadata = b"TDVF" + struct.pack("<III", 16 + 32 * len(rows), 1, len(rows))
    metadata += b"".join(struct.pack("<IIQQII", *row) for row in rows)
    behind = len(metadata) + 22 + 18 + 32
    table = struct.pack("<IH", behind, 22) + uuid.UUID(METADATA).bytes_le
    table += struct.pack("<H", 40) + uuid.UUID(FOOTER).bytes_le
    return content + metadata + table + bytes(32)


def transcript(data: bytes) -> str:
    """MRTD in the order of pages, from the two manufacturers' documents, in one loop.

    Finds the metadata by its signature instead of the table, and hashes a transcript as a whole.
    """
    start = data.rindex(b"TDVF")
    (count,) = struct.unpack_from("<I", data, start + 12)
    calls = bytearray()
    for number in range(count):
        offset, _, address, size, _, flags = struct.unpack_from(
            "<IIQQII", data, start + 16 + 32 * number
        )
        for step in range(0, size, 256):
            where = (address + step).to_bytes(8, "little")
            if step % PAGE == 0 and not flags & 2:
                calls += b"MEM.PAGE.ADD\0\0\0\0" + where + bytes(104)
            if flags & 1:
                calls += b"MR.EXTEND\0\0\0\0\0\0\0" + where + bytes(104)
                calls += data[offset + step : offset + step + 256]
    return hashlib.sha384(calls).hexdigest()


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from(["measured", "plain", "memory", "later"]), st.integers(1, 3)),
        min_size=1,
        max_size=6,
    ),
    st.binary(min_size=64, max_size=64),
)
def test_two_computations_agree(parts: list[tuple[str, int]], seed: bytes) -> None:
    """Whatever sections there are, in whatever order."""
    content, rows, address = bytearray(), [], 0x100000
    for kind, pages in [("measured", 1), *parts]:
        size = pages * PAGE
        filled = kind in {"measured", "plain"}
        offset = len(content) if filled else 0
        content += seed * (size // 64) if filled else b""
        row = {"measured": (0, 1), "plain": (1, 0), "memory": (3, 0), "later": (4, 2)}[kind]
        rows.append((offset, size if filled else 0, address, size, *row))
        address += size + PAGE
    data = build(bytes(content), rows)
    assert TdxFirmware.from_bytes(data).mrtd("page").hex() == transcript(data)


def test_every_byte_of_measured_firmware_counts() -> None:
    """And none of what is only added."""
    rows: list[Row] = [(0, PAGE, 0xFFFFF000, PAGE, 0, 1), (PAGE, PAGE, 0x1000, PAGE, 1, 0)]
    data = build(bytes(2 * PAGE), rows)
    found = TdxFirmware.from_bytes(data).mrtd("page")
    for at in (0, 255, 256, PAGE - 1):
        other = data[:at] + b"\1" + data[at + 1 :]
        assert TdxFirmware.from_bytes(other).mrtd("page") != found
    other = data[:PAGE] + b"\1" + data[PAGE + 1 :]
    assert TdxFirmware.from_bytes(other).mrtd("page") == found


def test_half_of_a_split_firmware_is_refused() -> None:
    """Distributions ship code and variables apart, whose sections are those of the whole file."""
    rows: list[Row] = [(PAGE, PAGE, 0xFFFFF000, PAGE, 0, 1), (0, PAGE, 0xFFFFE000, PAGE, 1, 0)]
    whole = build(bytes(2 * PAGE), rows)
    TdxFirmware.from_bytes(whole)
    with pytest.raises(MalformedError) as e:
        TdxFirmware.from_bytes(whole[PAGE + 512 :])
    assert e.value.code == "firmware.malformed"
    assert "more than the file has" in e.value.public


def images() -> list[bytes]:
    """Firmware for TDX that is installed here, or lies in CLOISTER_FIRMWARE; or skip the test."""
    base = Path(os.environ.get("CLOISTER_FIRMWARE", "/usr/share/ovmf"))
    found = [path.read_bytes() for path in sorted(base.glob("*.fd"))] if base.is_dir() else []
    if not found:
        pytest.skip(f"no firmware in {base}: install ovmf, or set CLOISTER_FIRMWARE to its folder")
    return found


def test_distributions_firmware() -> None:
    """Both computations agree on whatever there is, and with what is known of some."""
    compared = 0
    for data in images():
        try:
            found = TdxFirmware.from_bytes(data).mrtd("page").hex()
        except MalformedError:  # half of a split firmware, or none for TDX
            continue
        assert found == transcript(data)
        assert found == KNOWN.get(hashlib.sha256(data).hexdigest(), found)
        compared += 1
    if not compared:
        pytest.skip("no firmware for TDX among what is here")


@pytest.mark.spec("TDL-10", "TDL-12")
def test_a_genuine_quote_has_the_measurement_that_is_computed() -> None:
    """Intel's hardware measured Ubuntu's firmware as this does, in the order of KVM."""
    [data] = [each for each in images() if hashlib.sha256(each).hexdigest() == UBUNTU] or [b""]
    if not data:
        pytest.skip("Ubuntu's ovmf-inteltdx 2025.02-8ubuntu3 is not here: CLOISTER_FIRMWARE")
    _, report = read_quote((folder("tdx") / "gotdx-v5" / "quote.bin").read_bytes())
    image = TdxFirmware.from_bytes(data)
    assert image.mrtd("page") == report.mr_td
    assert image.mrtd("section") != report.mr_td


@pytest.mark.spec("TDL-10")
def test_what_is_known_of_ubuntus_firmware_is_what_hardware_said() -> None:
    """The value above is copied from nowhere but the quote."""
    _, report = read_quote((folder("tdx") / "gotdx-v5" / "quote.bin").read_bytes())
    assert report.mr_td.hex() == KNOWN[UBUNTU]
