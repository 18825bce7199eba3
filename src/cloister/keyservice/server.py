"""The process around a key service: its socket, its clock, its start and its end.

Run as `python -m cloister.keyservice.server --domain DIR`; its ready line has `url` and `identity`.
What connections may do, and how many there may be, stands in `front`.

SIGTERM and SIGINT end it: it listens no more, answers what it has accepted, for `GRACE_S` at most,
and closes the state. SIGHUP has it read its own endorsements again, where it has any.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn
import uvloop

from cloister.attestation.evidence import Evidence, ReportData
from cloister.crypto.signature import VerifyingKey
from cloister.errors import ConfigError, TamperedError, UnavailableError
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.fetching import Fetching, Get
from cloister.keyservice.front import Application, BoundedProtocol, Other
from cloister.keyservice.leases import LEASE_TTL_S
from cloister.keyservice.logs import JSONFormatter
from cloister.keyservice.metrics import Gauges, Metrics, TimedFreshness
from cloister.keyservice.own_endorsements import OwnEndorsements
from cloister.keyservice.process import announce, listen_tcp, run
from cloister.keyservice.service import KeyService
from cloister.keyservice.source_messages import read_address
from cloister.keyservice.store import Store
from cloister.keyservice.transport import HTTPTransport
from cloister.keyservice.witnessing import WitnessCircle, WitnessEndpoint
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.platform import SimPlatform

__all__ = ["DATABASE_VARIABLE", "ServerSettings", "main", "serve"]

GRACE_S: Final = 5
DATABASE_VARIABLE: Final = "CLOISTER_DATABASE"
IDLE_CONNECTION_S: Final = 75
WITNESS_DEADLINE_S: Final = 3.0
_SOCKET_NAME: Final = "service.sock"
_MAX_SOCKET_PATH: Final = 100
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
        witnesses: `URL=KEY` of those who see every change before it is answered.
        witness_quorum: How many of them must.
        log_format: `text` or `json`.
        sources: `HOST:PORT` of stores and other key services that values may be fetched from;
            nothing else is reached.
        database: `postgresql://` address of a state that replicas share; empty for the embedded
            one in `DIR/keyservice`. It holds no password.
        endorsements: Files, folders and bundles with endorsements of the service's own.
        collectors: Whose bundles are taken, as text.
    """

    domain: Path
    listen: str
    idle_exit_s: int
    lease_ttl_s: int
    witnesses: tuple[str, ...] = ()
    witness_quorum: int = 0
    log_format: str = "text"
    database: str = ""
    sources: tuple[str, ...] = ()
    endorsements: tuple[Path, ...] = ()
    collectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What one running server is made of."""

    domain: TrustDomain
    store: Store
    service: KeyService
    metrics: Metrics
    get: Get | None
    endorsements: OwnEndorsements


def serve(
    settings: ServerSettings, *, ready: Callable[[dict[str, str]], None], get: Get | None
) -> None:
    """Serve until SIGINT, SIGTERM, idleness, or damage to the state.

    Args:
        settings: What to serve and where.
        ready: Called once, with `url` and `identity`, when connections are accepted.
        get: Reaches stores of others; None where this process has no way to any.

    Raises:
        TamperedError: The state turned out to be damaged while it was served (`state.tampered`).
        CloisterError: The state or the address cannot be used.
    """
    for address in settings.sources:
        read_address(address)
    if settings.sources and get is None:
        raise ConfigError(
            "this process cannot reach other stores",
            code="config.value",
            hint="cloister keyservice serve --external-source HOST:PORT",
        )
    endorsements = OwnEndorsements(
        settings.endorsements, collectors=_collectors(settings.collectors)
    )
    domain = TrustDomain.load(settings.domain)
    store = _open(settings, domain)
    with contextlib.ExitStack() as stack:
        stack.callback(_LOG.info, "server.stopped")
        stack.callback(store.close)
        service = KeyService(
            store,
            moment=read_clock(),
            attester=_LaterMeasured(domain.platform()),
            witnesses=_circle(settings),
            lease_ttl_s=settings.lease_ttl_s,
            endorsements=endorsements,
        )
        if service.identity != domain.identity:
            raise ConfigError(
                "domain.json and the key service's state do not belong together", code="config.file"
            )
        metrics = Metrics()
        store.watch(
            lambda witness: TimedFreshness(
                witness, clock=lambda: read_clock().uptime, observe=metrics.commits.observe
            )
        )
        parts = _Parts(domain, store, service, metrics, get, endorsements)
        listener, url = _listen(settings, domain)
        stack.callback(listener.close)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(parts, listener, url, settings, ready))


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
    parts: _Parts,
    listener: socket.socket,
    url: str,
    settings: ServerSettings,
    ready: Callable[[dict[str, str]], None],
) -> None:
    damaged = False

    def stop() -> None:
        nonlocal damaged
        damaged = server.should_exit = True

    application = Application(
        parts.service,
        clock=read_clock,
        stop=stop,
        metrics=parts.metrics,
        other=lambda: _make_web(parts, stop, lambda: len(server.server_state.connections)),
    )
    config = uvicorn.Config(
        app=application,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=IDLE_CONNECTION_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = uvicorn.Server(config)
    if settings.endorsements:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, parts.endorsements.reload)
    announced = asyncio.create_task(announce(server, lambda: ready(_facts(parts.service, url))))
    idle = asyncio.create_task(_stop_when_idle(server, application, settings.idle_exit_s))
    tasks = [announced, idle]
    if parts.get is not None:
        fetching = Fetching(
            parts.service.external,
            settle=parts.service.settle,
            get=parts.get,
            importer=parts.service.importer(dial=_dial, clock=read_clock),
            allowed=frozenset(settings.sources),
            clock=read_clock,
            stop=stop,
        )
        tasks.append(asyncio.create_task(fetching.run()))
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
    if damaged:
        raise TamperedError(
            "the key service stopped, because its state cannot be trusted any more",
            code="state.tampered",
            detail="the refusal before this line says why",
        )


def _dial(address: str) -> HTTPTransport:
    """Reach another key service; who answers is for the caller to check."""
    return HTTPTransport(f"http://{address}")


def _make_web(parts: _Parts, stop: Callable[[], None], connections: Callable[[], int]) -> Other:
    """Load what answers everything but the protocol; done when somebody first asks."""
    from cloister.keyservice.view.access import Access  # noqa: PLC0415  # when somebody first looks
    from cloister.keyservice.view.facts import Facts  # noqa: PLC0415  # when somebody first looks
    from cloister.keyservice.view.openapi import document  # noqa: PLC0415  # when somebody first looks
    from cloister.keyservice.view.operations import OPERATIONS, Sources  # noqa: PLC0415  # when somebody first looks
    from cloister.keyservice.view.web import Web  # noqa: PLC0415  # when somebody first looks
    from cloister.keyservice.view_grants import ViewGrants  # noqa: PLC0415  # when somebody first looks

    domain, store, metrics = parts.domain, parts.store, parts.metrics
    metrics.add_view_paths(operation.path for operation in OPERATIONS)

    def text() -> str:
        return metrics.text(
            Gauges(
                connections=connections(),
                sequence=store.sequence,
                log_size=store.log_size,
                policies=len(store.policies()),
                volumes=len(store.volumes()),
            )
        )

    # Nobody sees anything of it before a token says who looks.
    facts = Facts(domain, store, parts.service.checkpoint, sees=lambda _: False)
    return Web(
        Sources(facts, metrics=text, openapi=document),
        access=Access(
            ViewGrants(store),
            service=domain.identity,
            owner=domain.owner,
            sees=parts.service.sees,
        ),
        clock=read_clock,
        viewed=metrics.viewed,
        stop=stop,
    )


def main(arguments: list[str], *, get: Get | None) -> int:
    """Run the server as a process; returns its exit status. `get` as for `serve`."""
    settings = _read_arguments(arguments)
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(name)s %(message)s")
    handler.setFormatter(JSONFormatter() if settings.log_format == "json" else text)
    return run(lambda ready: serve(settings, ready=ready, get=get), handler)


async def _stop_when_idle(
    server: uvicorn.Server, application: Application, idle_exit_s: int
) -> None:
    while idle_exit_s:
        await asyncio.sleep(min(1.0, idle_exit_s / 4))
        if read_clock().uptime - application.last_request > idle_exit_s:
            server.should_exit = True
            return


class _LaterMeasured:
    """Measures the image when somebody asks for evidence first: starting does not wait for it."""

    def __init__(self, platform: SimPlatform) -> None:
        self._platform = platform
        self._attester: SimAttester | None = None

    def collect(self, report_data: ReportData) -> Evidence:
        """Return evidence over these 64 bytes."""
        if self._attester is None:
            self._attester = SimAttester(self._platform)
        return self._attester.collect(report_data)


def _circle(settings: ServerSettings) -> WitnessCircle | None:
    if not settings.witnesses and not settings.witness_quorum:
        return None
    endpoints = [WitnessEndpoint.from_text(text) for text in settings.witnesses]
    return WitnessCircle(endpoints, required=settings.witness_quorum, deadline_s=WITNESS_DEADLINE_S)


def _facts(service: KeyService, url: str) -> dict[str, str]:
    return {"url": url, "identity": service.identity.text}


def _listen(settings: ServerSettings, domain: TrustDomain) -> tuple[socket.socket, str]:
    if not settings.listen:
        path = domain.keyservice_directory.resolve() / _SOCKET_NAME
        return _listen_unix(path), f"unix://{path}"
    return listen_tcp(settings.listen, backlog=256)


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


def _collectors(texts: Sequence[str]) -> Sequence[VerifyingKey]:
    if not texts:
        return ()
    from cloister.tee.endorsement_files import collectors_of  # noqa: PLC0415  # as own endorsements

    return collectors_of(texts)


def _read_arguments(arguments: list[str]) -> ServerSettings:
    parser = argparse.ArgumentParser(prog="python -m cloister.keyservice.server")
    parser.add_argument("--domain", type=Path, required=True, help="the trust domain's directory")
    parser.add_argument("--listen", default="", metavar="HOST:PORT", help="default: a unix socket")
    parser.add_argument("--idle-exit", type=int, default=0, metavar="SECONDS")
    parser.add_argument("--witness", action="append", default=[], metavar="URL=KEY")
    parser.add_argument("--witness-quorum", type=int, default=0, metavar="K")
    parser.add_argument("--external-source", action="append", default=[], metavar="HOST:PORT")
    parser.add_argument("--endorsements", action="append", default=[], type=Path, metavar="PATH")
    parser.add_argument("--collector", action="append", default=[], metavar="KEY")
    parser.add_argument("--lease-ttl", type=int, default=LEASE_TTL_S, metavar="SECONDS")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--database",
        default=os.environ.get(DATABASE_VARIABLE, ""),
        metavar="ADDRESS",
        help=f"postgresql:// without a password (default: ${DATABASE_VARIABLE}, else embedded)",
    )
    found = parser.parse_args(arguments)
    return ServerSettings(
        found.domain,
        found.listen,
        found.idle_exit,
        found.lease_ttl,
        tuple(found.witness),
        found.witness_quorum,
        found.log_format,
        found.database,
        tuple(found.external_source),
        tuple(found.endorsements),
        tuple(found.collector),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], get=None))
