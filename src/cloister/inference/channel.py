"""The client's side of HTTP/1.1: one connection, reopened when it has gone stale.

In a `Channel` the server has proved who it is before the first byte is sent; what it answers is
bounded all the same, in size and in time. A `HTTPChannel` is the same over any connection: what it
carries has to be protected by itself.

A usual head is read by one expression, and everything else by h11.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import h11

from cloister.crypto.x509 import PeerCertificate
from cloister.errors import LocalProtocolError, RemoteProtocolError, UnavailableError
from cloister.inference.answers import HTTPRequest, HTTPResponse
from cloister.inference.heads import read_response_head, write_request_head
from cloister.network.timed import TimedSocket
from cloister.network.tls import Connection, TLSContext, connect, transfer_error

__all__ = ["Channel", "HTTPChannel"]

_READ_BYTES: Final = 65_536
_HEAD_BYTES: Final = 16384


@dataclass(slots=True)
class _Exchange:
    """What became of one request.

    Attributes:
        request: Sent.
        deadline: When its answer is of no use any more.
        sent: Whether all of it was.
        answered: Whether the answer came, with nothing behind it.
    """

    request: HTTPRequest
    deadline: float
    sent: bool = False
    answered: bool = False


class HTTPChannel:
    """A connection to one address. Not safe to share between threads."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        opener: Callable[[], socket.socket],
        timeout_s: float,
        max_response_bytes: int,
    ) -> None:
        """Take how to get there; nothing is opened yet.

        Args:
            address: Host and port, for the `Host` field and for messages.
            opener: Connects within `timeout_s`, or raises an error of ours.
            timeout_s: For each exchange, connecting included.
            max_response_bytes: Longest body that is accepted.
        """
        self._address = address
        self._opener = opener
        self._timeout_s = timeout_s
        self.max_response_bytes = max_response_bytes
        self._wire: TimedSocket | None = None

    @property
    def where(self) -> str:
        """The address, for messages."""
        return f"{self._address[0]}:{self._address[1]}"

    def exchange(self, request: HTTPRequest) -> HTTPResponse:
        """Send a request, and return the response.

        Raises:
            CloisterError: As from `exchange_fresh`.
        """
        return self.exchange_fresh(lambda: request)

    def exchange_fresh(self, make: Callable[[], HTTPRequest]) -> HTTPResponse:
        """Send a request, and return the response.

        One request is sent whole, at most: whoever has it all may have had it answered.

        Args:
            make: Makes the request; called again where an idle connection turned out to be closed
                before it had taken all of the first.

        Raises:
            IdentityError: The server is not the expected one, or refused this client.
            UnavailableError: Nobody there, closed, or too slow.
            RemoteProtocolError: What came back is no HTTP, or too long.
        """
        deadline = time.monotonic() + self._timeout_s
        if self._wire is not None and not self._wire.is_quiet():
            self.close()  # ended meanwhile, or something came that answers nothing
        reused = self._wire is not None
        first = _Exchange(make(), deadline)
        try:
            return self._try(first)
        except UnavailableError:
            if first.sent or not reused or time.monotonic() >= deadline:
                raise
        return self._try(_Exchange(make(), deadline))

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _try(self, exchange: _Exchange) -> HTTPResponse:
        try:
            wire = self._open()
            with suppress(OSError):  # a server may answer, and close, before it has read it all
                self._send(wire, exchange)
            return self._receive(wire, exchange)
        except TimeoutError as e:
            raise UnavailableError(
                f"the server at {self.where} took longer than {self._timeout_s:g} s",
                code="server.unreachable",
            ) from e
        except OSError as e:
            raise transfer_error(e, where=self.where) from e
        finally:
            if not (exchange.sent and exchange.answered):
                self.close()

    def _open(self) -> TimedSocket:
        if self._wire is None:
            self._wire = TimedSocket(self._opener())
        return self._wire

    def _send(self, wire: TimedSocket, exchange: _Exchange) -> None:
        request = exchange.request
        head = write_request_head(
            request.method,
            request.target,
            {"host": self.where, **request.headers},
            body_bytes=len(request.body),
        )
        wire.write(head, request.body, deadline=exchange.deadline)
        exchange.sent = True

    def _receive(self, wire: TimedSocket, exchange: _Exchange) -> HTTPResponse:
        data = wire.read(_READ_BYTES, deadline=exchange.deadline)
        if not data:
            raise self._closed()
        head = read_response_head(data, most=_HEAD_BYTES)
        if head is None:
            return self._receive_unusual(wire, exchange, data)
        if head.body_bytes > self.max_response_bytes:
            raise self._too_long()
        end = head.size + head.body_bytes
        body = wire.read_on(data[head.size : end], head.body_bytes, deadline=exchange.deadline)
        if body is None:
            raise self._closed()
        exchange.answered = len(data) <= end
        return HTTPResponse(head.status, bytes(body), head.headers)

    def _receive_unusual(self, wire: TimedSocket, exchange: _Exchange, data: bytes) -> HTTPResponse:
        """Have h11 read the response, from its first byte."""
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        asked = h11.Request(method=exchange.request.method, target="/", headers=[("host", "x")])
        for sent in (asked, h11.EndOfMessage()):  # what h11 needs to know: which method it was
            http.send(sent)
        status, body = 0, bytearray()
        headers: dict[str, str] = {}
        try:
            http.receive_data(data)
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(wire.read(_READ_BYTES, deadline=exchange.deadline))
                elif isinstance(event, h11.Response):
                    status, headers = event.status_code, _headers(event)
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > self.max_response_bytes:
                        raise self._too_long()
                elif isinstance(event, h11.EndOfMessage):
                    stays = http.our_state is h11.DONE and http.their_state is h11.DONE
                    exchange.answered = stays and not http.trailing_data[0]
                    return HTTPResponse(status, bytes(body), headers)
        except h11.ProtocolError as e:
            if http.trailing_data[1]:
                raise self._closed() from e
            raise RemoteProtocolError(
                f"the server at {self.where} does not speak HTTP/1.1", code="protocol.remote"
            ) from e

    def _too_long(self) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"the response is longer than {self.max_response_bytes} bytes", code="protocol.remote"
        )

    def _closed(self) -> UnavailableError:
        return UnavailableError(
            f"the server at {self.where} closed the connection without a whole answer",
            code="server.unreachable",
            hint="it may not accept this client, or be stopping",
        )


class Channel(HTTPChannel):
    """A connection to one server that has proved who it is."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        context: TLSContext,
        timeout_s: float,
        max_response_bytes: int,
    ) -> None:
        """Take where the server is; nothing is opened yet.

        Args:
            address: Host and port.
            context: From `client_context`; it says who the server must be.
            timeout_s: For each exchange, connecting included.
            max_response_bytes: Longest body that is accepted.
        """
        super().__init__(
            address,
            opener=lambda: connect(address, context=context, timeout_s=timeout_s),
            timeout_s=timeout_s,
            max_response_bytes=max_response_bytes,
        )

    @property
    def peer(self) -> PeerCertificate:
        """What the server proved; connects where that has not happened."""
        connection = self._open().socket
        if not isinstance(connection, Connection):
            raise LocalProtocolError("not a connection of ours", code="protocol.local")
        return connection.peer


def _headers(event: h11.Response) -> dict[str, str]:
    return {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
