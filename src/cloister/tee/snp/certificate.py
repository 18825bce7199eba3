"""The certificates of AMD's signing keys (VCEK, VLEK), read by hand; no trust.

They have serial number zero, no key identifiers, and a trailer field that DER would leave out:
libraries refuse one or another of these today or have announced it (virtee/snpguest#57). So their
DER is read here, strictly, and nothing in it is skipped.

AMD, Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification (57230),
revision 1.00, tables 8 and 9; for VLEK (58369) likewise.
Spec: snp-evidence-v1.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import MalformedError

__all__ = ["CSP_ID", "HARDWARE_ID", "PRODUCT_NAME", "PSS_SHA384", "SPL", "ChipCertificate"]

MAX_BYTES: Final = 4096

# AlgorithmIdentifier: RSASSA-PSS, SHA-384, MGF1 with SHA-384, 48 bytes of salt; the first names
# the trailer field's default value too.
PSS_SHA384: Final = (
    bytes.fromhex(
        "304606092a864886f70d01010a3039a00f300d06096086480165030402020500a11c301a06092a864886f70d"
        "010108300d06096086480165030402020500a203020130a303020101"
    ),
    bytes.fromhex(
        "304106092a864886f70d01010a3034a00f300d06096086480165030402020500a11c301a06092a864886f70d"
        "010108300d06096086480165030402020500a203020130"
    ),
)
# AMD's extensions, as DER object identifiers below 1.3.6.1.4.1.3704.1.
_AMD: Final = bytes.fromhex("2b060104019c7801")
PRODUCT_NAME: Final = _AMD + b"\x02"
HARDWARE_ID: Final = _AMD + b"\x04"
CSP_ID: Final = _AMD + b"\x05"
SPL: Final = {
    "bootloader": _AMD + b"\x03\x01",
    "tee": _AMD + b"\x03\x02",
    "snp": _AMD + b"\x03\x03",
    "spl4": _AMD + b"\x03\x04",
    "spl5": _AMD + b"\x03\x05",
    "spl6": _AMD + b"\x03\x06",
    "spl7": _AMD + b"\x03\x07",
    "microcode": _AMD + b"\x03\x08",
    "fmc": _AMD + b"\x03\x09",
}
_COMMON_NAME: Final = bytes.fromhex("550403")
_UTC_TIME: Final = re.compile(rb"\d{12}Z")
_SEQUENCE, _SET, _OID, _INTEGER, _BITS, _OCTETS = 0x30, 0x31, 0x06, 0x02, 0x03, 0x04
_UTF8, _IA5, _UTC, _EXPLICIT_0, _EXPLICIT_3 = 0x0C, 0x16, 0x17, 0xA0, 0xA3
_LONG, _MAX_LENGTH_BYTES, _HEAD, _MAX_BYTE = 0x80, 2, 2, 0xFF
_CENTURY: Final = 50


@dataclass(frozen=True, slots=True)
class ChipCertificate:
    """One certificate of a key that signs reports; nobody has checked its signature yet.

    Attributes:
        der: Its bytes.
        signed: The part of them that is signed.
        signature: RSASSA-PSS, in one of the two encodings of `PSS_SHA384`.
        issuer: DER of the issuer's name.
        common_name: The subject's: `SEV-VCEK` or `SEV-VLEK`.
        not_before: First second of its validity, since the epoch.
        not_after: Last second of it.
        key: The P-384 key.
        extensions: DER object identifier to value.
    """

    der: bytes
    signed: bytes
    signature: bytes
    issuer: bytes
    common_name: str
    not_before: int
    not_after: int
    key: EcdsaKey = field(repr=False)
    extensions: Mapping[bytes, bytes]

    @classmethod
    def from_der(cls, der: bytes) -> ChipCertificate:
        """Read untrusted bytes.

        Raises:
            MalformedError: They are no such certificate (`certificate.malformed`).
        """
        if len(der) > MAX_BYTES:
            raise _malformed("it is too long")
        whole = _Reader(der)
        outer = _Reader(whole.take(_SEQUENCE))
        whole.end()
        signed = outer.element(_SEQUENCE)
        algorithm = outer.element(_SEQUENCE)
        signature = _bit_string(outer.take(_BITS))
        outer.end()
        body = _Reader(_Reader(signed).take(_SEQUENCE))
        if body.take(_EXPLICIT_0) != b"\x02\x01\x02":
            raise _malformed("it is not of version 3")
        body.take(_INTEGER)
        if body.element(_SEQUENCE) != algorithm or algorithm not in PSS_SHA384:
            raise _malformed("it is not signed as AMD signs")
        issuer = body.element(_SEQUENCE)
        validity = _Reader(body.take(_SEQUENCE))
        not_before, not_after = _time(validity), _time(validity)
        validity.end()
        common_name = _common_name(body.take(_SEQUENCE))
        key = EcdsaKey.from_spki(body.element(_SEQUENCE), "P-384")
        extensions = dict(_extensions(body.take(_EXPLICIT_3)))
        body.end()
        return cls(
            der=der,
            signed=signed,
            signature=signature,
            issuer=issuer,
            common_name=common_name,
            not_before=not_before,
            not_after=not_after,
            key=key,
            extensions=MappingProxyType(extensions),
        )

    def text(self, name: bytes) -> str:
        """Return an extension that is an IA5String, empty where it is not there."""
        if name not in self.extensions:
            return ""
        reader = _Reader(self.extensions[name])
        value = reader.take(_IA5)
        reader.end()
        if not value.isascii() or not value.decode("ascii").isprintable():
            raise _malformed("a text that cannot be shown")
        return value.decode("ascii")

    def number(self, name: bytes) -> int | None:
        """Return an extension that is one byte as INTEGER, None where it is not there."""
        if name not in self.extensions:
            return None
        reader = _Reader(self.extensions[name])
        value = reader.take(_INTEGER)
        reader.end()
        number = int.from_bytes(value, signed=True)
        if not 0 <= number <= _MAX_BYTE or value != number.to_bytes(1 + (number >> 7), "big"):
            raise _malformed("a version that is not one byte")
        return number

    def octets(self, name: bytes, length: int) -> bytes:
        """Return an extension of that many bytes, bare or as OCTET STRING; empty if not there."""
        value = self.extensions.get(name, b"")
        if len(value) == length + 2 and value[:2] == bytes([_OCTETS, length]):
            return value[2:]
        if len(value) not in (0, length):
            raise _malformed(f"{len(value)} bytes instead of {length}")
        return value


class _Reader:
    """Takes DER elements one after the other; whatever is left is an error."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def element(self, tag: int) -> bytes:
        """Take an element and return it whole."""
        begin = self._at
        self.take(tag)
        return self._data[begin : self._at]

    def take(self, tag: int) -> bytes:
        """Take an element and return its content."""
        head = self._data[self._at : self._at + _HEAD]
        if len(head) != _HEAD or head[0] != tag:
            raise _malformed(f"no element {tag:#04x} where one should be")
        begin, length = self._at + _HEAD, head[1]
        if length >= _LONG:
            width = length - _LONG
            number = self._data[begin : begin + width]
            length = int.from_bytes(number)
            if (
                not 1 <= width <= _MAX_LENGTH_BYTES
                or length < _LONG
                or length >> 8 * width - 8 == 0
            ):
                raise _malformed("a length that is not DER")
            begin += width
        self._at = begin + length
        if self._at > len(self._data):
            raise _malformed("it is cut off")
        return self._data[begin : self._at]

    def at(self, tag: int) -> bool:
        """Tell whether the next element has a tag."""
        return self._data[self._at : self._at + 1] == bytes([tag])

    def left(self) -> bool:
        """Tell whether there is a next element."""
        return self._at < len(self._data)

    def end(self) -> None:
        """Refuse what is left."""
        if self.left():
            raise _malformed("more than there should be")


