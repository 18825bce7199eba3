"""HTTP/1.1 over attested TLS: sockets, limits and deadlines around a `Pages`.

Every wait has an end: for the handshake, for the first byte, for a whole request, for a client to
take its response. Every size has a limit. Queries run or wait in threads, which are few; one too
many is told to come back later.

Spec: serving-v1, clauses SRV-30 to SRV-39.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import h11

from cloister.inference.answers import HTTPRequest, HTTPResponse, failure
from cloister.network.tls import TLSContext

__all__ = ["HTTPServer", "Limits", "Pages"]

_LOG: Final = logging.getLogger(__name__)
_READ_BYTES: Final = 262_144
_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 2**26


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask of the server.

    Attributes:
        body_bytes: Longest body of a request.
        head_bytes: Longest request line with headers.
        connections: Open at one time.
        waiting: Computations that wait or run at one time.
        handshake_s: For TLS.
        idle_s: Between requests of one connection.
        request_s: From the first byte of a request to its last.
        response_s: For the client to take a response.
        grace_s: For requests in progress when the server stops.
    """

    body_bytes: int = 32 * 2**20
    head_bytes: int = 16384
    connections: int = 64
    waiting: int = 16
    handshake_s: float = 10.0
    idle_s: float = 60.0
    request_s: float = 30.0
    response_s: float = 30.0
    grace_s: float = 5.0


class Pages(Protocol):
    """What answers whole requests, such as an `InferenceService`."""

    def handle(self, request: HTTPRequest) -> HTTPResponse:
        """Answer; nothing is raised. Called from several threads."""
        ...

    def is_quick(self, request: HTTPRequest) -> bool:
        """Tell whether answering takes no time worth a thread."""
        ...


class _Refused(Exception):  # noqa: N818  # control flow within this module
    """The request cannot be answered by the service; carries what to say before closing."""

    def __init__(self, response: HTTPResponse) -> None:
        super().__init__(response.status)
        self.response = response


