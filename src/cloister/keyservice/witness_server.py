"""Sockets, time and the process around `witness`: ASGI on uvicorn.

Its ready line has `url` and `witness`, the key that readers configure.

Limits: bodies of `MAX_REQUEST_BYTES`, `BODY_TIMEOUT_S` to send one, `MAX_CONNECTIONS` at once.
Requests are judged one after another: nothing happens between a judgement and its durability.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn

from cloister.crypto.signature import VerifyingKey
from cloister.errors import CloisterError
from cloister.keyservice.clock import Clock, read_clock
from cloister.keyservice.process import announce, listen_tcp, run
from cloister.keyservice.witness import (
    ADD_CHECKPOINT_PATH,
    MAX_REQUEST_BYTES,
    Verdict,
    Witness,
)
from cloister.keyservice.witness_state import WitnessState

__all__ = ["Application", "WitnessSettings", "main", "serve"]

BODY_TIMEOUT_S: Final = 10
IDLE_CONNECTION_S: Final = 75
MAX_CONNECTIONS: Final = 256
_LOG: Final = logging.getLogger(__name__)

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """One witness's settings.

    Attributes:
        state: The folder with its key and what it has seen.
        name: Under which it cosigns.
        listen: `HOST:PORT`; port 0 lets the kernel choose.
        logs: The key of each log by its origin.
    """

    state: Path
    name: str
    listen: str
    logs: Mapping[str, VerifyingKey]


class Application:
    """The ASGI application: one witness over one open state."""

    def __init__(self, witness: Witness, state: WitnessState, *, clock: Clock) -> None:
        """Judge by `witness`, and keep what it says in `state`."""
        self._witness = witness
        self._state = state
        self._clock = clock

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _read_body(receive)
        except TimeoutError:
            await _respond(send, Verdict(408))
            return
        await _respond(send, self._answer(scope, body))

    def _answer(self, scope: _Scope, body: bytes | None) -> Verdict:
        if body is None:
            return Verdict(413)
        if scope["path"] != ADD_CHECKPOINT_PATH:
            return Verdict(404)
        if scope["method"] != "POST":
            return Verdict(405)
        verdict = self._witness.judge(body, self._state.held, at=self._clock().at)
        try:
            if verdict.origin:
                self._state.put(verdict.origin, verdict.held, verdict.keep)
        except CloisterError as e:
            _LOG.warning("witness.state code=%s", e.code)
            return Verdict(503)
        _LOG.info("witness.answered status=%d size=%d", verdict.status, verdict.held.size)
        return verdict


def serve(settings: WitnessSettings, *, ready: Callable[[dict[str, str]], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: What to serve and where.
        ready: Called once, with `url` and `witness`, when connections are accepted.

    Raises:
        CloisterError: State, name or address cannot be used.
    """
    with contextlib.ExitStack() as stack:
        state = stack.enter_context(WitnessState(settings.state, settings.name, settings.logs))
        listener, url = listen_tcp(settings.listen, backlog=64)
        stack.callback(listener.close)
        application = Application(Witness(state.cosigner, settings.logs), state, clock=read_clock)
        facts = {"url": url, "witness": state.cosigner.public.text}
        asyncio.run(_run(application, listener, lambda: ready(facts)))


def main(settings: WitnessSettings) -> int:
    """Run the witness as a process; returns its exit status."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    return run(lambda ready: serve(settings, ready=ready), handler)


async def _run(
    application: Application, listener: socket.socket, ready: Callable[[], None]
) -> None:
    config = uvicorn.Config(
        app=application,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_CONNECTION_S,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=MAX_REQUEST_BYTES,
    )
    server = uvicorn.Server(config)
    announced = asyncio.create_task(announce(server, ready))
    try:
        await server.serve(sockets=[listener])
    finally:
        announced.cancel()


async def _read_body(receive: _Receive) -> bytes | None:
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        data += message.get("body", b"")
        if len(data) > MAX_REQUEST_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(data)


async def _respond(send: _Send, verdict: Verdict) -> None:
    headers = [(b"content-length", str(len(verdict.body)).encode())]
    if verdict.body:
        headers.append((b"content-type", verdict.media_type.encode()))
    if verdict.status in {408, 413}:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": verdict.status, "headers": headers})
    await send({"type": "http.response.body", "body": verdict.body})