def _bit_string(content: bytes) -> bytes:
    if content[:1] != b"\0":
        raise _malformed("bits that are not bytes")
    return content[1:]


def _time(reader: _Reader) -> int:
    text = reader.take(_UTC)
    if _UTC_TIME.fullmatch(text) is None:
        raise _malformed("a time that is not UTCTime with seconds")
    digits = text[:-1].decode("ascii")
    century = "19" if int(digits[:2]) >= _CENTURY else "20"
    try:
        moment = dt.datetime.strptime(f"{century}{digits}+0000", "%Y%m%d%H%M%S%z")
    except ValueError as e:
        raise _malformed("a time that is none") from e
    return int(moment.timestamp())


def _common_name(name: bytes) -> str:
    found: list[bytes] = []
    reader = _Reader(name)
    while reader.left():
        attribute = _Reader(_Reader(reader.take(_SET)).take(_SEQUENCE))
        if attribute.take(_OID) == _COMMON_NAME:
            found.append(attribute.take(_UTF8))
    if len(found) != 1 or not found[0].isascii() or not found[0].decode("ascii").isprintable():
        raise _malformed("not one common name")
    return found[0].decode("ascii")


def _extensions(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    outer = _Reader(content)
    listed = _Reader(outer.take(_SEQUENCE))
    outer.end()
    seen: set[bytes] = set()
    while listed.left():
        entry = _Reader(listed.take(_SEQUENCE))
        name = entry.take(_OID)
        value = entry.take(_OCTETS)  # a critical one would have a BOOLEAN here
        entry.end()
        if name in seen:
            raise _malformed("an extension that stands twice")
        seen.add(name)
        yield name, value


def _malformed(why: str) -> MalformedError:
    return MalformedError(
        "a certificate of AMD's cannot be read", code="certificate.malformed", detail=why
    )
