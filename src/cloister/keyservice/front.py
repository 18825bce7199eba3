"""HTTP in front of a `KeyService`: an ASGI application, groups of requests, and limits.

Whatever requests have come when the service is free make one group: they are decided one after
another, made durable together, and answered after that. A client alone is a group of one.

Only the protocol's four paths are known here. Whatever else is asked goes to another application,
which is made when somebody asks for the first time: it costs the protocol one look into a set.

The parser is uvicorn's and llhttp's; what they leave open is bounded here: the size of a head, the
time for a head, for a body, and between two requests, and the number of connections.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cloister.keyservice.clock import Clock
from cloister.keyservice.messages import MAX_REQUEST_BYTES, MEDIA_TYPE
from cloister.keyservice.metrics import PROTOCOL_PATHS, Metrics
from cloister.keyservice.service import Answer, Call, KeyService
from cloister.keyservice.writes import JoinedWrites

__all__ = ["Application", "BoundedProtocol", "Other"]

BODY_TIMEOUT_S: Final = 10
HEAD_TIMEOUT_S: Final = 10
MAX_HEAD_BYTES: Final = 16384
MAX_CONNECTIONS: Final = 512
MAX_GROUP: Final = 32
_RETRY_AFTER: Final = (b"retry-after", b"1")
_UNAVAILABLE: Final = 503

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Other(Protocol):
    """An application for what is not the protocol's."""

    def has(self, path: str) -> bool:
        """Tell whether there is something at a path."""
        ...

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one HTTP request, however wrong it is."""
        ...


class Application:
    """The ASGI application: one `KeyService`, and the time of the last request."""

    def __init__(
        self,
        service: KeyService,
        *,
        clock: Clock,
        stop: Callable[[], None],
        metrics: Metrics | None = None,
        other: Callable[[], Other] | None = None,
    ) -> None:
        """Answer from `service`; call `stop` when its state cannot be trusted any more.

        Args:
            service: Answers the protocol's requests.
            clock: Read for each group.
            stop: Ends the server.
            metrics: Where answers are counted.
            other: Makes the application for everything that is not the protocol's.
        """
        self._service = service
        self._metrics = metrics or Metrics()
        self._make_other = other
        self._other: Other | None = None
        self._clock = clock
        self._stop = stop
        self._waiting: deque[tuple[Call, asyncio.Future[Answer]]] = deque()
        self.last_request: float = clock().uptime

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        self.last_request = self._clock().uptime
        if scope["path"] not in PROTOCOL_PATHS and self._make_other is not None:
            self._other = self._other or self._make_other()
            if scope["method"] != "POST" or self._other.has(scope["path"]):
                await self._other(scope, receive, send)
                return
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _read_body(receive)
        except TimeoutError:
            await _respond(send, 408, b"")
            return
        if body is None:
            await _respond(send, 413, b"")
            return
        if scope["method"] != "POST":
            await _respond(send, 405, b"", (b"allow", b"POST"))
            return
        answer = await self._answer(Call(scope["path"], body))
        await _respond(send, answer.status, answer.body)

    def _answer(self, call: Call) -> asyncio.Future[Answer]:
        """Have a call answered, with whatever else comes in this turn of the loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((call, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._take_turn)
        return future

    def _take_turn(self) -> None:
        group = [self._waiting.popleft() for _ in range(min(MAX_GROUP, len(self._waiting)))]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._take_turn)
        try:
            answers = self._service.handle_together([call for call, _ in group], self._clock())
        except BaseException as e:
            for _, future in group:
                future.set_exception(e)
            raise
        self._metrics.groups.observe(len(group))
        for (call, future), answer in zip(group, answers, strict=True):
            self._metrics.answered(call.path, answer.code)
            if not future.cancelled():
                future.set_result(answer)
        if any(answer.fatal for answer in answers):
            self._stop()


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's connection, with an end to heads that are long, slow, or never come."""

    _head: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _answered = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a first request soon."""
        super().connection_made(JoinedWrites(transport))  # type: ignore[arg-type]
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._head_is_over()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a head is complete."""
        if self._answered:
            self._answered = False
            self._expect_head()
        if self._head is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head is not None and self._head_bytes > MAX_HEAD_BYTES:
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Refuse a head that came whole and is too long; the rest has its own limits."""
        self._head_is_over()
        if sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            raise ValueError("a head is too long")  # llhttp's caller answers 400
        if len(self.connections) > MAX_CONNECTIONS:
            self.app = _overloaded
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Expect another request, whose head has a time of its own once it begins."""
        self._answered = True
        super().on_response_complete()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        loop = asyncio.get_running_loop()
        self._head = loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _head_is_over(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        self.transport.abort()


async def _read_body(receive: _Receive) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_REQUEST_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _overloaded(scope: _Scope, receive: _Receive, send: _Send) -> None:
    """Answer a connection more than there may be: it is closed, and may come again."""
    del scope, receive
    await _respond(send, _UNAVAILABLE, b"")


async def _respond(send: _Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-length", str(len(body)).encode()), *more]
    if status == _UNAVAILABLE:
        headers.append(_RETRY_AFTER)
    if body:
        headers.append((b"content-type", MEDIA_TYPE.encode()))
    else:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
