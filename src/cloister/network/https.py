"""One request to a web server: TLS, bounded, no redirections, one connection each.

For servers that somebody else runs. Unlike `tls`, where names are SPIFFE IDs, the host's name is
checked here: an authority may certify other hosts too.

`get` is for stores that keep secrets: one pinned authority, TLS 1.3. `ask` is for what anybody may
read, and what is signed by somebody else: TLS 1.2 at least, since public services are slow to move.

The server is not trusted to be short, quick or honest: size and time are bounded for everything
together, and an answer that ends before it is whole is none.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import h11

from cloister.errors import (
    IdentityError,
    MalformedError,
    RemoteProtocolError,
    UnavailableError,
)

__all__ = ["Response", "ask", "get"]

_READ_BYTES: Final = 16_384
_HEAD_BYTES: Final = 16_384
_MAX_ADDRESSES: Final = 4


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered.

    Attributes:
        status: The status code.
        headers: Names in lower case, with their values, in their order.
        body: All of it.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


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
        ca_pem: The only authorities that count; none of the system's does.
        timeout_s: For everything but asking the resolver, which has limits of its own.
        max_bytes: Longest body that is accepted.

    Raises:
        IdentityError: The server's certificate or protocol is not what was pinned (`identity.tls`).
        UnavailableError: Nobody there, too slow, or gone before the end (`server.unreachable`).
        RemoteProtocolError: The answer is no HTTP/1.1, encoded, or too long (`protocol.remote`).
        MalformedError: `ca_pem` is no certificate (`certificate.malformed`).
    """
    response = _talk(
        _context(ca_pem, ssl.TLSVersion.TLSv1_3),
        address,
        h11.Request(method="GET", target=target, headers=_fields(address, headers)),
        b"",
        timeout_s=timeout_s,
        max_bytes=max_bytes,
    )
    return response.status, response.body


def ask(
    address: tuple[str, int],
    target: str,
    headers: Mapping[str, str],
    *,
    body: bytes | None,
    authorities: bytes | None,
    timeout_s: float,
    max_bytes: int,
) -> Response:
    """Return the answer to one GET, or to one POST where there is a body.

    Args:
        address: Host and port; the certificate has to name the host.
        target: Path and query.
        headers: Sent only after the server has proved who it is.
        body: What is posted; None for a GET.
        authorities: PEM of the only authorities that count; None for those of this machine. There
            is no way to have none.
        timeout_s: For everything but asking the resolver, which has limits of its own.
        max_bytes: Longest body that is accepted.

    Raises:
        As `get`.
    """
    fields = _fields(address, headers)
    if body is not None:
        fields.append(("Content-Length", str(len(body))))
    return _talk(
        _context(authorities, ssl.TLSVersion.TLSv1_2),
        address,
        h11.Request(method="GET" if body is None else "POST", target=target, headers=fields),
        body or b"",
        timeout_s=timeout_s,
        max_bytes=max_bytes,
    )


def _fields(address: tuple[str, int], headers: Mapping[str, str]) -> list[tuple[str, str]]:
    host = f"{address[0]}:{address[1]}"
    common = [("Host", host), ("Connection", "close"), ("Accept-Encoding", "identity")]
    return [*common, *headers.items()]


def _talk(
    context: ssl.SSLContext,
    address: tuple[str, int],
    head: h11.Request,
    body: bytes,
    *,
    timeout_s: float,
    max_bytes: int,
) -> Response:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
    deadline = time.monotonic() + timeout_s
    where = f"{address[0]}:{address[1]}"
    request = http.send(head) or b""
    if body:
        request += http.send(h11.Data(data=body)) or b""
    request += http.send(h11.EndOfMessage()) or b""
    try:
        with (
            _connect(address, deadline) as plain,
            context.wrap_socket(
                plain, server_hostname=address[0], suppress_ragged_eofs=False
            ) as connection,
        ):
            connection.settimeout(_left(deadline))
            connection.sendall(request)
            return _answer(connection, http, where, deadline=deadline, max_bytes=max_bytes)
    except ssl.SSLCertVerificationError as e:
        raise IdentityError(
            f"the certificate of {where} was not issued for it by an accepted authority",
            code="identity.tls",
            detail=e.verify_message,
        ) from e
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as e:
        raise _unreachable(where, e) from e
    except ssl.SSLError as e:
        raise IdentityError(
            f"the server at {where} does not speak TLS with us as it should",
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


def _context(authorities: bytes | None, oldest: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain and host name
    context.minimum_version = oldest
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    if authorities is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cadata=authorities.decode("ascii"))
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


def _answer(
    connection: ssl.SSLSocket,
    http: h11.Connection,
    where: str,
    *,
    deadline: float,
    max_bytes: int,
) -> Response:
    status, body, received = 0, bytearray(), 0
    headers: tuple[tuple[str, str], ...] = ()
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
            status, headers = event.status_code, _decoded(event)
            if any(name == "content-encoding" for name, _ in headers):
                raise RemoteProtocolError(
                    f"the server at {where} encodes its answer", code="protocol.remote"
                )
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > max_bytes:
                raise _too_long(where, max_bytes)
        elif isinstance(event, h11.EndOfMessage):
            return Response(status, headers, bytes(body))


def _decoded(event: h11.Response) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)


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
