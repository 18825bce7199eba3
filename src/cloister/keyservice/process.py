"""What every server process here does alike: begin, listen, say that it is ready, end.

It prints one line of JSON when it is ready, or one with `error` if it cannot start, and exits with
that error's status. SIGTERM and SIGINT end it through the ordinary way out. It leaves no core dump,
and no other process of its user may read its memory: it holds keys.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import Final

import uvicorn

from cloister.errors import CloisterError, ConfigError, UnavailableError, UnsupportedError

__all__ = ["announce", "listen_tcp", "run"]

_MAX_PORT: Final = 65535
_PR_SET_DUMPABLE: Final = 4
_LOG: Final = logging.getLogger(__name__)


def run(serve: Callable[[Callable[[dict[str, str]], None]], None], handler: logging.Handler) -> int:
    """Serve until a signal; returns the process's exit status.

    Args:
        serve: Serves, and calls what it is given with its public facts when it is ready.
        handler: Where the log goes.
    """
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    started = False

    def ready(facts: dict[str, str]) -> None:
        nonlocal started
        started = True
        _print_line(facts)

    try:
        _hide_memory()
        serve(ready)
    except CloisterError as e:
        _LOG.error("server.failed code=%s detail=%s", e.code, e.detail)
        if not started:  # whoever started it listens no more than until it is ready
            _print_line({"error": {"code": e.code, "message": e.public}})
        return e.exit_status
    return 0


async def announce(server: uvicorn.Server, ready: Callable[[], None]) -> None:
    """Call `ready` once the server accepts connections."""
    while not server.started:
        await asyncio.sleep(0.002)
    ready()


def listen_tcp(address: str, *, backlog: int) -> tuple[socket.socket, str]:
    """Listen on `HOST:PORT`; returns the socket and its URL. Port 0 lets the kernel choose.

    Raises:
        ConfigError: That is no address.
        UnavailableError: It cannot be listened on.
    """
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > _MAX_PORT:
        raise ConfigError(f"{address!r} is not HOST:PORT", code="config.value")
    host = host or "127.0.0.1"
    try:
        listener = socket.create_server((host, int(port)), backlog=backlog)
    except OSError as e:
        raise UnavailableError(
            f"cannot listen on {address}: {e.strerror}", code="keyservice.busy"
        ) from e
    return listener, f"http://{host}:{listener.getsockname()[1]}"


def _hide_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise UnsupportedError("cannot hide this process's memory", code="machine.kernel")


def _leave(number: int, frame: object) -> None:
    """End through the ordinary way out, which closes the state; a server raises it again."""
    del number, frame
    raise SystemExit(0)


def _print_line(facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
