"""`python -m cloister.inference.server`: one model behind attested TLS, as a workload.

The listening socket is passed by the launcher (`LISTEN_FDS`, descriptor 3), the identity lies in
`/run/cloister/identity`, the model on a volume. This module is the edge of a process: it reads
arguments, files and the clock, and decides nothing.

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
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cloister.crypto.x509 import Identity
from cloister.errors import CloisterError, ConfigError
from cloister.inference.http import HTTPServer, Limits
from cloister.inference.model import read_model
from cloister.inference.service import InferenceService
from cloister.network.tls import AnyClient, Credential, server_context

__all__ = ["main"]

_FIRST_PASSED: Final = 3
_MAX_PEM_BYTES: Final = 65536
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
    clients: tuple[Identity, ...] | AnyClient
    if options.any_client is not None:
        clients = AnyClient(options.any_client)
    else:
        clients = tuple(Identity.from_uri(uri) for uri in options.client)
    identity: Path = options.identity
    credential = Credential(_read(identity / "cert.pem"), _read(identity / "key.pem"))
    context = server_context(
        credential, ca_pem=_read(identity / "ca.pem"), clients=clients, clock=_now
    )
    model = read_model(options.model, threads=options.threads)
    limits = Limits(
        body_bytes=options.max_request_bytes,
        request_s=options.request_timeout,
        idle_s=options.idle_timeout,
        handshake_s=options.handshake_timeout,
    )
    service = InferenceService({options.name: model})
    listener = _listener(options.port)
    asyncio.run(_run(HTTPServer(service, context=context, limits=limits), listener))
    return 0


async def _run(server: HTTPServer, listener: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    address = listener.getsockname()
    _LOG.info("serving port=%s", address[1] if isinstance(address, tuple) else address)
    await server.serve(listener, stop=stop)
    _LOG.info("stopped")


def _listener(port: int | None) -> socket.socket:
    """Return the socket that was passed, or one on the loopback address where a port is given."""
    if port is not None:
        listener = socket.create_server(("127.0.0.1", port))
    else:
        passed = os.environ.get("LISTEN_FDS"), os.environ.get("LISTEN_PID", str(os.getpid()))
        if passed != ("1", str(os.getpid())):
            raise ConfigError(
                "no listening socket was passed (LISTEN_FDS is not 1)",
                code="config.missing",
                hint="the policy's workload needs one entry under listen:, or give --port",
            )
        try:
            listener = socket.socket(fileno=_FIRST_PASSED)
            listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as e:
            raise ConfigError("descriptor 3 is no socket", code="config.missing") from e
        if not listening:
            raise ConfigError("descriptor 3 is not a listening socket", code="config.missing")
    listener.settimeout(0)
    return listener


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_PEM_BYTES)
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
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "--client",
        action="append",
        metavar="SPIFFE-ID",
        help="a client that is accepted; the instance may be *; repeatable",
    )
    who.add_argument(
        "--any-client", metavar="REASON", help="ask for no client certificate, and say why"
    )
    parser.add_argument("--port", type=int, help="listen on 127.0.0.1 instead of descriptor 3")
    parser.add_argument("--threads", type=int, default=1, help="threads of one computation")
    parser.add_argument("--max-request-bytes", type=int, default=limits.body_bytes)
    parser.add_argument("--request-timeout", type=float, default=limits.request_s, metavar="S")
    parser.add_argument("--idle-timeout", type=float, default=limits.idle_s, metavar="S")
    parser.add_argument("--handshake-timeout", type=float, default=limits.handshake_s, metavar="S")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
