"""Carry one request to a key service and its answer back; nothing here trusts or checks anything.

Libraries load on first use: this module is on the way of every `cloister run`.
"""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from cloister.errors import ConfigError, UnavailableError
from cloister.keyservice.messages import MAX_REPLY_BYTES, MEDIA_TYPE

if TYPE_CHECKING:
    import http.client

__all__ = ["HTTPTransport", "Transport", "connect_unix"]

_MAX_SOCKET_PATH: Final = 100
_HTTP_UNAVAILABLE: Final = 503


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
        self._connection: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> HTTPTransport:
        """Use as a context that closes the connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """Return the body of whatever answer came."""
        import http.client  # noqa: PLC0415  # see the module docstring

        with self._lock:
            try:
                return self._exchange(path, body, timeout_s)
            except TimeoutError as e:
                self._drop()
                raise UnavailableError(
                    f"the key service at {self._url} did not answer within {timeout_s:.1f} s",
                    code="keyservice.slow",
                ) from e
            except (OSError, http.client.HTTPException) as e:
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
        import http.client  # noqa: PLC0415

        connection = self._connection
        if connection is None:
            connection = self._connection = self._open(timeout_s)
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request("POST", path, body, {"Content-Type": MEDIA_TYPE})
        answer = connection.getresponse()
        data = answer.read(MAX_REPLY_BYTES + 1)
        if len(data) > MAX_REPLY_BYTES:
            raise UnavailableError(
                "the answer is longer than any of a key service", code="keyservice.unreachable"
            )
        if answer.length or not answer.isclosed():  # the server died between head and body
            raise http.client.IncompleteRead(data, answer.length)
        if answer.status == _HTTP_UNAVAILABLE and answer.getheader("Content-Type") != MEDIA_TYPE:
            raise UnavailableError("the key service is overloaded", code="keyservice.busy")
        return data

    def _open(self, timeout_s: float) -> http.client.HTTPConnection:
        import http.client  # noqa: PLC0415

        connection = http.client.HTTPConnection(self._host, self._port or None, timeout=timeout_s)
        if self._path:
            connection.sock = connect_unix(Path(self._path), timeout_s=timeout_s)
        else:
            connection.connect()
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
