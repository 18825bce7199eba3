"""Serves programs of this machine until it is told to stop: HTTP, and gRPC where it is wanted."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from cloister.errors import UnavailableError
from cloister.inference.http import HTTPServer, Limits
from cloister.inference.private.channel import PrivateChannel
from cloister.inference.private.grpc_front import GRPCFront
from cloister.inference.private.local import LocalService, host_names

__all__ = ["Addresses", "serve"]

_LIMITS: Final = Limits(body_bytes=2**28, waiting=64, request_s=60.0)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a proxy listens; a port of 0 is any that is free.

    Attributes:
        http: For HTTP.
        grpc: For gRPC, where it is wanted.
    """

    http: tuple[str, int]
    grpc: tuple[str, int] | None = None


def serve(
    channel: PrivateChannel,
    addresses: Addresses,
    *,
    ready: Callable[[Addresses], None],
    limits: Limits = _LIMITS,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        channel: Carries requests.
        addresses: Of this machine alone.
        ready: Told where it listens, once it does.
        limits: Of plain HTTP. No body is longer than what the server takes when this begins; nor is
            a message of gRPC.

    Raises:
        UnavailableError: An address is taken, or the server is not there (`server.unreachable`).
        MissingExtraError: gRPC is wanted and not installed.
    """
    with _listener(addresses.http) as listener:
        limits = replace(limits, body_bytes=min(limits.body_bytes, channel.request_bytes()))
        bound = (addresses.http[0], listener.getsockname()[1])
        service = LocalService(channel.exchange, hosts=host_names(bound))
        grpc: GRPCFront | None = None
        port = 0
        if addresses.grpc is not None:
            grpc = GRPCFront(service.forward, max_bytes=limits.body_bytes)
            port = grpc.start(addresses.grpc)
        try:
            shown = None if addresses.grpc is None else (addresses.grpc[0], port)
            asyncio.run(_run(service, listener, limits, lambda: ready(Addresses(bound, shown))))
        finally:
            if grpc is not None:
                grpc.close()
            channel.close()


async def _run(
    service: LocalService, listener: socket.socket, limits: Limits, ready: Callable[[], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ready()
    await HTTPServer(service, context=None, limits=limits).serve(listener, stop=stop)


def _listener(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family)
    except OSError as e:
        raise UnavailableError(
            f"cannot listen at {address[0]}:{address[1]}: {e.strerror}",
            code="server.unreachable",
            hint="name another place: --listen HOST:PORT",
        ) from e
    listener.settimeout(0)
    return listener
