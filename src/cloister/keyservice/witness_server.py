"""Sockets, time and the process around `witness`: ASGI on uvicorn.

It prints one line of JSON when it is ready (`url`, and `witness`, the key that readers configure),
or one with `error` if it cannot start, and exits with that error's status.

Limits: bodies of `MAX_REQUEST_BYTES`, `BODY_TIMEOUT_S` to send one, `MAX_CONNECTIONS` at once.
Requests are judged one after another: nothing happens between a judgement and its durability.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn

from cloister.crypto.signature import VerifyingKey
from cloister.errors import CloisterError, ConfigError, UnavailableError
from cloister.keyservice.clock import Clock, read_clock
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
        listener, url = _listen(settings.listen)
        stack.callback(listener.close)
        application = Application(Witness(state.cosigner, settings.logs), state, clock=read_clock)
        facts = {"url": url, "witness": state.cosigner.public.text}
        asyncio.run(_run(application, listener, lambda: ready(facts)))


def main(settings: WitnessSettings) -> int:
    """Run the witness as a process; returns its exit status."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    try:
        serve(settings, ready=_print_line)
    except CloisterError as e:
        _LOG.error("witness.failed code=%s detail=%s", e.code, e.detail)
        _print_line({"error": {"code": e.code, "message": e.public}})
        return e.exit_status
    return 0


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
    announced = asyncio.create_task(_announce(server, ready))
    try:
        await server.serve(sockets=[listener])
    finally:
        announced.cancel()


async def _announce(server: uvicorn.Server, ready: Callable[[], None]) -> None:
    while not server.started:
        await asyncio.sleep(0.002)
    ready()


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


def _listen(listen: str) -> tuple[socket.socket, str]:
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004
        raise ConfigError(f"{listen!r} is not HOST:PORT", code="config.value")
    try:
        listener = socket.create_server((host or "127.0.0.1", int(port)), backlog=64)
    except OSError as e:
        raise UnavailableError(
            f"cannot listen on {listen}: {e.strerror}", code="keyservice.busy"
        ) from e
    return listener, f"http://{host or '127.0.0.1'}:{listener.getsockname()[1]}"


def _leave(number: int, frame: object) -> None:
    """End through the ordinary way out."""
    del number, frame
    raise SystemExit(0)


def _print_line(facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
