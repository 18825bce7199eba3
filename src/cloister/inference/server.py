"""`python -m cloister.inference.server`: models behind attested TLS, as a workload.

The listening socket is passed by the launcher with its rule (`/run/cloister/listeners.json`), the
identity lies in `/run/cloister/identity`, models on a volume. This module is the edge of a
process: it reads arguments, files and the clock, and decides nothing.

Spec: serving-v1.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":  # until there is a loop, and while the rest loads: without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import asyncio
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from cloister.crypto.x509 import Identity
from cloister.errors import CloisterError, ConfigError, reasons
from cloister.inference.asking import Asking
from cloister.inference.http import CLIENT_THREAD, HTTPServer, Limits, Pages
from cloister.inference.listening import clients_of, open_listener, passed_listener
from cloister.inference.metrics import Metrics
from cloister.inference.options import (
    parse_options,
    require_one_source,
    require_usable_limits,
)
from cloister.inference.preparing import prepared_ahead
from cloister.inference.private import serving
from cloister.inference.service import InferenceService
from cloister.inference.sources import open_models
from cloister.network.tls import (
    AnyClient,
    Credential,
    TLSContext,
    replace_credential,
    server_context,
)

__all__ = ["end", "keep_current", "keep_fresh", "keep_tidy", "main"]

_LOOK_EVERY_S: Final = 2.0
_MAX_FILE_BYTES: Final = 1_048_577
Chore = Callable[[], Coroutine[None, None, None]]
_LOG: Final = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    options = parse_options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        require_one_source(options)
        require_usable_limits(options)
        serving.checked(options)
        return _serve(options)
    except CloisterError as e:
        sys.stderr.write("\n".join([f"cloister.inference.server: {e}", *reasons(e), ""]))
        return e.exit_status


def end(status: int) -> NoReturn:
    """End the process, though a computation goes on for which the grace is over.

    An interpreter that is taken down under a runtime's threads may crash, so that it is not then.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.name == CLIENT_THREAD for thread in threading.enumerate()):
        os._exit(status)
    sys.exit(status)


def _serve(options: argparse.Namespace) -> int:
    listener, clients = _listener(options)
    with listener:
        return _serve_on(listener, clients, options)


def _serve_on(
    listener: socket.socket,
    clients: tuple[Identity, ...] | AnyClient,
    options: argparse.Namespace,
) -> int:
    identity: Path = options.identity
    credential = Credential(_read(identity / "cert.pem"), _read(identity / "key.pem"))
    ca_pem = _read(identity / "ca.pem")
    outer = serving.OUTER_CLIENTS if options.private else clients
    context = server_context(credential, ca_pem=ca_pem, clients=outer, clock=_now)
    metrics = _metrics(options)
    registry, step = open_models(options, metrics=metrics)
    service: Pages = InferenceService(
        registry,
        asking=Asking(
            deadline_s=options.deadline,
            answer_bytes=serving.answer_bytes(options, sorted(registry.shelves)),
        ),
        metrics=metrics,
        show_metrics=options.metrics,
    )
    limits = Limits(
        body_bytes=options.max_request_bytes,
        connections=options.connections,
        waiting=options.waiting,
        request_s=options.request_timeout,
        idle_s=options.idle_timeout,
        handshake_s=options.handshake_timeout,
    )
    chores: list[Chore] = [partial(keep_fresh, context, identity, shown=credential)]
    if options.private:
        service = gate = serving.gate_of(
            service,
            options,
            clients=clients,
            identity=identity,
            models=sorted(registry.shelves),
            clock=_now,
        )
        chores.append(partial(keep_tidy, gate.tidy))
    carrier = None if options.outer_plain else context
    server = HTTPServer(service, context=carrier, limits=limits, refused=metrics.refused)
    if step is not None:
        chores.append(partial(keep_current, step))
    with prepared_ahead(registry):
        asyncio.run(_run(server, listener, chores))
    return 0


def _metrics(options: argparse.Namespace) -> Metrics:
    if not options.otel:
        return Metrics()
    from cloister.inference.telemetry import TracedMetrics  # noqa: PLC0415  # optional

    return TracedMetrics()


async def keep_current(step: Callable[[], None], *, every_s: float = _LOOK_EVERY_S) -> None:
    """Look at the catalogue again and again, in a thread; never ends by itself.

    What cannot be looked at changes nothing, and no look keeps the process from ending.
    """
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(every_s)
        over = asyncio.Event()

        def look(over: asyncio.Event = over) -> None:
            try:
                step()
            except CloisterError as e:
                _LOG.warning("catalogue kept code=%s", e.code)
            finally:
                with suppress(RuntimeError):  # the loop has ended by then
                    loop.call_soon_threadsafe(over.set)

        threading.Thread(target=look, name="catalogue", daemon=True).start()
        await over.wait()


async def keep_tidy(tidy: Callable[[], None], *, every_s: float = _LOOK_EVERY_S) -> None:
    """Have what is over forgotten again and again; never ends by itself."""
    while True:
        await asyncio.sleep(every_s)
        tidy()


async def keep_fresh(
    context: TLSContext, identity: Path, *, shown: Credential, every_s: float = _LOOK_EVERY_S
) -> None:
    """Show new connections whatever certificate lies in the folder; never ends by itself.

    What cannot be read or used is left alone: the certificate that was shown before still is.
    """
    while True:
        await asyncio.sleep(every_s)
        try:
            found = Credential(_read(identity / "cert.pem"), _read(identity / "key.pem"))
            if found != shown:
                replace_credential(context, found)
                shown = found
                _LOG.info("certificate renewed")
        except CloisterError as e:
            _LOG.info("certificate kept code=%s", e.code)


async def _run(server: HTTPServer, listener: socket.socket, chores: Sequence[Chore]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    address = listener.getsockname()
    _LOG.info("serving port=%s", address[1] if isinstance(address, tuple) else address)
    running = [asyncio.create_task(chore()) for chore in chores]
    try:
        await server.serve(listener, stop=stop)
    finally:
        for task in running:
            task.cancel()
    _LOG.info("stopped")


def _listener(
    options: argparse.Namespace,
) -> tuple[socket.socket, tuple[Identity, ...] | AnyClient]:
    """Return the passed socket with its rule, or one on the loopback address with its own."""
    by_hand = options.client is not None or options.any_client is not None
    if options.port is None:
        if by_hand:
            raise ConfigError(
                "--client and --any-client go with --port; a passed socket has the policy's rule",
                code="config.value",
            )
        passed = passed_listener(os.environ, process=os.getpid())
        clients = clients_of(_read(options.listeners), name=passed.name)
        listener = open_listener(passed)
    else:
        if not by_hand:
            raise ConfigError("--port needs --client or --any-client", code="config.missing")
        clients = (
            AnyClient(options.any_client)
            if options.any_client is not None
            else tuple(Identity.from_uri(uri) for uri in options.client)
        )
        listener = socket.create_server(("127.0.0.1", options.port))
    listener.settimeout(0)
    return listener, clients


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e


def _now() -> int:
    return int(time.time())  # noqa: TID251  # the edge of this process


if __name__ == "__main__":
    end(main(sys.argv[1:]))
