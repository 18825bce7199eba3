"""HTTP/1.1 over attested TLS: sockets, limits and deadlines around a `Pages`.

Every wait has an end: for the handshake, for the first byte, for a whole request, for a client to
take its response. Every size has a limit. Strangers shake hands in the event loop; who may come in
has a thread, which reads, answers and writes, so that a query is handed to nobody. Queries that
run or wait are few; one too many is told to come back later. Where every place is taken, the one
who has sent or taken nothing for longest makes room for a newcomer.

A usual head is read by one expression, and everything else by h11.

Spec: serving-v1, clauses SRV-30 to SRV-39.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import h11

from cloister.errors import CloisterError
from cloister.inference.answers import HTTPRequest, HTTPResponse, failure
from cloister.inference.body_room import FREE_BYTES, BodyRoom
from cloister.inference.heads import read_request_head, write_response_head
from cloister.inference.message import BINARY_HEADER
from cloister.network.timed import TimedSocket
from cloister.network.tls import TLSContext
from cloister.network.welcome import accept, let_go

__all__ = ["CLIENT_THREAD", "HTTPServer", "Limits", "Pages"]

CLIENT_THREAD: Final = "client"

_LOG: Final = logging.getLogger(__name__)
_READ_BYTES: Final = 65_536
_ODD_LINES: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)|\n[ \t]")
_ABSOLUTE: Final = re.compile(
    r"https?://(?P<authority>[A-Za-z0-9.\-_:\[\]]{1,255})(?P<rest>([/?].*)?)", re.IGNORECASE
)
_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 2**26
_FRAMING_BYTES: Final = 2**18  # fifty thousand chunks, beside what they carry
_STALLED_S: Final = 2.0
_BACKLOG: Final = 128
_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask of the server.

    Attributes:
        body_bytes: Longest body of a request.
        unfinished_bytes: Of bodies that are not whole, all together, beside the first mebibyte of
            each; at least one longest body.
        head_bytes: Longest request line with headers.
        connections: Open at one time; each has a thread. For one more, the one ends that has been
            idle for longest; or is stalled within a message.
        arriving: Strangers who shake hands at one time; for one more, the oldest of them ends.
        waiting: Computations that wait or run at one time.
        handshake_s: For TLS.
        idle_s: Between requests of one connection.
        request_s: From the first byte of a request to its last.
        response_s: For the client to take a response.
        grace_s: For requests in progress when the server stops.
    """

    body_bytes: int = 32 * 2**20
    unfinished_bytes: int = 256 * 2**20
    head_bytes: int = 16384
    connections: int = 64
    arriving: int = 256
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
            refused: Is told the status of each request that reaches no page; from any thread.
        """
        self._service = service
        self._refused = refused or (lambda _status: None)
        self._context = context
        self._limits = limits
        self._room = BodyRoom(max(limits.unfinished_bytes, limits.body_bytes))
        self._connections: set[_Connection] = set()
        self._cut: set[_Connection] = set()  # and their threads have not noticed yet
        self._arriving: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._stopping = False
        self._lock = threading.Lock()
        self._waiting = 0

    async def serve(self, listener: socket.socket, *, stop: asyncio.Event) -> None:
        """Accept connections until `stop` is set, then let those in progress finish.

        A computation that takes longer than the grace is left to itself, in a thread of the name
        `CLIENT_THREAD`.
        """
        self._ended = asyncio.Event()
        listener.settimeout(0)
        listener.listen(_BACKLOG)
        accepting = asyncio.create_task(self._accept(listener))
        try:
            await stop.wait()
        finally:
            accepting.cancel()
            with suppress(asyncio.CancelledError):
                await accepting
            listener.close()
            await self._finish()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                plain, _ = await loop.sock_accept(listener)
            except OSError as e:
                _LOG.warning("nothing accepted reason=%s", errno.errorcode.get(e.errno or 0))
                await asyncio.sleep(_PAUSE_S)  # too many files are open, most likely
                continue
            # A handshake takes milliseconds: whoever is the oldest of so many is slow on purpose.
            while len(self._arriving) >= self._limits.arriving:
                oldest = next(iter(self._arriving))
                oldest.cancel()
                del self._arriving[oldest]
            task = loop.create_task(self._welcome(plain))
            self._arriving[task] = None
            task.add_done_callback(lambda done: self._arriving.pop(done, None))
            await asyncio.sleep(0)  # it has the socket: one that never began could not close it

    async def _welcome(self, plain: socket.socket) -> None:
        """Give who may come in a thread."""
        connected: socket.socket = plain
        try:
            if self._context is not None:
                connected = await accept(
                    plain, context=self._context, timeout_s=self._limits.handshake_s
                )
            wire = TimedSocket(connected)
        except (OSError, CloisterError) as e:
            connected.close()
            _LOG.info("no connection reason=%s", type(e).__name__)
            return
        if not self._has_place() or not self._start(wire):
            await self._turn_away(wire)

    def _has_place(self) -> bool:
        """Tell whether one more may come in, for whom the one that is quiet for longest ends."""
        if len(self._connections) < self._limits.connections:
            return True
        quiet = [each for each in self._connections if each.is_quiet(time.monotonic())]
        if not quiet or len(self._cut) >= self._limits.connections:
            return False
        longest = min(quiet, key=lambda each: each.wire.moved)
        self._connections.discard(longest)
        self._cut.add(longest)
        longest.wire.cut()
        return True

    def _start(self, wire: TimedSocket) -> bool:
        connection = _Connection(wire, self._limits, self._room)
        loop = asyncio.get_running_loop()
        thread = threading.Thread(  # a process does not wait for it once the grace is over
            target=self._connected, args=(connection, loop), name=CLIENT_THREAD, daemon=True
        )
        self._connections.add(connection)
        try:
            thread.start()
        except RuntimeError as e:
            _LOG.warning("no thread for a connection: %s", e)
            self._connections.discard(connection)
            return False
        return True

    async def _turn_away(self, wire: TimedSocket) -> None:
        """Say that there is no room, where that goes out at once."""
        self._refused(503)
        response = failure(503, "too many connections; try again later")
        with suppress(OSError):
            wire.write(_head(response, last=True), response.body, deadline=0)
        await let_go(wire.socket)

    async def _finish(self) -> None:
        """End idle connections now, and the others when they have answered or time is up."""
        self._stopping = True
        for task in list(self._arriving):
            task.cancel()
        for connection in self._connections:
            if connection.idle:
                connection.wire.cut()
        await self._until_empty(self._limits.grace_s)
        for connection in self._connections:
            connection.wire.cut()
        await self._until_empty(1)

    async def _until_empty(self, timeout_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._connections:
                    self._ended.clear()
                    await self._ended.wait()

    def _connected(self, connection: _Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Serve one connection, in a thread of its own, from its first request to its end."""
        try:
            while self._exchange(connection):
                pass
        except (OSError, CloisterError, h11.LocalProtocolError) as e:
            _LOG.info("connection ended reason=%s", type(e).__name__)
        finally:
            connection.wire.close()
            with suppress(RuntimeError):  # the loop has ended by then
                loop.call_soon_threadsafe(self._forget, connection)

    def _forget(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._cut.discard(connection)
        self._ended.set()

    def _exchange(self, connection: _Connection) -> bool:
        """Answer one request; return whether another may follow."""
        try:
            request = connection.receive(lambda: self._stopping)
        except _Refused as e:
            self._refused(e.response.status)
            connection.send(e.response)
            connection.linger()
            return False
        if request is None:
            return False
        response = self._answer(request)
        connection.send(response)
        return connection.may_go_on()

    def _answer(self, request: HTTPRequest) -> HTTPResponse:
        if self._service.is_quick(request):
            return self._service.handle(request)
        with self._lock:
            busy = self._waiting >= self._limits.waiting
            self._waiting += 0 if busy else 1
        if busy:
            self._refused(503)
            return failure(503, "too many queries; try again later")
        try:
            return self._service.handle(request)
        finally:
            with self._lock:
                self._waiting -= 1


class _Connection:
    """One connection as a sequence of requests and responses.

    Attributes:
        wire: The socket.
        idle: Whether no request has begun; read by the loop.
        asked: Whether a request is whole and its answer is not there yet; read by the loop.
    """

    def __init__(self, wire: TimedSocket, limits: Limits, room: BodyRoom) -> None:
        self.wire = wire
        self.idle = True
        self.asked = False
        self._limits = limits
        self._room = room
        self._taken = 0  # of the room
        self._came = b""  # and belongs to no request yet
        self._whole = False  # a usual request came to its end
        self._http: h11.Connection | None = None  # has an unusual one
        self._head_alone = False  # is what was asked for

    def is_quiet(self, now: float) -> bool:
        """Tell whether it is between requests, or nothing of a message comes or goes."""
        return not self.asked and (self.idle or now - self.wire.moved > _STALLED_S)

    def receive(self, stopping: Callable[[], bool]) -> HTTPRequest | None:
        """Return the next request, or None where the client is done, or we are."""
        self.idle, self._whole, self._head_alone = True, False, False
        if stopping():
            return None
        if not self._came:
            end = time.monotonic() + self._limits.idle_s
            self._came = self.wire.read(_READ_BYTES, deadline=end)
            if not self._came:
                return None
        self.idle = False
        try:
            request = self._receive_by(time.monotonic() + self._limits.request_s)
        except TimeoutError as e:
            raise _Refused(failure(408, "the request took too long")) from e
        finally:
            self._give_back()
        self.asked = True
        return request

    def _grow(self, size: int) -> None:
        """Take room for more of a body."""
        if not self._room.take(size):
            raise _Refused(failure(503, "too many long requests are on their way; try again later"))
        self._taken += size

    def _give_back(self) -> None:
        if self._taken:
            self._room.give_back(self._taken)
            self._taken = 0

    def _receive_by(self, deadline: float) -> HTTPRequest | None:
        head = read_request_head(self._came, most=self._limits.head_bytes)
        if head is None:
            return self._receive_unusual(deadline)
        if head.body_bytes > self._limits.body_bytes:
            raise _Refused(self._too_large())
        end = head.size + head.body_bytes
        came, self._came = self._came[head.size : end], self._came[end:]
        body = self.wire.read_on(came, head.body_bytes, deadline=deadline, grow=self._grow)
        if body is None:
            raise _Refused(failure(400, "not an HTTP request"))
        self._whole = True
        return HTTPRequest(head.method, head.target, head.headers, body)

    def _receive_unusual(self, deadline: float) -> HTTPRequest | None:
        """Have h11 read the request, from its first byte."""
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.head_bytes)
        self._http = http
        head: h11.Request | None = None
        body = bytearray()
        lines, self._came = self._came, b""  # until the head is over
        came = len(lines)
        try:
            http.receive_data(lines)
            event = http.next_event()
            while not isinstance(event, h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    self._continue(http, deadline)
                    data = self.wire.read(_READ_BYTES, deadline=deadline)
                    lines += data if head is None else b""
                    came += len(data)
                    if came - len(body) > self._limits.head_bytes + _FRAMING_BYTES:
                        raise _Refused(failure(413, "the body comes in too many pieces"))
                    http.receive_data(data)
                elif isinstance(event, h11.Request):
                    head = event
                    self._head_alone = head.method == b"HEAD"
                    _require_lines(lines)
                    self._require_head(head)
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > self._limits.body_bytes:
                        raise _Refused(self._too_large())
                    while len(body) > FREE_BYTES + self._taken:
                        self._grow(FREE_BYTES)
                else:
                    return None
                event = http.next_event()
        except h11.RemoteProtocolError as e:
            raise _Refused(failure(e.error_status_hint, "not an HTTP request")) from e
        if head is None:
            return None
        return _whole(head, bytes(body))

    def send(self, response: HTTPResponse) -> None:
        """Send a response, and say that it is the last where nothing can follow."""
        self.wire.moved = time.monotonic()  # how long the answer took is not the client's doing
        self.asked = False
        deadline = self.wire.moved + self._limits.response_s
        http = self._http
        if http is None:
            self.wire.write(_head(response, last=not self._whole), response.body, deadline=deadline)
        elif http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self.wire.write(self._told_by(http, response), deadline=deadline)

    def _told_by(self, http: h11.Connection, response: HTTPResponse) -> bytes:
        """Return a response to an unusual request."""
        headers = [(name, value) for name, value in response.headers.items()]
        headers.append(("content-length", str(len(response.body))))
        if http.their_state is not h11.DONE:
            headers.append(("connection", "close"))
        events: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers)]
        if not self._head_alone:
            events.append(h11.Data(data=response.body))
        events.append(h11.EndOfMessage())
        return b"".join(http.send(event) or b"" for event in events)

    def linger(self) -> None:
        """Read and drop what a refused client still sends, for a while."""
        self.wire.drop_input(_LINGER_BYTES, deadline=time.monotonic() + _LINGER_S)

    def may_go_on(self) -> bool:
        """Prepare for the next request, where both sides are willing."""
        http, self._http = self._http, None
        if http is None:
            return self._whole
        self._came = http.trailing_data[0]
        return http.our_state is h11.DONE and http.their_state is h11.DONE

    def _continue(self, http: h11.Connection, deadline: float) -> None:
        if http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            self.wire.write(http.send(go_on) or b"", deadline=deadline)

    def _require_head(self, head: h11.Request) -> None:
        if head.http_version not in {b"1.0", b"1.1"}:
            raise _Refused(failure(505, "this server speaks HTTP/1.1"))
        size = len(head.target) + sum(len(name) + len(value) for name, value in head.headers)
        if size > self._limits.head_bytes:  # h11 bounds only what arrives in pieces
            raise _Refused(failure(431, f"a head has at most {self._limits.head_bytes} bytes"))
        names = {name for name, _ in head.headers}
        marks = {value for name, value in head.headers if name == BINARY_HEADER.encode()}
        if len(marks) > 1:
            raise _Refused(failure(400, f"{BINARY_HEADER} is there twice"))
        if {b"content-length", b"transfer-encoding"} <= names:
            raise _Refused(failure(400, "a body has one length"))
        for name, value in head.headers:
            if name == b"content-length" and int(value) > self._limits.body_bytes:
                raise _Refused(self._too_large())

    def _too_large(self) -> HTTPResponse:
        return failure(413, f"a request has at most {self._limits.body_bytes} bytes")


def _require_lines(data: bytes) -> None:
    """Refuse a head in whose lines h11 sees more than others may: bare ends, and folded fields."""
    head, end, _ = data.partition(b"\r\n\r\n")
    if not end or _ODD_LINES.search(head):
        raise _Refused(failure(400, "not an HTTP request"))


def _whole(head: h11.Request, body: bytes) -> HTTPRequest:
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    target, authority = _origin_form(head.target.decode("ascii", "replace"))
    if authority:
        headers["host"] = authority
    return HTTPRequest(head.method.decode("ascii"), target, headers, body)


def _origin_form(target: str) -> tuple[str, str]:
    """Return path and query of a request's target, and the host that it names if it is a URL."""
    url = _ABSOLUTE.fullmatch(target)
    if url is None:
        return target, ""
    path = url["rest"]
    return (path if path.startswith("/") else f"/{path}"), url["authority"]


def _head(response: HTTPResponse, *, last: bool) -> bytes:
    """Return the head of a response that is not h11's to write."""
    size = len(response.body)
    return write_response_head(response.status, response.headers, body_bytes=size, last=last)
