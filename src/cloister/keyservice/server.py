"""The process around a key service: its socket, its clock, its start and its end.

Run as `python -m cloister.keyservice.server --domain DIR`. It prints one line of JSON when it is
ready (`url`, `identity`), or one with `error` if it cannot start, and exits with that error's
status. What a connection may do stands in `front`; at most `MAX_CONNECTIONS` are open at once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn
import uvloop

from cloister.errors import CloisterError, ConfigError, UnavailableError
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.front import Application, BoundedProtocol
from cloister.keyservice.leases import LEASE_TTL_S
from cloister.keyservice.service import KeyService
from cloister.keyservice.store import Store

__all__ = ["DATABASE_VARIABLE", "ServerSettings", "main", "serve"]

DATABASE_VARIABLE: Final = "CLOISTER_DATABASE"
IDLE_CONNECTION_S: Final = 75
MAX_CONNECTIONS: Final = 512
_SOCKET_NAME: Final = "service.sock"
_MAX_SOCKET_PATH: Final = 100
_PR_SET_DUMPABLE: Final = 4
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One server's settings.

    Attributes:
        domain: The trust domain's directory.
        listen: `HOST:PORT` (port 0 lets the kernel choose), or empty for the unix socket in
            `DIR/keyservice`.
        idle_exit_s: Exit after so many seconds without a request; 0 for never.
        lease_ttl_s: Lifetime of a lease.
        database: `postgresql://` address of a state that replicas share; empty for the embedded
            one in `DIR/keyservice`. It holds no password.
    """

    domain: Path
    listen: str
    idle_exit_s: int
    lease_ttl_s: int
    database: str = ""


def serve(settings: ServerSettings, *, ready: Callable[[dict[str, str]], None]) -> None:
    """Serve until SIGINT, SIGTERM, idleness, or damage to the state.

    Args:
        settings: What to serve and where.
        ready: Called once, with `url` and `identity`, when connections are accepted.

    Raises:
        CloisterError: The state or the address cannot be used.
    """
    domain = TrustDomain.load(settings.domain)
    store = _open(settings, domain)
    with contextlib.ExitStack() as stack:
        stack.callback(store.close)
        service = KeyService(store, moment=read_clock(), lease_ttl_s=settings.lease_ttl_s)
        if service.identity != domain.identity:
            raise ConfigError(
                "domain.json and the key service's state do not belong together", code="config.file"
            )
        listener, url = _listen(settings, domain)
        stack.callback(listener.close)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(service, listener, url, settings, ready))


def _open(settings: ServerSettings, domain: TrustDomain) -> Store:
    if not settings.database:
        return Store.open(domain.keyservice_directory, domain.platform())
    if not settings.listen:
        raise ConfigError(
            "a replica of a shared state listens on an address of its own",
            code="config.value",
            hint="--listen HOST:PORT, and the load balancer's address as url in domain.json",
        )
    return Store.open_shared(settings.database, domain.platform())


async def _run(
    service: KeyService,
    listener: socket.socket,
    url: str,
    settings: ServerSettings,
    ready: Callable[[dict[str, str]], None],
) -> None:
    def stop() -> None:
        server.should_exit = True

    application = Application(service, clock=read_clock, stop=stop)
    config = uvicorn.Config(
        app=application,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_CONNECTION_S,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    announced = asyncio.create_task(_announce(server, lambda: ready(_facts(service, url))))
    idle = asyncio.create_task(_stop_when_idle(server, application, settings.idle_exit_s))
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in (announced, idle):
            task.cancel()


def main(arguments: list[str]) -> int:
    """Run the server as a process; returns its exit status."""
    settings = _read_arguments(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    _hide_memory()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    try:
        serve(settings, ready=_print_line)
    except CloisterError as e:
        _LOG.error("server.failed code=%s detail=%s", e.code, e.detail)
        _print_line({"error": {"code": e.code, "message": e.public}})
        return e.exit_status
    return 0


def _leave(number: int, frame: object) -> None:
    """End through the ordinary way out, which closes the database; the server raises it again."""
    del number, frame
    raise SystemExit(0)


async def _announce(server: uvicorn.Server, ready: Callable[[], None]) -> None:
    while not server.started:
        await asyncio.sleep(0.002)
    ready()


async def _stop_when_idle(
    server: uvicorn.Server, application: Application, idle_exit_s: int
) -> None:
    while idle_exit_s:
        await asyncio.sleep(min(1.0, idle_exit_s / 4))
        if read_clock().uptime - application.last_request > idle_exit_s:
            server.should_exit = True
            return


def _facts(service: KeyService, url: str) -> dict[str, str]:
    return {"url": url, "identity": service.identity.text}


def _listen(settings: ServerSettings, domain: TrustDomain) -> tuple[socket.socket, str]:
    if not settings.listen:
        path = domain.keyservice_directory.resolve() / _SOCKET_NAME
        return _listen_unix(path), f"unix://{path}"
    host, separator, port = settings.listen.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004
        raise ConfigError(f"{settings.listen!r} is not HOST:PORT", code="config.value")
    try:
        listener = socket.create_server((host or "127.0.0.1", int(port)), backlog=256)
    except OSError as e:
        raise UnavailableError(
            f"cannot listen on {settings.listen}: {e.strerror}", code="keyservice.busy"
        ) from e
    return listener, f"http://{host or '127.0.0.1'}:{listener.getsockname()[1]}"


def _listen_unix(path: Path) -> socket.socket:
    """Replace a dead server's socket; the store's lock has shown that none is alive."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path.unlink(missing_ok=True)
        short = len(os.fsencode(path)) <= _MAX_SOCKET_PATH
        listener.bind(str(path) if short else f"/proc/self/fd/{directory}/{path.name}")
        path.chmod(0o600)
        listener.listen(256)
    except OSError as e:
        listener.close()
        raise UnavailableError(
            f"cannot listen on {path}: {e.strerror}", code="keyservice.state"
        ) from e
    finally:
        os.close(directory)
    return listener


def _hide_memory() -> None:
    """No core dumps, and no other process of this user may read this one's memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _print_line(facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _read_arguments(arguments: list[str]) -> ServerSettings:
    parser = argparse.ArgumentParser(prog="python -m cloister.keyservice.server")
    parser.add_argument("--domain", type=Path, required=True, help="the trust domain's directory")
    parser.add_argument("--listen", default="", metavar="HOST:PORT", help="default: a unix socket")
    parser.add_argument("--idle-exit", type=int, default=0, metavar="SECONDS")
    parser.add_argument("--lease-ttl", type=int, default=LEASE_TTL_S, metavar="SECONDS")
    parser.add_argument(
        "--database",
        default=os.environ.get(DATABASE_VARIABLE, ""),
        metavar="ADDRESS",
        help=f"postgresql:// without a password (default: ${DATABASE_VARIABLE}, else embedded)",
    )
    found = parser.parse_args(arguments)
    return ServerSettings(
        found.domain, found.listen, found.idle_exit, found.lease_ttl, found.database
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
