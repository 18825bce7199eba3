"""Carry one request to a key service and its answer back; nothing here trusts or checks anything.

Libraries load on first use: this module is on the way of every `cloister run`.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from cloister.errors import ConfigError, UnavailableError
from cloister.keyservice.messages import MAX_REPLY_BYTES, MEDIA_TYPE

__all__ = ["HTTPTransport", "Transport", "connect_unix"]

_MAX_SOCKET_PATH: Final = 100
_HTTP_OK, _HTTP_UNAVAILABLE = 200, 503
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
    """HTTP/1.1 over TCP or a unix socket, one connection kept open, one request at a time.

    Attributes:
        url: Where.
    """

    def __init__(self, url: str) -> None:
        """Take `http://host:port` or `unix:///path`; connects on first use."""
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as e:
            raise ConfigError(f"{url!r} has no port number", code="config.value") from e
        plain = parts.netloc.isascii() and parts.netloc.isprintable() and " " not in parts.netloc
        if parts.scheme == "unix" and parts.path:
            self._host, self._port, self._path = "localhost", 0, parts.path
        elif parts.scheme == "http" and host and port and plain and parts.path in {"", "/"}:
            self._host, self._port, self._path = host, port, ""
        else:
            raise ConfigError(
                f"{url!r} is not the address of a key service",
                code="config.value",
                hint="use http://HOST:PORT or unix:///PATH",
            )
        self.url: Final = url
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
        with self._lock:
            try:
                return self._exchange(path, body, timeout_s)
            except TimeoutError as e:
                self._drop()
                raise UnavailableError(
                    f"the key service at {self.url} did not answer within {timeout_s:.1f} s",
                    code="keyservice.slow",
                ) from e
            except (OSError, _NotAnAnswer) as e:
                self._drop()
                raise UnavailableError(
                    f"the key service at {self.url} cannot be reached",
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
        end = time.monotonic() + timeout_s
        connection = self._connection
        if connection is None:
            connection = self._connection = self._open(timeout_s)
        connection.settimeout(_left(end))
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host_field}\r\n"
            f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode("ascii") + body)
        answer = _Answer()
        while not answer.complete:
            connection.settimeout(_left(end))  # for all of it: a byte now and then is too slow
            data = connection.recv(_READ_BYTES)
            if not data:
                raise _NotAnAnswer("the connection ended before the answer")
            answer.feed(data)
        if not answer.keeps_connection:
            self._drop()
        if answer.status == _HTTP_UNAVAILABLE and answer.media_type != MEDIA_TYPE.encode():
            raise UnavailableError("the key service is overloaded", code="keyservice.busy")
        return bytes(answer.body)

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


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("no time left")
    return left


class _NotAnAnswer(Exception):  # noqa: N818  # never leaves this module
    """What came is not HTTP, or more than an answer has."""


class _Answer:
    """One response as it comes; llhttp parses and calls back, and what it leaves open ends here."""

    def __init__(self) -> None:
        import httptools  # noqa: PLC0415  # see the module docstring

        self.complete = False
        self.status = 0
        self.media_type = b""
        self.body = bytearray()
        self._responses = 0
        self._stays = False
        self._received = 0
        self._parser = httptools.HttpResponseParser(self)
        self._errors = (httptools.HttpParserError, httptools.HttpParserUpgrade)

    @property
    def keeps_connection(self) -> bool:
        """Whether another request may follow: nothing but this response has come."""
        return self._responses == 1 and self._stays

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except self._errors as e:
            if not self.complete:  # behind a response it only ends the connection
                raise _NotAnAnswer(repr(e)) from e
            self._responses += 1
        most = (MAX_REPLY_BYTES if self.status else 0) + _MAX_HEAD_BYTES
        if self._received > most:
            raise _NotAnAnswer("longer than any answer of a key service")

    def on_message_begin(self) -> None:
        """Count: a second response in the same bytes answers nothing that was asked."""
        self._responses += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the one field that matters."""
        if not self.status and name.lower() == b"content-type":
            self.media_type = value

    def on_headers_complete(self) -> None:
        """Note the status; an interim response is none that we asked for."""
        if self._responses == 1:
            self.status = int(self._parser.get_status_code())
            if self.status < _HTTP_OK:
                raise _NotAnAnswer("an interim response")

    def on_body(self, data: bytes) -> None:
        """Gather."""
        if self._responses == 1:
            self.body += data

    def on_message_complete(self) -> None:
        """Whatever follows is not ours."""
        if not self.complete:
            self.complete = True
            self._stays = bool(self._parser.should_keep_alive())


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
