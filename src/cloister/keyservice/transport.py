"""Carry one request to a key service and its answer back; nothing here trusts or checks anything.

Libraries load on first use: this module is on the way of every `cloister run`.
"""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from cloister.errors import ConfigError, UnavailableError
from cloister.keyservice.messages import MAX_REPLY_BYTES, MEDIA_TYPE

__all__ = ["HTTPTransport", "Transport", "connect_unix"]

_MAX_SOCKET_PATH: Final = 100
_HTTP_UNAVAILABLE: Final = 503
_MAX_HEAD_BYTES: Final = 16384
_READ_BYTES: Final = 16384


class Transport(Protocol):
    """Posts bytes to a path of one key service."""

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """Return the body of whatever answer came.

        Raises:
            UnavailableError: None came (`keyservice.unreachable`), none in time
                (`keyservice.slow`), or the server is overloaded (`keyservice.busy`).
        """
        ...


class HTTPTransport:
    """HTTP/1.1 over TCP or a unix socket, one connection kept open, one request at a time."""

    def __init__(self, url: str) -> None:
        """Take `http://host:port` or `unix:///path`; connects on first use."""
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as e:
            raise ConfigError(f"{url!r} has no port number", code="config.value") from e
        if parts.scheme == "unix" and parts.path:
            self._host, self._port, self._path = "localhost", 0, parts.path
        elif parts.scheme == "http" and host and port and parts.path in {"", "/"}:
            self._host, self._port, self._path = host, port, ""
        else:
            raise ConfigError(
                f"{url!r} is not the address of a key service",
                code="config.value",
                hint="use http://HOST:PORT or unix:///PATH",
            )
        self._url: Final = url
        self._host_field: Final = parts.netloc or self._host
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> HTTPTransport:
        """Use as a context that closes the connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """Return the body of whatever answer came."""
        import h11  # noqa: PLC0415  # see the module docstring

        with self._lock:
            try:
                return self._exchange(path, body, timeout_s)
            except TimeoutError as e:
                self._drop()
                raise UnavailableError(
                    f"the key service at {self._url} did not answer within {timeout_s:.1f} s",
                    code="keyservice.slow",
                ) from e
            except (OSError, h11.ProtocolError) as e:
                self._drop()
                raise UnavailableError(
                    f"the key service at {self._url} cannot be reached",
                    code="keyservice.unreachable",
                    detail=repr(e),
                    hint="start it with: cloister keyservice serve",
                ) from e
            except UnavailableError:
                self._drop()
                raise

    def close(self) -> None:
        """Close the connection; the next `post` opens another."""
        with self._lock:
            self._drop()

    def _exchange(self, path: str, body: bytes, timeout_s: float) -> bytes:
        import h11  # noqa: PLC0415  # see the module docstring

        connection = self._connection
        if connection is None:
            connection = self._connection = self._open(timeout_s)
        connection.settimeout(timeout_s)
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        headers = [("Host", self._host_field), ("Content-Type", MEDIA_TYPE)]
        head = h11.Request(
            method="POST", target=path, headers=[*headers, ("Content-Length", str(len(body)))]
        )
        events = (head, h11.Data(data=body), h11.EndOfMessage())
        connection.sendall(b"".join(http.send(event) or b"" for event in events))
        data = bytearray()
        response = None
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(connection.recv(_READ_BYTES))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                data += event.data
                if len(data) > MAX_REPLY_BYTES:
                    raise h11.RemoteProtocolError("longer than any answer of a key service")
            elif isinstance(event, h11.EndOfMessage) and response is not None:
                break
            else:
                raise h11.RemoteProtocolError("the connection ended before the answer")
        if http.their_state is not h11.DONE or http.trailing_data[0]:
            self._drop()
        is_ours = (b"content-type", MEDIA_TYPE.encode()) in list(response.headers)
        if response.status_code == _HTTP_UNAVAILABLE and not is_ours:
            raise UnavailableError("the key service is overloaded", code="keyservice.busy")
        return bytes(data)

    def _open(self, timeout_s: float) -> socket.socket:
        if self._path:
            return connect_unix(Path(self._path), timeout_s=timeout_s)
        connection = socket.create_connection((self._host, self._port), timeout=timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def connect_unix(path: Path, *, timeout_s: float) -> socket.socket:
    """Connect to a unix socket; also where its path is longer than the kernel's 108 bytes."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
            connection.connect(str(path))
        else:
            directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                connection.connect(f"/proc/self/fd/{directory}/{path.name}")
            finally:
                os.close(directory)
    except BaseException:
        connection.close()
        raise
    return connection
