"""Heads of usual HTTP/1.1 messages, read by one expression and written by the same one.

Usual is what has one meaning for everybody: GET or POST, or a response with a body of a known
length; lines that end in CRLF; fields of printable ASCII, none twice, on one line each, and none of
them changes how a message ends or what the connection is for. Whatever else comes is not refused
here and not understood either: None says that h11 is to read it, and h11 decides.

So what this module takes is a part of what h11 takes, and means the same.

Spec: serving-v1, clauses SRV-32 and SRV-37.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister.errors import LocalProtocolError

__all__ = [
    "RequestHead",
    "ResponseHead",
    "read_request_head",
    "read_response_head",
    "write_request_head",
    "write_response_head",
]

_FIELDS: Final = rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++: [!-~](?:[ -~]*[!-~])?+\r\n)*+)\r\n"
_REQUEST: Final = re.compile(rb"(GET|POST) (/[!-~]*+) HTTP/1\.1\r\n" + _FIELDS)
_RESPONSE: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) [ -~]*+\r\n" + _FIELDS)
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,14}")
# What these say is h11's to judge: a message that ends otherwise, or another protocol afterwards.
_UNUSUAL: Final = frozenset({"expect", "transfer-encoding", "upgrade"})
_STAYS: Final = "keep-alive"
_BODILESS: Final = frozenset({204, 205, 304})


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its body.

    Attributes:
        method: GET or POST.
        target: Begins with a slash.
        headers: Names in lower case.
        size: Bytes of the head.
        body_bytes: That follow.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    size: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response without its body.

    Attributes:
        status: From 200 to 599.
        headers: Names in lower case.
        size: Bytes of the head.
        body_bytes: That follow.
    """

    status: int
    headers: Mapping[str, str]
    size: int
    body_bytes: int


def read_request_head(data: bytes, *, most: int) -> RequestHead | None:
    """Return the usual head that untrusted bytes begin with; None where it is h11's to judge.

    Args:
        data: What came.
        most: Longest head, in bytes.
    """
    found = _REQUEST.match(data, 0, most)
    if found is None:
        return None
    headers = _headers(found[3])
    if headers is None or "host" not in headers:
        return None
    body_bytes = _length(headers, default="0")
    if body_bytes is None:
        return None
    return RequestHead(
        found[1].decode("ascii"), found[2].decode("ascii"), headers, found.end(), body_bytes
    )


def read_response_head(data: bytes, *, most: int) -> ResponseHead | None:
    """Return the usual head that a response to GET or POST begins with; None where h11 is to judge.

    Args:
        data: What came.
        most: Longest head, in bytes.
    """
    found = _RESPONSE.match(data, 0, most)
    if found is None:
        return None
    status, headers = int(found[1]), _headers(found[2])
    if headers is None or status in _BODILESS:
        return None
    body_bytes = _length(headers, default="")
    return None if body_bytes is None else ResponseHead(status, headers, found.end(), body_bytes)


def write_request_head(
    method: str, target: str, headers: Mapping[str, str], *, body_bytes: int
) -> bytes:
    """Return the head of a request; `headers` say the host, and not how long the body is.

    Raises:
        LocalProtocolError: `protocol.local`: it would not be a usual one.
    """
    return _written(_REQUEST, f"{method} {target} HTTP/1.1", headers, body_bytes, ())


def write_response_head(
    status: int, headers: Mapping[str, str], *, body_bytes: int, last: bool = False
) -> bytes:
    """Return the head of a response; `last` says that the connection ends with it.

    Raises:
        LocalProtocolError: `protocol.local`: it would not be a usual one.
    """
    more = ("connection: close",) if last else ()
    return _written(_RESPONSE, f"HTTP/1.1 {status} ", headers, body_bytes, more)


def _headers(fields: bytes) -> dict[str, str] | None:
    """Return fields that have been matched; None where one is there twice, or is unusual."""
    lines = fields.decode("ascii").split("\r\n")[:-1]
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    if len(headers) != len(lines) or not _UNUSUAL.isdisjoint(headers):
        return None
    return headers if headers.get("connection", _STAYS).lower() == _STAYS else None


def _length(headers: Mapping[str, str], *, default: str) -> int | None:
    text = headers.get("content-length", default)
    return int(text) if _LENGTH.fullmatch(text) else None


def _written(
    form: re.Pattern[bytes],
    first: str,
    headers: Mapping[str, str],
    body_bytes: int,
    more: tuple[str, ...],
) -> bytes:
    fields = (f"{name}: {value}" for name, value in headers.items())
    lines = (first, *fields, f"content-length: {body_bytes}", *more, "", "")
    ends = len(lines) - 1
    try:
        head = "\r\n".join(lines).encode("ascii")
    except UnicodeEncodeError as e:
        raise _not_usual() from e
    if form.fullmatch(head) is None or head.count(b"\r\n") != ends:
        raise _not_usual()
    return head


def _not_usual() -> LocalProtocolError:
    return LocalProtocolError("a field that HTTP cannot say", code="protocol.local")
