"""The bytes of one NVIDIA GPU's report as frozen dataclasses; no trust, no I/O.

A report is an SPDM 1.1 exchange (DMTF DSP0274 1.1.1, sections 10.11.1 and 10.11.2, with the
measurement block of table 42), all of it signed but the signature; numbers are little-endian:

====== ====== =========================================================================
offset length field
====== ====== =========================================================================
0      4      request: 11 (version), E0 (GET_MEASUREMENTS), 01 (signed), FF (all blocks)
4      32     request: nonce
36     1      request: slot, 0
37     4      response: 11, 60 (MEASUREMENTS), 00, 00
41     1      number of blocks
42     3      length of the record
45     ...    record: index 1, specification 1 (01), size 2, type 1, size 2, value
...    32     response: nonce
...    2      length of the opaque data
...    ...    opaque data: type 2, size 2, value (NVIDIA nvtrust, attestation report)
...    96     signature: r and s, big-endian
====== ====== =========================================================================

Spec: nvidia-evidence-v1, clauses NV-2 to NV-5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cloister.errors import MalformedError

__all__ = [
    "MAX_REPORT_BYTES",
    "NONCE_BYTES",
    "OPAQUE",
    "REPORT_MEDIA_TYPE",
    "GpuReport",
    "MeasurementBlock",
]

REPORT_MEDIA_TYPE: Final = "application/vnd.cloister.nvidia"
MAX_REPORT_BYTES: Final = 16384
NONCE_BYTES: Final = 32
SIGNATURE_BYTES: Final = 96

_REQUEST: Final = bytes.fromhex("11e001ff")
_SLOT: Final = b"\x00"
_RESPONSE: Final = bytes.fromhex("11600000")
_DMTF: Final = 1

# Types of opaque data that are read; others are kept as they are. NVIDIA nvtrust, OpaqueData.
OPAQUE: Final = {
    "driver_version": 3,
    "vbios_version": 6,
    "nvdec0_status": 11,
    "project": 17,
    "project_sku": 18,
    "chip_sku": 15,
    "fwid": 20,
    "protected_pcie_status": 21,
    "feature_flag": 36,
}
_VERSION_TEXT: Final = re.compile(rb"([0-9]{1,4}(?:\.[0-9]{1,4}){1,3})\x00")
_VBIOS_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class MeasurementBlock:
    """One measurement.

    Attributes:
        index: Its index, from 1.
        value_type: DMTFSpecMeasurementValueType.
        value: The digest.
    """

    index: int
    value_type: int
    value: bytes

    def to_bytes(self) -> bytes:
        """Return the block's bytes."""
        size = len(self.value)
        return (
            bytes([self.index, _DMTF])
            + (3 + size).to_bytes(2, "little")
            + bytes([self.value_type])
            + size.to_bytes(2, "little")
            + self.value
        )


