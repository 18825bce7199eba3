"""Binary HTTP messages of known length (RFC 9292), read strictly and within limits.

Narrower than the RFC: numbers in their shortest form only, field names once each and in lower case,
no interim responses, no trailers, nothing of one connection. Zeros after the message are padding.

Spec: private-query-v1, clauses PQ-30 to PQ-37.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from cloister.errors import LocalProtocolError, MalformedError
from cloister.inference.service import HTTPRequest, HTTPResponse
from cloister.wire.binary import BinaryReader

__all__ = [
    "CONNECTION_FIELDS",
    "MAX_FIELDS_BYTES",
    "is_field",
    "is_method",
    "read_request",
    "read_response",
    "write_request",
    "write_response",
]

CONNECTION_FIELDS: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields that are about one connection, or that the message says itself."""

_REQUEST, _RESPONSE = 0, 1
_MAX_FIELDS: Final = 64
MAX_FIELDS_BYTES: Final = 16384
_MAX_TARGET: Final = 4096
_MAX_AUTHORITY: Final = 255
_METHOD: Final = re.compile(rb"[A-Z]{1,16}")
_SCHEME: Final = b"https"
_TARGET: Final = re.compile(rb"/[\x21-\x7e]*")
_AUTHORITY: Final = re.compile(rb"[\x21-\x7e]*")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]{1,128}")
_VALUE: Final = re.compile(
    rb"([\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
)
_STATUS: Final = range(200, 600)


def is_method(text: str) -> bool:
    """Tell whether `read_request` takes this as a method."""
    return _METHOD.fullmatch(text.encode("latin-1", "replace")) is not None


def is_field(name: str, value: str) -> bool:
    """Tell whether this is a field, of whatever length."""
    line = name.encode("latin-1", "replace"), value.encode("latin-1", "replace")
    return _NAME.fullmatch(line[0]) is not None and _VALUE.fullmatch(line[1]) is not None


def write_request(request: HTTPRequest) -> bytes:
    """Write a request; padding, and what a connection carries it over, are the caller's.

    Raises:
        LocalProtocolError: It has no form here that `read_request` would take.
    """
    control = [_REQUEST_BYTE]
    control += [
        _counted(part)
        for part in (
            request.method.encode("latin-1"),
            _SCHEME,
            b"",
            request.target.encode("latin-1"),
        )
    ]
    return b"".join([*control, _section(request.headers), _counted(bytes(request.body)), b"\0"])


def read_request(data: bytes) -> HTTPRequest:
    """Read an untrusted request.

    Raises:
        MalformedError: It is none (`message.malformed`).
    """
    reader = BinaryReader(data, cut_off=_malformed)
    if _number(reader) != _REQUEST:
        raise _malformed()
    method = _part(reader, _METHOD, 16)
    if _bytes(reader, len(_SCHEME)) != _SCHEME:
        raise _malformed()
    _part(reader, _AUTHORITY, _MAX_AUTHORITY)
    target = _part(reader, _TARGET, _MAX_TARGET)
    headers = _fields(reader)
    body = _content(reader)
    return HTTPRequest(method.decode("ascii"), target.decode("ascii"), headers, body)


def write_response(response: HTTPResponse, *, size: int | None = None) -> bytes | None:
    """Write a response, padded to `size` bytes; None where it is longer than that."""
    data = b"".join(
        [
            _RESPONSE_BYTE,
            _varint(response.status),
            _section(response.headers),
            _counted(response.body),
            b"\0",
        ]
    )
    if size is None:
        return data
    return data.ljust(size, b"\0") if len(data) <= size else None


def read_response(data: bytes) -> HTTPResponse:
    """Read an untrusted response.

    Raises:
        MalformedError: It is none (`message.malformed`).
    """
    reader = BinaryReader(data, cut_off=_malformed)
    if _number(reader) != _RESPONSE:
        raise _malformed()
    status = _number(reader)
    if status not in _STATUS:
        raise _malformed()
    headers = _fields(reader)
    return HTTPResponse(status, _content(reader), headers)


def _section(headers: Mapping[str, str]) -> bytes:
    lines = []
    for name, value in headers.items():
        if not is_field(name, value):
            raise LocalProtocolError(f"no header field: {name}", code="protocol.local")
        lines.append(_counted(name.encode("ascii")) + _counted(value.encode("latin-1", "replace")))
    return _counted(b"".join(lines))


def _fields(reader: BinaryReader) -> dict[str, str]:
    found: dict[str, str] = {}
    if not reader.left:  # cut off where everything that follows is empty
        return found
    section = BinaryReader(_bytes(reader, MAX_FIELDS_BYTES), cut_off=_malformed)
    while section.left:
        name = _part(section, _NAME, 128).decode("ascii")
        value = _part(section, _VALUE, MAX_FIELDS_BYTES).decode("latin-1")
        if name in found or name in CONNECTION_FIELDS or len(found) == _MAX_FIELDS:
            raise _malformed()
        found[name] = value
    return found


def _content(reader: BinaryReader) -> bytes:
    """Take the content, and see that neither trailers nor anything but zeros follow."""
    body = _bytes(reader, reader.left) if reader.left else b""
    rest = reader.rest()
    if rest.count(0) != len(rest):
        raise _malformed()
    return body


def _part(reader: BinaryReader, form: re.Pattern[bytes], limit: int) -> bytes:
    found = _bytes(reader, limit)
    if form.fullmatch(found) is None:
        raise _malformed()
    return found


def _bytes(reader: BinaryReader, limit: int) -> bytes:
    size = _number(reader)
    if size > limit:
        raise _malformed()
    return reader.take(size)


def _number(reader: BinaryReader) -> int:
    """Take a number of 1, 2, 4 or 8 bytes (RFC 9000, section 16) that is no shorter otherwise."""
    first = reader.take(1)
    more = (1 << (first[0] >> 6)) - 1
    number = int.from_bytes(first + reader.take(more), "big") & ((1 << (8 * more + 6)) - 1)
    if len(_varint(number)) != more + 1:
        raise _malformed()
    return number


def _varint(number: int) -> bytes:
    for power in range(4):
        size = 1 << power
        if number < 1 << (8 * size - 2):
            return (number | power << (8 * size - 2)).to_bytes(size, "big")
    raise LocalProtocolError("no number of this format", code="protocol.local")


def _counted(part: bytes) -> bytes:
    return _varint(len(part)) + part


def _malformed() -> MalformedError:
    return MalformedError("not a binary HTTP message of this profile", code="message.malformed")


_REQUEST_BYTE: Final = _varint(_REQUEST)
_RESPONSE_BYTE: Final = _varint(_RESPONSE)
