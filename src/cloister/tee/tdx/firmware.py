"""The MRTD that a firmware image will have, computed by whoever builds or downloads it. Pure.

A TD's firmware carries a table of sections (Intel TDX Virtual Firmware Design Guide, "TDX
Metadata"): what of the file the monitor puts where, and which of it is measured. From that table
follow the calls that build the TD, and from those the register (Intel TDX Module Base Architecture
Specification, "MRTD: Build-Time Measurement Register"; TDH.MEM.PAGE.ADD and TDH.MR.EXTEND).

The image is untrusted: a number in it chooses no more work than `MAX_PAGES` allows.

Example::

    image = TdxFirmware.from_bytes(Path("OVMF.fd").read_bytes())
    rules["measurement"] = OneOf((image.mrtd("page"),))

Spec: tdx-launch-v1, clauses TDL-1 to TDL-14.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from cloister.errors import MalformedError

__all__ = [
    "MAX_IMAGE_BYTES",
    "MAX_PAGES",
    "MAX_SECTIONS",
    "PageOrder",
    "Section",
    "TdxFirmware",
]

MAX_IMAGE_BYTES: Final = 64 << 20
MAX_SECTIONS: Final = 64
MAX_PAGES: Final = 16384

PageOrder = Literal["page", "section"]

_PAGE: Final = 4096
_CHUNK: Final = 256
_RECORD: Final = 128
_RESET_VECTOR: Final = 32
_ENTRY_HEAD: Final = 18  # the length of an entry, and its name
_MAX_ENTRIES: Final = 64
_TABLE: Final = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
_OFFSET: Final = uuid.UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
_LENGTH: Final = struct.Struct("<H")
_WORD: Final = struct.Struct("<I")
_DESCRIPTOR: Final = struct.Struct("<4sIII")
_SECTION: Final = struct.Struct("<IIQQII")
_SIGNATURE: Final = b"TDVF"
_VERSION: Final = 1
_ADDRESS: Final = struct.Struct("<Q")
_MEMORY_END: Final = 1 << 52
_BFV, _CFV, _TD_HOB, _TEMP_MEM, _PERM_MEM = range(5)
_KINDS: Final = frozenset({_BFV, _CFV, _TD_HOB, _TEMP_MEM, _PERM_MEM})
_FROM_FILE: Final = frozenset({_BFV, _CFV})
_EXTEND: Final = 1
_AUGMENT: Final = 2


@dataclass(frozen=True, slots=True)
class Section:
    """One entry of the metadata: a range of the TD's memory, and what of the file is in it.

    Attributes:
        data_offset: Where its content begins in the file.
        data_bytes: How much of the file it takes; 0 for memory that begins empty.
        address: Where it lies in the TD, from 0.
        memory_bytes: How much memory it has, a multiple of 4096.
        kind: 0 boot firmware, 1 its variables, 2 the list of memory that the monitor writes,
            3 temporary, 4 permanent memory.
        attributes: Bit 0: its content is measured. Bit 1: its pages are added after the launch.
    """

    data_offset: int
    data_bytes: int
    address: int
    memory_bytes: int
    kind: int
    attributes: int

    @property
    def measured(self) -> bool:
        """Whether TDH.MR.EXTEND is called for its pages."""
        return bool(self.attributes & _EXTEND)

    @property
    def added(self) -> bool:
        """Whether its pages are there at launch."""
        return not self.attributes & _AUGMENT

    @property
    def pages(self) -> range:
        """The addresses of its pages."""
        return range(self.address, self.address + self.memory_bytes, _PAGE)


@dataclass(frozen=True, slots=True)
class TdxFirmware:
    """An image whose table is consistent; nobody vouches for what is in it.

    Attributes:
        data: The file.
        sections: In the order of its table, which is that of the launch.
    """

    data: bytes
    sections: tuple[Section, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> TdxFirmware:
        """Read an untrusted file.

        Raises:
            MalformedError: It has no such table, one that contradicts itself, or one that asks for
                more than the limits (`firmware.malformed`).
        """
        if len(data) > MAX_IMAGE_BYTES:
            raise _malformed(f"a firmware image has at most {MAX_IMAGE_BYTES} bytes")
        sections = tuple(_sections(data, len(data) - _metadata_offset(data)))
        for section in sections:
            _require_consistent(section, len(data))
        if not any(section.kind == _BFV and section.measured for section in sections):
            raise _malformed("no boot firmware is measured")
        if sum(len(section.pages) for section in sections) > MAX_PAGES:
            raise _malformed(f"the sections have more than {MAX_PAGES} pages")
        places = sorted((each.address, each.address + each.memory_bytes) for each in sections)
        if any(first[1] > second[0] for first, second in itertools.pairwise(places)):
            raise _malformed("two sections are at the same place")
        return cls(data, sections)

    def mrtd(self, order: PageOrder) -> bytes:
        """Return the 48 bytes that quotes of a TD with this firmware will carry as MRTD.

        Args:
            order: `page` where each page is measured when it was added, as Linux's KVM does;
                `section` where a section's pages are all added first.
        """
        digest = hashlib.sha384()
        for section in self.sections:
            for record in self._records(section, order):
                digest.update(record)
        return digest.digest()

    def _records(self, section: Section, order: PageOrder) -> Iterator[bytes]:
        extended = section.pages if section.measured else range(0)
        if order == "section":
            yield from (_record(b"MEM.PAGE.ADD", page) for page in _added(section))
            yield from (record for page in extended for record in self._extend(section, page))
            return
        for page in _added(section):
            yield _record(b"MEM.PAGE.ADD", page)
            if section.measured:
                yield from self._extend(section, page)

    def _extend(self, section: Section, page: int) -> Iterator[bytes]:
        start = section.data_offset + page - section.address
        for at in range(0, _PAGE, _CHUNK):
            yield _record(b"MR.EXTEND", page + at)
            yield self.data[start + at : start + at + _CHUNK]


def _added(section: Section) -> range:
    return section.pages if section.added else range(0)


def _record(call: bytes, address: int) -> bytes:
    """Return the buffer of one call: its name, and at byte 16 the address."""
    return (call.ljust(16, b"\0") + _ADDRESS.pack(address)).ljust(_RECORD, b"\0")


def _metadata_offset(data: bytes) -> int:
    """Find in the table before the reset vector how far from the end the metadata begins."""
    end = len(data) - _RESET_VECTOR
    name, length = _entry(data, end, 0)
    if name != _TABLE:
        raise _malformed("there is no table before its reset vector")
    first = end - length
    end -= _ENTRY_HEAD
    for _ in range(_MAX_ENTRIES):
        if end == first:
            break
        name, length = _entry(data, end, first)
        if name == _OFFSET:
            if length != _ENTRY_HEAD + _WORD.size:
                raise _malformed("the place of the TDX metadata has another length")
            offset: int = _WORD.unpack_from(data, end - length)[0]
            return offset
        end -= length
    raise _malformed("its table names no TDX metadata")


def _entry(data: bytes, end: int, first: int) -> tuple[bytes, int]:
    """Return name and length of the entry that ends at `end` and begins at `first` or later."""
    if end - _ENTRY_HEAD < first:
        raise _malformed("its table ends within an entry")
    length: int = _LENGTH.unpack_from(data, end - _ENTRY_HEAD)[0]
    if not _ENTRY_HEAD <= length <= end - first:
        raise _malformed("an entry of its table is longer than the table, or shorter than its head")
    return data[end - 16 : end], length


def _sections(data: bytes, start: int) -> Iterator[Section]:
    if start < 0 or start + _DESCRIPTOR.size > len(data):
        raise _malformed("its TDX metadata is outside of it")
    signature, length, version, count = _DESCRIPTOR.unpack_from(data, start)
    if signature != _SIGNATURE or version != _VERSION:
        raise _malformed("its TDX metadata is none of version 1")
    if not 0 < count <= MAX_SECTIONS or length != _DESCRIPTOR.size + count * _SECTION.size:
        raise _malformed("its TDX metadata has another length than its sections")
    if start + length > len(data):
        raise _malformed("its TDX metadata is cut off")
    for number in range(count):
        yield Section(*_SECTION.unpack_from(data, start + _DESCRIPTOR.size + number * 32))


def _require_consistent(section: Section, file_bytes: int) -> None:
    if section.kind not in _KINDS or section.attributes & ~(_EXTEND | _AUGMENT):
        raise _malformed("a section is of a kind, or has an attribute, that is not known here")
    if section.address % _PAGE or section.memory_bytes % _PAGE or not section.memory_bytes:
        raise _malformed("a section does not consist of whole pages")
    if section.address + section.memory_bytes > _MEMORY_END:
        raise _malformed("a section is outside of the memory that there can be")
    if section.data_offset + section.data_bytes > file_bytes:
        raise _malformed("a section takes more than the file has")
    if section.data_bytes > section.memory_bytes:
        raise _malformed("a section has more content than memory")
    if (section.kind in _FROM_FILE) != bool(section.data_bytes):
        raise _malformed("firmware has content, and memory has none")
    if section.measured and section.data_bytes != section.memory_bytes:
        raise _malformed("a section that is measured is not filled by the file")
    if section.measured and not section.added:
        raise _malformed("a section is measured whose pages are not there")


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"the firmware cannot be measured: {problem}", code="firmware.malformed")
