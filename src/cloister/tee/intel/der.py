"""The little DER that a PCK certificate's extension needs: definite lengths, nothing left over.

X.509 itself is read by `crypto.chain`; this is for the octets inside one of its extensions.
"""

from __future__ import annotations

from typing import Final

from cloister.errors import MalformedError

__all__ = ["BOOLEAN", "ENUMERATED", "INTEGER", "OCTETS", "OID", "SEQUENCE", "Element", "elements"]

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
OCTETS: Final = 0x04
OID: Final = 0x06
ENUMERATED: Final = 0x0A
SEQUENCE: Final = 0x30

_LONG_FORM: Final = 0x80
_MAX_ELEMENTS: Final = 64
Element = tuple[int, bytes]


def elements(data: bytes) -> list[Element]:
    """Split bytes into tag and content of the elements that they consist of, at most 64.

    Raises:
        MalformedError: They are not whole elements of one-byte tags and shortest lengths.
    """
    found: list[Element] = []
    at = 0
    while at < len(data):
        if len(found) == _MAX_ELEMENTS or at + 2 > len(data):
            raise _malformed()
        tag, length = data[at], data[at + 1]
        at += 2
        if length >= _LONG_FORM:
            size = length - _LONG_FORM
            length = int.from_bytes(data[at : at + size])
            shortest = max(1, (length.bit_length() + 7) // 8)
            if size != shortest or length < _LONG_FORM:
                raise _malformed()
            at += size
        if at + length > len(data):
            raise _malformed()
        found.append((tag, data[at : at + length]))
        at += length
    return found


def _malformed() -> MalformedError:
    return MalformedError("an extension is not DER", code="certificate.malformed")
