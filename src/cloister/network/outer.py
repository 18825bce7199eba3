"""A connection that nothing rests on: plain TCP, or TLS with whoever answers.

For what is protected by itself. TLS keeps bystanders from reading sizes and targets, and proves
nothing here: whoever ends it, such as a balancer, is a carrier and not trusted.
"""

from __future__ import annotations

import socket
import ssl

from cloister.errors import UnavailableError

__all__ = ["connect_outer"]


def connect_outer(address: tuple[str, int], *, tls: bool, timeout_s: float) -> socket.socket:
    """Connect to whoever answers at an address.

    Args:
        address: Host and port; nothing is believed about it.
        tls: Whether to speak TLS; no certificate is judged.
        timeout_s: For connecting, and then of each operation.

    Raises:
        UnavailableError: Nobody there, or too slow (`server.unreachable`).
    """
    try:
        plain = socket.create_connection(address, timeout=timeout_s)
    except OSError as e:
        raise _unreachable(address, e) from e
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not tls:
            return plain
        return _context().wrap_socket(plain, server_hostname=address[0])
    except (OSError, ValueError) as e:
        plain.close()
        raise _unreachable(address, e) from e


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _unreachable(address: tuple[str, int], error: Exception) -> UnavailableError:
    return UnavailableError(
        f"no server at {address[0]}:{address[1]}", code="server.unreachable", detail=str(error)
    )
