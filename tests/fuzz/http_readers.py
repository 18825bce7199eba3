"""What reads HTTP of the model server and its clients, for the fuzzer.

Whatever is read by one expression has to mean what h11 says of the same bytes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

import h11

from cloister.errors import MalformedError
from cloister.inference.body_room import BodyRoom
from cloister.inference.heads import (
    RequestHead,
    ResponseHead,
    read_request_head,
    read_response_head,
)
from cloister.inference.http import Limits, _Connection, _Refused
from cloister.network.timed import TimedSocket

__all__ = ["HTTP"]

_MOST: Final = 16384
_LIVE: Final = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
_SIZED: Final = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a:1\r\nContent-Length: 2\r\n\r\n{}"
_CODED: Final = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: y\r\n\r\n"
)
_TOLD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\nContent-Length: 2\r\n\r\n{}"


def _request(data: bytes) -> object:
    head = read_request_head(data, most=_MOST)
    if head is None:
        raise _unusual()
    http = h11.Connection(h11.SERVER)
    event = _head(http, data[: head.size], head)
    if not isinstance(event, h11.Request) or event.http_version != b"1.1":
        raise AssertionError(event)
    if (event.method.decode(), event.target.decode()) != (head.method, head.target):
        raise AssertionError(event)
    return head


def _response(data: bytes) -> object:
    head = read_response_head(data, most=_MOST)
    if head is None:
        raise _unusual()
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    http.send(h11.EndOfMessage())
    event = _head(http, data[: head.size], head)
    if not isinstance(event, h11.Response) or event.status_code != head.status:
        raise AssertionError(event)
    return head


def _head(http: h11.Connection, data: bytes, head: RequestHead | ResponseHead) -> object:
    """Return h11's head of the same bytes, where fields and end are the same."""
    http.receive_data(data)
    event = http.next_event()
    if not isinstance(event, h11.Request | h11.Response):
        raise AssertionError(event)  # noqa: TRY004  # a finding of the fuzzer
    fields = [(name.decode(), value.decode()) for name, value in event.headers]
    if fields != list(head.headers.items()):
        raise AssertionError(fields)
    behind = http.next_event()
    ended = isinstance(behind, h11.EndOfMessage)
    if ended != (head.body_bytes == 0) or http.their_state is h11.MUST_CLOSE:
        raise AssertionError(behind)
    return event


def _connection(data: bytes) -> object:
    """Take requests from a client that sends this and no more."""
    ours, theirs = socket.socketpair()
    with closing(theirs), closing(ours):
        theirs.settimeout(5)
        theirs.sendall(data[:65536])
        theirs.shutdown(socket.SHUT_WR)
        limits = Limits(body_bytes=1000, response_s=5)
        connection = _Connection(TimedSocket(ours), limits, BodyRoom(limits.unfinished_bytes))
        try:
            return connection.receive(lambda: False)
        except _Refused as e:
            raise MalformedError("refused", code="message.malformed") from e


def _unusual() -> MalformedError:
    return MalformedError("not a usual head", code="message.malformed")


HTTP: Final[Sequence[tuple[Callable[[bytes], object], list[bytes]]]] = (
    (_request, [_LIVE, _SIZED]),
    (_response, [_TOLD]),
    (_connection, [_LIVE, _SIZED, _CODED]),
)
