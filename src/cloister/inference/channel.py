"""The client's side of HTTP/1.1: one connection, reopened when it has gone stale.

In a `Channel` the server has proved who it is before the first byte is sent; what it answers is
bounded all the same, in size and in time. A `HTTPChannel` is the same over any connection: what it
carries has to be protected by itself.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import h11

from cloister.crypto.x509 import PeerCertificate
from cloister.errors import LocalProtocolError, RemoteProtocolError, UnavailableError
from cloister.inference.service import HTTPRequest, HTTPResponse
from cloister.network.tls import Connection, TLSContext, connect, transfer_error

__all__ = ["Channel", "HTTPChannel"]

_READ_BYTES: Final = 262_144
_HEAD_BYTES: Final = 16384


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
        self._connection: socket.socket | None = None
        self._http = h11.Connection(h11.CLIENT)

    @property
    def where(self) -> str:
        """The address, for messages."""
        return f"{self._address[0]}:{self._address[1]}"

    def exchange(self, request: HTTPRequest) -> HTTPResponse:
        """Send a request that may be repeated, and return the response.

        Raises:
            CloisterError: As from `exchange_fresh`.
        """
        return self.exchange_fresh(lambda: request)

    def exchange_fresh(self, make: Callable[[], HTTPRequest]) -> HTTPResponse:
        """Send a request, and return the response; another is made where it has to be repeated.

        Args:
            make: Makes the request; called again where an idle connection turns out to be closed.

        Raises:
            IdentityError: The server is not the expected one, or refused this client.
            UnavailableError: Nobody there, closed, or too slow.
            RemoteProtocolError: What came back is no HTTP, or too long.
        """
        reused = self._connection is not None
        deadline = time.monotonic() + self._timeout_s
        try:
            return self._try(make(), deadline)
        except UnavailableError:
            if not reused or time.monotonic() >= deadline:
                raise
            return self._try(make(), deadline)  # an idle connection that the server had closed

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _try(self, request: HTTPRequest, deadline: float) -> HTTPResponse:
        done = False
        try:
            connection = self._open()
            with suppress(OSError):  # a server may answer, and close, before it has read it all
                self._send(connection, request, deadline)
            response = self._receive(connection, deadline)
            done = True
        except OSError as e:
            raise transfer_error(e, where=self.where) from e
        except h11.ProtocolError as e:
            if self._http.trailing_data[1]:
                raise self._closed() from e
            raise RemoteProtocolError(
                f"the server at {self.where} does not speak HTTP/1.1", code="protocol.remote"
            ) from e
        finally:
            if not done:
                self.close()
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        else:
            self.close()
        return response

    def _open(self) -> socket.socket:
        if self._connection is None:
            self._connection = self._opener()
            self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        return self._connection

    def _send(self, connection: socket.socket, request: HTTPRequest, deadline: float) -> None:
        headers = [
            ("host", self.where),
            ("content-length", str(len(request.body))),
            *request.headers.items(),
        ]
        head = h11.Request(method=request.method, target=request.target, headers=headers)
        for event in (head, h11.Data(data=request.body), h11.EndOfMessage()):
            data = memoryview(self._http.send(event) or b"")
            while data:
                self._set_timeout(connection, deadline)
                data = data[connection.send(data[:_READ_BYTES]) :]

    def _receive(self, connection: socket.socket, deadline: float) -> HTTPResponse:
        status, body = 0, bytearray()
        headers: dict[str, str] = {}
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._set_timeout(connection, deadline)
                data = connection.recv(_READ_BYTES)
                if not data and not status:
                    raise self._closed()
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                status, headers = event.status_code, _headers(event)
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self.max_response_bytes:
                    raise RemoteProtocolError(
                        f"the response is longer than {self.max_response_bytes} bytes",
                        code="protocol.remote",
                    )
            elif isinstance(event, h11.EndOfMessage):
                return HTTPResponse(status, bytes(body), headers)

    def _closed(self) -> UnavailableError:
        return UnavailableError(
            f"the server at {self.where} closed the connection without a whole answer",
            code="server.unreachable",
            hint="it may not accept this client, or be stopping",
        )

    def _set_timeout(self, connection: socket.socket, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise UnavailableError(
                f"the server at {self.where} took longer than {self._timeout_s:g} s",
                code="server.unreachable",
            )
        connection.settimeout(left)


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
        connection = self._open()
        if not isinstance(connection, Connection):
            raise LocalProtocolError("not a connection of ours", code="protocol.local")
        return connection.peer


def _headers(event: h11.Response) -> dict[str, str]:
    return {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