class HTTPServer:
    """Serves one listening socket until it is told to stop."""

    def __init__(
        self,
        service: Pages,
        *,
        context: TLSContext | None,
        limits: Limits,
        refused: Callable[[int], None] | None = None,
    ) -> None:
        """Take the pages, the TLS settings and the limits.

        Args:
            service: What answers requests.
            context: TLS settings. Without them, everything that is sent must be protected by
                itself, or stay on this machine.
            limits: What one client may ask.
            refused: Is told the status of each request that reaches no page.
        """
        self._service = service
        self._refused = refused or (lambda _status: None)
        self._context = context
        self._limits = limits
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._stopping = False
        self._waiting = 0
        self._workers = ThreadPoolExecutor(limits.waiting, thread_name_prefix="query")

    async def serve(self, listener: socket.socket, *, stop: asyncio.Event) -> None:
        """Accept connections until `stop` is set, then let those in progress finish."""
        tls: dict[str, Any] = {}
        if self._context is not None:
            tls = {
                "ssl": self._context,
                "ssl_handshake_timeout": self._limits.handshake_s,
                "ssl_shutdown_timeout": 1.0,
            }
        server = await asyncio.start_server(self._accept, sock=listener, limit=_READ_BYTES, **tls)
        async with server:
            await stop.wait()
            server.close()
            await self._finish()
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def _finish(self) -> None:
        """End idle connections now, and the others when they have answered or time is up."""
        self._stopping = True
        for connection, task in self._connections.items():
            if connection.idle:
                task.cancel()
        if self._connections:
            await asyncio.wait(self._connections.values(), timeout=self._limits.grace_s)
        left = list(self._connections.values())
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task of its own, which may be cancelled before it begins."""
        connection = _Connection(reader, writer, self._limits)
        task = asyncio.get_running_loop().create_task(self._connected(connection))
        self._connections[connection] = task
        task.add_done_callback(lambda _task: self._connections.pop(connection, None))
        task.add_done_callback(lambda _task: connection.drop())

    async def _connected(self, connection: _Connection) -> None:
        try:
            if len(self._connections) > self._limits.connections:
                self._refused(503)
                await connection.send(failure(503, "too many connections; try again later"))
                return
            while not self._stopping and await self._exchange(connection):
                pass
        except asyncio.CancelledError:
            _LOG.info("connection ended reason=stopping")  # the task ends here either way
        except (TimeoutError, OSError, h11.LocalProtocolError) as e:
            _LOG.info("connection ended reason=%s", type(e).__name__)
        finally:
            await connection.close()

    async def _exchange(self, connection: _Connection) -> bool:
        """Answer one request; return whether another may follow."""
        try:
            request = await connection.receive()
        except _Refused as e:
            self._refused(e.response.status)
            await connection.send(e.response)
            await connection.linger()
            return False
        if request is None:
            return False
        response = await self._answer(request)
        await connection.send(response)
        return connection.may_go_on()

    async def _answer(self, request: HTTPRequest) -> HTTPResponse:
        if self._service.is_quick(request):
            return self._service.handle(request)
        if self._waiting >= self._limits.waiting:
            self._refused(503)
            return failure(503, "too many queries; try again later")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._workers, self._service.handle, request)
        finally:
            self._waiting -= 1


class _Connection:
    """One connection as a sequence of requests and responses."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: Limits
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self.idle = True
        wire = writer.get_extra_info("socket")
        if wire.family in {socket.AF_INET, socket.AF_INET6}:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)

    async def receive(self) -> HTTPRequest | None:
        """Return the next request, or None where the client is done."""
        async with asyncio.timeout(self._limits.idle_s):
            event = self._next_event()
            if event is h11.NEED_DATA:
                self.idle = True
                await self._feed()
                event = self._next_event()
        self.idle = False
        try:
            async with asyncio.timeout(self._limits.request_s):
                return await self._receive_all(event)
        except TimeoutError as e:
            raise _Refused(failure(408, "the request took too long")) from e

    async def _receive_all(self, event: object) -> HTTPRequest | None:
        head: h11.Request | None = None
        body = bytearray()
        while not isinstance(event, h11.EndOfMessage):
            if event is h11.NEED_DATA:
                await self._continue()
                await self._feed()
            elif isinstance(event, h11.Request):
                head = event
                self._require_head(head)
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._limits.body_bytes:
                    raise _Refused(self._too_large())
            else:
                return None
            event = self._next_event()
        if head is None:
            return None
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        target = head.target.decode("ascii", "replace")
        return HTTPRequest(head.method.decode("ascii"), target, headers, bytes(body))

    async def send(self, response: HTTPResponse) -> None:
        """Send a response, and close afterwards where nothing can follow."""
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        headers = [(name, value) for name, value in response.headers.items()]
        headers.append(("content-length", str(len(response.body))))
        if self._http.their_state is not h11.DONE:
            headers.append(("connection", "close"))
        head = h11.Response(status_code=response.status, headers=headers)
        events: list[h11.Event] = [head, h11.Data(data=response.body), h11.EndOfMessage()]
        self._writer.write(b"".join(self._http.send(event) or b"" for event in events))
        async with asyncio.timeout(self._limits.response_s):
            await self._writer.drain()

    async def linger(self) -> None:
        """Read and drop what a refused client still sends, for a while.

        Closing while its bytes are on the way would reset the connection, and the client might
        lose the answer that says why.
        """
        left = _LINGER_BYTES
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_LINGER_S):
                while left > 0 and (data := await self._reader.read(_READ_BYTES)):
                    left -= len(data)

    def may_go_on(self) -> bool:
        """Prepare for the next request, where both sides are willing."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False

    async def close(self) -> None:
        """Close the connection, without waiting for a client that does not."""
        self._writer.close()
        try:
            async with asyncio.timeout(2):
                await self._writer.wait_closed()
        except (OSError, TimeoutError, asyncio.CancelledError):
            self._writer.transport.abort()  # cancelled while it stops: the task ends here as well

    def drop(self) -> None:
        """End the connection at once, where it is still there."""
        self._writer.transport.abort()

    def _next_event(self) -> object:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as e:
            raise _Refused(failure(e.error_status_hint, "not an HTTP request")) from e

    async def _feed(self) -> None:
        data = await self._reader.read(_READ_BYTES)
        try:
            self._http.receive_data(data)
        except h11.RemoteProtocolError as e:
            raise _Refused(failure(400, "not an HTTP request")) from e

    async def _continue(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            self._writer.write(self._http.send(go_on) or b"")
            await self._writer.drain()

    def _require_head(self, head: h11.Request) -> None:
        if head.http_version not in {b"1.0", b"1.1"}:
            raise _Refused(failure(505, "this server speaks HTTP/1.1"))
        size = len(head.target) + sum(len(name) + len(value) for name, value in head.headers)
        if size > self._limits.head_bytes:  # h11 bounds only what arrives in pieces
            raise _Refused(failure(431, f"a head has at most {self._limits.head_bytes} bytes"))
        for name, value in head.headers:
            if name == b"content-length" and int(value) > self._limits.body_bytes:
                raise _Refused(self._too_large())

    def _too_large(self) -> HTTPResponse:
        return failure(413, f"a request has at most {self._limits.body_bytes} bytes")
