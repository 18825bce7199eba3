"""Requests and responses of HTTP as values, and the responses that every page has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister.errors import CloisterError

__all__ = [
    "HTTPRequest",
    "HTTPResponse",
    "failure",
    "failure_of",
    "json_response",
    "not_allowed",
    "nothing",
]

_RETRY_S: Final = "1"
# What became of a query, by the code of its error; everything else is the server's failure.
_STATUS: Final = {"message.malformed": 400, "server.busy": 503, "server.late": 504}
_RETRY: Final = frozenset({503, 504})


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """A request whose body is complete; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | bytearray


@dataclass(frozen=True, slots=True)
class HTTPResponse:
    """A response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def failure(status: int, sentence: str) -> HTTPResponse:
    """Return the protocol's error object; where trying again may help, when."""
    answer = json_response(status, {"error": sentence})
    if status in _RETRY:
        return HTTPResponse(status, answer.body, {**answer.headers, "retry-after": _RETRY_S})
    return answer


def failure_of(error: CloisterError) -> HTTPResponse:
    """Return what a client is told of an error."""
    return failure(_STATUS.get(error.code, 500), error.public)


def json_response(status: int, record: object) -> HTTPResponse:
    """Return a response of JSON."""
    body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return HTTPResponse(status, body, {"content-type": "application/json"})


def not_allowed(method: str) -> HTTPResponse:
    """Return the refusal of another method than that one."""
    answer = failure(405, f"this page takes {method} only")
    return HTTPResponse(405, answer.body, {**answer.headers, "allow": method})


def nothing() -> HTTPResponse:
    """Return success without a body."""
    return HTTPResponse(200, b"")
