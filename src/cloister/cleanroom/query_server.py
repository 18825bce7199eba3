"""Connections of those who ask: sockets, a clock, and one thread that computes.

A connection has one request at a time. What is sent when follows from when requests came
(`query_windows`), never from what they hold or how long they took: a result that is not there when
its window ends is thrown away, and an answer of the same size says so.

Spec: cleanroom-query-v1, clauses CQ-17 to CQ-23.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cloister.cleanroom.query_message import (
    NONCE_BYTES,
    Answer,
    Greeting,
    Outcome,
    QueryRules,
    Session,
)
from cloister.cleanroom.query_service import QueryService, Reply
from cloister.cleanroom.query_windows import Clock, Windows
from cloister.crypto.kdf import random_bytes
from cloister.network.tls import TLSContext

__all__ = ["QueryLimits", "QueryServer"]

_LOG: Final = logging.getLogger("cloister.cleanroom")
_READ_BYTES: Final = 262_144
SLOW_TICKS: Final = 32
_MARGIN: Final = 0.1  # of a tick, before its end


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one who connects may ask of the server.

    Attributes:
        connections: Open at one time; one more is closed at once.
        handshake_s: For TLS.
        idle_s: Between answers and the next request.
        request_s: From the first byte of a request to its last.
        take_s: For somebody to take an answer.
    """

    connections: int = 64
    handshake_s: float = 10.0
    idle_s: float = 300.0
    request_s: float = 30.0
    take_s: float = 10.0


@dataclass(slots=True)
class _Query:
    """A request that waits for its window, and then for its time to leave."""

    data: bytes
    session: Session
    done: asyncio.Future[bytes]


class QueryServer:
    """Serves one listening socket until it is told to stop."""

    def __init__(
        self,
        service: QueryService,
        *,
        identity: str,
        context: TLSContext,
        limits: QueryLimits | None = None,
    ) -> None:
        """Take who decides, and how TLS is spoken.

        Args:
            service: Decides.
            identity: The SPIFFE ID of the certificate that the context shows.
            context: Of a server.
            limits: Of connections.
        """
        self._service = service
        self._rules: QueryRules = service.rules
        self._identity = identity
        self._context = context
        self._limits = limits or QueryLimits()
        self._clock = Clock(time.monotonic(), self._rules.tick_s)
        self._windows: Windows[_Query] = Windows()
        self._leaving: dict[int, list[tuple[_Query, bytes]]] = {}
        self._held: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="query")
        self._working: Future[Reply] | None = None

    async def serve(self, listener: socket.socket, *, stop: asyncio.Event) -> None:
        """Accept connections until `stop` is set; what is asked then gets no answer."""
        server = await asyncio.start_server(
            self._connected,
            sock=listener,
            ssl=self._context,
            ssl_handshake_timeout=self._limits.handshake_s,
            ssl_shutdown_timeout=1.0,
            limit=_READ_BYTES,
        )
        ticking = asyncio.create_task(self._tick_on())
        stopping = asyncio.create_task(stop.wait())
        async with server:
            await asyncio.wait({ticking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            server.close()
            for task in (ticking, stopping, *self._tasks):
                task.cancel()
            await asyncio.gather(ticking, stopping, *self._tasks, return_exceptions=True)
        if not stop.is_set():
            ticking.result()  # it never ends by itself: our bug
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        try:
            if task is None or len(self._tasks) >= self._limits.connections:
                return
            self._tasks.add(task)
            await self._converse(reader, writer)
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError) as e:
            # Whoever it was is gone or slow, or the server stops.
            _LOG.debug("a connection ended: %s", type(e).__name__)
        finally:
            if task is not None:
                self._tasks.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonce = random_bytes(NONCE_BYTES)
        await self._send(writer, Greeting(self._rules.room, nonce).to_bytes())
        number = 0
        while True:
            first = await asyncio.wait_for(reader.readexactly(1), self._limits.idle_s)
            rest = self._rules.request_bytes - 1
            data = first + await asyncio.wait_for(reader.readexactly(rest), self._limits.request_s)
            session = Session(self._rules.room, self._identity, nonce, number)
            query = _Query(data, session, asyncio.get_running_loop().create_future())
            self._windows.put(query, came=self._clock.window(time.monotonic()))
            await self._send(writer, await query.done)
            number += 1

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await asyncio.wait_for(writer.drain(), self._limits.take_s)

    async def _tick_on(self) -> None:
        """At the beginning of each window send what is due, then begin what is next."""
        window = self._clock.window(time.monotonic())
        before: _Query | None = None
        while True:
            window = max(window + 1, self._clock.window(time.monotonic()))
            await asyncio.sleep(max(0.0, self._clock.begins(window) - time.monotonic()))
            if before is not None:
                self._leave(before, window)
            for query, answer in self._leaving.pop(window, []):
                _send_off(query, answer)
            for late in [each for each in self._leaving if each < window]:
                for query, answer in self._leaving.pop(late):
                    _send_off(query, answer)
            self._held = {name: until for name, until in self._held.items() if until > window}
            before = self._begin(window)

    def _begin(self, window: int) -> _Query | None:
        """Have the window's query worked on, if there is one and the one before is done."""
        due = self._windows.take(window)
        for number, query in due:
            if number != window or (self._working is not None and not self._working.done()):
                late = Answer(Outcome.LATE, query.session.number).to_bytes(self._rules)
                self._leaving.setdefault(window + 1, []).append((query, late))
                continue
            deadline = self._clock.begins(window) + (1 - _MARGIN) * self._rules.tick_s
            self._working = self._worker.submit(
                self._service.answer,
                query.data,
                query.session,
                deadline=deadline,
                held=frozenset(self._held),
            )
            return query
        return None

    def _leave(self, query: _Query, window: int) -> None:
        """Decide what leaves in this window, or later, of the query that was worked on."""
        working = self._working
        reply = Reply(Answer(Outcome.FAILED, query.session.number))
        if working is not None and working.done() and working.exception() is None:
            reply = working.result()
        data = reply.answer.to_bytes(self._rules)
        until = window
        if reply.slow:
            until = window + SLOW_TICKS
            self._held[reply.slow] = until
        self._leaving.setdefault(until, []).append((query, data))


def _send_off(query: _Query, answer: bytes) -> None:
    if not query.done.done():
        query.done.set_result(answer)
