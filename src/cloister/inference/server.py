"""`python -m cloister.inference.server`: one model behind attested TLS, as a workload.

The listening socket is passed by the launcher with its rule (`/run/cloister/listeners.json`), the
identity lies in `/run/cloister/identity`, the model on a volume. This module is the edge of a
process: it reads arguments, files and the clock, and decides nothing.

Spec: serving-v1.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from cloister.crypto.x509 import Identity
from cloister.errors import CloisterError, ConfigError
from cloister.inference.http import HTTPServer, Limits, Pages
from cloister.inference.listening import clients_of, open_listener, passed_listener
from cloister.inference.model import LiteRTModel, read_model_file
from cloister.inference.private import serving
from cloister.inference.probe import require_survives
from cloister.inference.service import InferenceService
from cloister.network.tls import (
    AnyClient,
    Credential,
    TLSContext,
    replace_credential,
    server_context,
)

__all__ = ["keep_fresh", "main"]

_LOOK_EVERY_S: Final = 2.0
_MAX_FILE_BYTES: Final = 1_048_577
_LOG: Final = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return _serve(options)
    except CloisterError as e:
        sys.stderr.write(f"cloister.inference.server: {e}\n")
        return e.exit_status


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
    data = read_model_file(options.model)
    require_survives(data, threads=options.threads)
    service: Pages = InferenceService({options.name: LiteRTModel(data, threads=options.threads)})
    limits = Limits(
        body_bytes=options.max_request_bytes,
        request_s=options.request_timeout,
        idle_s=options.idle_timeout,
        handshake_s=options.handshake_timeout,
    )
    if options.private:
        service = serving.gate_of(
            service, options, clients=clients, identity=identity, models=[options.name], clock=_now
        )
    carrier = None if options.outer_plain else context
    server = HTTPServer(service, context=carrier, limits=limits)
    asyncio.run(_run(server, listener, partial(keep_fresh, context, identity, shown=credential)))
    return 0


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


async def _run(
    server: HTTPServer, listener: socket.socket, refresh: Callable[[], Coroutine[None, None, None]]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    address = listener.getsockname()
    _LOG.info("serving port=%s", address[1] if isinstance(address, tuple) else address)
    refreshing = asyncio.create_task(refresh())
    try:
        await server.serve(listener, stop=stop)
    finally:
        refreshing.cancel()
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


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    limits = Limits()
    parser = argparse.ArgumentParser(prog="cloister.inference.server", allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True, help="a .tflite file")
    parser.add_argument("--name", required=True, help="the model's name in URLs")
    parser.add_argument(
        "--identity",
        type=Path,
        default=Path("/run/cloister/identity"),
        help="directory with cert.pem, key.pem and ca.pem",
    )
    parser.add_argument(
        "--listeners",
        type=Path,
        default=Path("/run/cloister/listeners.json"),
        help="the launcher's file with the rule of each passed socket",
    )
    parser.add_argument(
        "--port", type=int, help="listen on 127.0.0.1 instead of a passed socket; needs a rule:"
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--client",
        action="append",
        metavar="SPIFFE-ID",
        help="a client that is accepted; the instance may be *; repeatable",
    )
    who.add_argument(
        "--any-client", metavar="REASON", help="ask for no client certificate, and say why"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of one computation")
    parser.add_argument("--max-request-bytes", type=int, default=limits.body_bytes)
    parser.add_argument("--request-timeout", type=float, default=limits.request_s, metavar="S")
    parser.add_argument("--idle-timeout", type=float, default=limits.idle_s, metavar="S")
    parser.add_argument("--handshake-timeout", type=float, default=limits.handshake_s, metavar="S")
    serving.add_options(parser)
    return serving.checked(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
