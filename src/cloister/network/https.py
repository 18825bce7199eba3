"""One GET from a web server that a pinned authority certifies: TLS 1.3, bounded, no redirects.

For stores that somebody else runs. Unlike `tls`, where names are SPIFFE IDs, the host's name is
checked here: the pinned authority may certify other hosts too. No authority of the system counts.

The server is not trusted to be short, quick or honest: size and time are bounded for everything
together, and an answer that ends before it is whole is none.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from typing import Final

import h11

from cloister.errors import (
    IdentityError,
    MalformedError,
    RemoteProtocolError,
    UnavailableError,
)

__all__ = ["get"]

_READ_BYTES: Final = 16_384
_HEAD_BYTES: Final = 16_384
_MAX_ADDRESSES: Final = 4


def get(
    address: tuple[str, int],
    target: str,
    headers: Mapping[str, str],
    *,
    ca_pem: bytes,
    timeout_s: float,
    max_bytes: int,
) -> tuple[int, bytes]:
    """Return status and body of the answer to one GET.

    Args:
        address: Host and port; the certificate has to name the host.
        target: Path that is asked for.
        headers: Sent only after the server has proved who it is.
        ca_pem: The only authorities that count.
        timeout_s: For everything but asking the resolver, which has limits of its own.
        max_bytes: Longest body that is accepted.

    Raises:
        IdentityError: The server's certificate or protocol is not what was pinned (`identity.tls`).
        UnavailableError: Nobody there, too slow, or gone before the end (`server.unreachable`).
        RemoteProtocolError: The answer is no HTTP/1.1, encoded, or too long (`protocol.remote`).
        MalformedError: `ca_pem` is no certificate (`certificate.malformed`).
    """
    context = _context(ca_pem)
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
    deadline = time.monotonic() + timeout_s
    where = f"{address[0]}:{address[1]}"
    try:
        with (
            _connect(address, deadline) as plain,
            context.wrap_socket(
                plain, server_hostname=address[0], suppress_ragged_eofs=False
            ) as connection,
        ):
            return _exchange(
                connection,
                http,
                where,
                target=target,
                headers=headers,
                deadline=deadline,
                max_bytes=max_bytes,
            )
    except ssl.SSLCertVerificationError as e:
        raise IdentityError(
            f"the certificate of {where} was not issued for it by the pinned authority",
            code="identity.tls",
            detail=e.verify_message,
        ) from e
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as e:
        raise _unreachable(where, e) from e
    except ssl.SSLError as e:
        raise IdentityError(
            f"the server at {where} does not speak TLS 1.3 with us",
            code="identity.tls",
            detail=e.reason,
        ) from e
    except OSError as e:
        raise _unreachable(where, e) from e
    except h11.ProtocolError as e:
        if http.trailing_data[1]:
            raise _unreachable(where, e) from e
        raise RemoteProtocolError(
            f"the server at {where} does not speak HTTP/1.1", code="protocol.remote"
        ) from e


def _context(ca_pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as e:
        raise MalformedError("not a CA certificate in PEM", code="certificate.malformed") from e
    return context


def _connect(address: tuple[str, int], deadline: float) -> socket.socket:
    """Connect to the first address of the host that answers."""
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    error: OSError = TimeoutError("no time left")
    for family, kind, protocol, _, place in found[:_MAX_ADDRESSES]:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(place)
        except OSError as e:
            connection.close()
            error = e
        else:
            connection.settimeout(_left(deadline))
            return connection
    raise error


def _exchange(
    connection: ssl.SSLSocket,
    http: h11.Connection,
    where: str,
    *,
    target: str,
    headers: Mapping[str, str],
    deadline: float,
    max_bytes: int,
) -> tuple[int, bytes]:
    fields = [("Host", where), ("Connection", "close"), ("Accept-Encoding", "identity")]
    head = h11.Request(method="GET", target=target, headers=[*fields, *headers.items()])
    request = (http.send(head) or b"") + (http.send(h11.EndOfMessage()) or b"")
    connection.settimeout(_left(deadline))
    connection.sendall(request)
    status, body, received = 0, bytearray(), 0
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            connection.settimeout(_left(deadline))
            data = connection.recv(_READ_BYTES)
            received += len(data)
            if received > max_bytes + _HEAD_BYTES:
                raise _too_long(where, max_bytes)
            http.receive_data(data)
        elif isinstance(event, h11.Response):
            status = event.status_code
            if any(name == b"content-encoding" for name, _ in event.headers):
                raise RemoteProtocolError(
                    f"the server at {where} encodes its answer", code="protocol.remote"
                )
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > max_bytes:
                raise _too_long(where, max_bytes)
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(body)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no time left")
    return left


def _too_long(where: str, max_bytes: int) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"the answer of {where} is longer than {max_bytes} bytes", code="protocol.remote"
    )


def _unreachable(where: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"the server at {where} is not there, too slow, or closed the connection",
        code="server.unreachable",
        detail=str(error),
    )
