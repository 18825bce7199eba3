"""Requests and responses of HTTP as values, and the responses that every page has."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister.errors import CloisterError, ConfigError, UnavailableError
from cloister.inference.json_answer import write_answer

__all__ = [
    "HTTPRequest",
    "HTTPResponse",
    "compressed",
    "failure",
    "failure_of",
    "json_response",
    "not_allowed",
    "nothing",
    "too_long",
    "unforeseen",
]

_RETRY_S: Final = "1"
# What became of a query, by the code of its error. Of others, what may go better later is 503, and
# everything else the server's failure.
_STATUS: Final = {
    "message.malformed": 400,
    "private.answer-size": 413,
    "server.busy": 503,
    "server.late": 504,
}
_LOG: Final = logging.getLogger(__name__)
_RETRY: Final = frozenset({429, 503, 504})


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
    fallback = 503 if isinstance(error, UnavailableError) else 500
    return failure(_STATUS.get(error.code, fallback), error.public)


def unforeseen(error: Exception) -> HTTPResponse:
    """Return what a client is told of an error that nobody foresaw; it is the same for all.

    The log has the error's class and the line that raised it, and not its words, which may be the
    query's.
    """
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = "" if frame is None else f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
    _LOG.error("query failed unforeseen error=%s at=%s", type(error).__name__, place)
    return failure(500, "the server failed at this query, which is an error of its own")


def compressed(headers: Mapping[str, str]) -> HTTPResponse | None:
    """Return the refusal of a body that is compressed, by its headers; None where it is not."""
    coding = headers.get("content-encoding", "identity")
    if coding.lower() == "identity":
        return None
    shown = "".join(c if c.isprintable() else "?" for c in coding[:64])
    answer = failure(415, f"Content-Encoding: {shown} is not taken; send the body as it is")
    return HTTPResponse(415, answer.body, {**answer.headers, "accept-encoding": "identity"})


def json_response(status: int, record: object) -> HTTPResponse:
    """Return a response of JSON; what `write_answer` takes."""
    return HTTPResponse(status, write_answer(record), {"content-type": "application/json"})


def too_long(size: int) -> ConfigError:
    """Return the refusal of an answer that does not fit the size that answers have."""
    return ConfigError(
        f"the answer is longer than the {size} bytes that answers of this model have",
        code="private.answer-size",
    )


def not_allowed(method: str) -> HTTPResponse:
    """Return the refusal of another method than that one."""
    answer = failure(405, f"this page takes {method} only")
    return HTTPResponse(405, answer.body, {**answer.headers, "allow": method})


def nothing() -> HTTPResponse:
    """Return success without a body."""
    return HTTPResponse(200, b"")