@dataclass(frozen=True, slots=True)
class GpuReport:
    """One GPU's report; nobody has checked its signature yet.

    Attributes:
        nonce: What the requester sent.
        blocks: Its measurements, each index once.
        response_nonce: What the GPU added.
        opaque: The manufacturer's fields, type to value, in their order.
        signature: r and s.
    """

    nonce: bytes
    blocks: tuple[MeasurementBlock, ...]
    response_nonce: bytes
    opaque: dict[int, bytes]
    signature: bytes

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is over: request and response without it."""
        record = b"".join(block.to_bytes() for block in self.blocks)
        opaque = b"".join(
            kind.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value
            for kind, value in self.opaque.items()
        )
        return b"".join(
            (
                _REQUEST + self.nonce + _SLOT,
                _RESPONSE + bytes([len(self.blocks)]) + len(record).to_bytes(3, "little"),
                record,
                self.response_nonce,
                len(opaque).to_bytes(2, "little"),
                opaque,
            )
        )

    def to_bytes(self) -> bytes:
        """Return request, response and signature."""
        return self.signed + self.signature

    @classmethod
    def from_bytes(cls, data: bytes) -> GpuReport:
        """Read untrusted bytes, to their end.

        Raises:
            MalformedError: They are no such exchange (`evidence.malformed`).
        """
        if len(data) > MAX_REPORT_BYTES:
            raise _malformed("is too long", 0)
        reader = _Reader(data)
        reader.constant(_REQUEST)
        nonce = reader.take(NONCE_BYTES)
        reader.constant(_SLOT)
        reader.constant(_RESPONSE)
        count = reader.number(1)
        record = reader.part(3)
        blocks = tuple(_blocks(record))
        if len(blocks) != count or len({block.index for block in blocks}) != count:
            raise _malformed("does not have the blocks that it says", record.start)
        response_nonce = reader.take(NONCE_BYTES)
        opaque = dict(_opaque(reader.part(2)))
        signature = reader.take(SIGNATURE_BYTES)
        reader.end()
        return cls(nonce, blocks, response_nonce, opaque, signature)

    def measurement(self, index: int) -> bytes | None:
        """Return the value of the block with that index."""
        return next((block.value for block in self.blocks if block.index == index), None)

    @property
    def driver_version(self) -> str:
        """The driver's version, such as `550.90.07`.

        Raises:
            MalformedError: There is none, or it is no version.
        """
        match = _VERSION_TEXT.fullmatch(self._field("driver_version"))
        if match is None:
            raise _malformed("has no driver version", 0)
        return match[1].decode("ascii")

    @property
    def vbios_version(self) -> str:
        """The VBIOS version, such as `96.00.9F.00.01`: two 4-byte numbers, written as NVIDIA does.

        Raises:
            MalformedError: There is none, or it has another length.
        """
        raw = self._field("vbios_version")
        if len(raw) != _VBIOS_BYTES or raw[5:] != bytes(3):
            raise _malformed("has no VBIOS version", 0)
        return ".".join(f"{byte:02X}" for byte in (*raw[3::-1], raw[4]))

    @property
    def fwid(self) -> bytes:
        """The digest of the firmware that holds the signing key, as the report has it.

        Raises:
            MalformedError: There is none.
        """
        return self._field("fwid")

    @property
    def nvdec0_disabled(self) -> bool:
        """Whether the first video decoder is off, so that nothing measures it.

        Raises:
            MalformedError: The status is neither on nor off.
        """
        status = self._field("nvdec0_status")
        if status not in (b"\x55", b"\xaa"):
            raise _malformed("does not say whether the first decoder is on", 0)
        return status == b"\x55"

    def _field(self, name: str) -> bytes:
        value = self.opaque.get(OPAQUE[name])
        if value is None:
            raise _malformed(f"has no {name}", 0)
        return value


def _blocks(record: _Reader) -> Iterator[MeasurementBlock]:
    while record.left:
        index = record.number(1)
        if index == 0 or record.number(1) != _DMTF:
            raise _malformed("has a block that DMTF does not specify", record.start)
        block = record.part(2)
        value_type = block.number(1)
        value = block.part(2)
        block.end()
        yield MeasurementBlock(index, value_type, value.take(value.left))


def _opaque(data: _Reader) -> Iterator[tuple[int, bytes]]:
    seen: set[int] = set()
    while data.left:
        kind = data.number(2)
        if kind in seen:
            raise _malformed("has a field twice", data.start)
        seen.add(kind)
        value = data.part(2)
        yield kind, value.take(value.left)


class _Reader:
    """Bytes that are taken from the front; what is missing raises."""

    def __init__(self, data: bytes, start: int = 0) -> None:
        self._data = data
        self._at = 0
        self.start = start

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, length: int) -> bytes:
        if length > self.left:
            raise _malformed("is cut off", self.start + self._at)
        self._at += length
        return self._data[self._at - length : self._at]

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "little")

    def part(self, length_bytes: int) -> _Reader:
        """Take a length, and as many bytes as it says, to be read to their end."""
        length = self.number(length_bytes)
        at = self.start + self._at
        return _Reader(self.take(length), at)

    def constant(self, wanted: bytes) -> None:
        if self.take(len(wanted)) != wanted:
            raise _malformed("has another header", self.start + self._at - len(wanted))

    def end(self) -> None:
        if self.left:
            raise _malformed("goes on after its end", self.start + self._at)


def _malformed(problem: str, offset: int) -> MalformedError:
    return MalformedError(f"a GPU report {problem}", code="evidence.malformed", offset=offset)
