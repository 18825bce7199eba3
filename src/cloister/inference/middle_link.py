"""Frames between the inside and the untrusted middle: a socket, and memory that both can see.

Every wait has a deadline for the whole frame, however slowly the other end goes. Memory is made by
the inside and sealed: the other end can change its bytes at any time, but not its size, so reading
it never faults. Whoever reads it makes a copy first and looks at the copy only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cloister.errors import ConfigError, MalformedError, UnavailableError
from cloister.inference.middle_message import PREFIX_BYTES, Prefix
from cloister.wire.descriptors import close_descriptors

__all__ = ["Link", "SharedMemory", "connect", "listen"]

_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_BACKLOG: Final = 8
_MAX_DESCRIPTORS: Final = 1


class SharedMemory:
    """Memory that two processes see, of a size that neither can change."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Take over a descriptor of sealed memory.

        Raises:
            MalformedError: `middle.malformed`: it is not sealed memory of that size.
        """
        self.descriptor: Final = descriptor
        self.size: Final = size
        try:
            found = os.fstat(descriptor)
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
            good = stat.S_ISREG(found.st_mode) and found.st_size == size and size > 0
            if not good or seals & _SEALS != _SEALS:
                raise _not_memory()
            self._map: Final = mmap.mmap(descriptor, size)
        except OSError as e:
            os.close(descriptor)
            raise _not_memory() from e
        except MalformedError:
            os.close(descriptor)
            raise
        self.view: Final = memoryview(self._map)

    @classmethod
    def create(cls, size: int) -> SharedMemory:
        """Make memory of zeros and seal its size."""
        descriptor = os.memfd_create("middle", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        except OSError:
            os.close(descriptor)
            raise
        return cls(descriptor, size)

    def close(self) -> None:
        """Let go of it; arrays that are views of it keep the memory until they are gone."""
        with contextlib.suppress(BufferError):
            self.view.release()
            self._map.close()
        os.close(self.descriptor)


class Link:
    """One end of a connection; every failure of it is `middle.unavailable`.

    Attributes:
        moved: When bytes came or went last, on the monotonic clock; may be read by any thread.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Take over a connected stream socket."""
        self._socket: Final = connection
        self.moved = time.monotonic()
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(
        self,
        head: bytes,
        body: memoryview | bytes = b"",
        *,
        deadline: float | None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Send a frame by a deadline of `time.monotonic`."""
        first = Prefix(len(head), len(body)).to_bytes() + head
        with self._until(deadline):
            if descriptors:
                sent = socket.send_fds(self._socket, [first], descriptors)
                first = first[sent:]
            self._socket.sendall(first)
        if len(body):
            with self._until(deadline):
                self._socket.sendall(body)

    def receive_head(
        self, *, max_body: int, deadline: float | None
    ) -> tuple[bytes, int, list[int]]:
        """Take a frame up to its body; return head, length of the body, and descriptors.

        The caller owns the descriptors; at most one comes along.

        Raises:
            MalformedError: `middle.malformed` or `wire.too-large`.
            UnavailableError: `middle.unavailable`: gone, or too slow.
        """
        with self._until(deadline):
            first, descriptors, _, _ = socket.recv_fds(self._socket, PREFIX_BYTES, _MAX_DESCRIPTORS)
        try:
            if not first:
                raise _gone("it closed the connection")
            rest = bytearray(PREFIX_BYTES - len(first))
            self.receive_into(memoryview(rest), deadline=deadline)
            prefix = Prefix.read(first + bytes(rest), max_body=max_body)
            head = bytearray(prefix.head_bytes)
            self.receive_into(memoryview(head), deadline=deadline)
        except BaseException:
            close_descriptors(descriptors)
            raise
        return bytes(head), prefix.body_bytes, list(descriptors)

    def receive_into(self, body: memoryview, *, deadline: float | None) -> None:
        """Fill a buffer by a deadline, whose rest is computed anew for each piece."""
        while body:
            with self._until(deadline):
                got = self._socket.recv_into(body)
            if got == 0:
                raise _gone("it closed the connection")
            body = body[got:]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def cut(self) -> None:
        """End the connection at once, from any thread; who waits on it, waits no more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def _until(self, deadline: float | None) -> Iterator[None]:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise _gone("no answer in time")
        try:
            self._socket.settimeout(left)
            yield
            self.moved = time.monotonic()
        except OSError as e:
            raise _gone(str(e) or "no answer in time") from e


def connect(address: str, *, deadline: float) -> Link:
    """Connect to `unix:/path` or `tcp:host:port`.

    Raises:
        ConfigError: `config.value`: no such form.
        UnavailableError: `middle.unavailable`.
    """
    family, place = _place(address)
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        connection.connect(place)
    except OSError as e:
        connection.close()
        raise _gone(str(e)) from e
    return Link(connection)


def listen(address: str) -> socket.socket:
    """Listen at `unix:/path`, which nobody but this user can reach, or `tcp:host:port`.

    A socket's file at that path is replaced where it is this user's and nobody answers there: it
    was left by a process that was killed.

    Raises:
        ConfigError: `config.value`: no such form, or the place cannot be had.
    """
    family, place = _place(address)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_UNIX:
            _bind_file(listener, str(place))
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
        listener.listen(_BACKLOG)
    except OSError as e:
        listener.close()
        raise ConfigError(f"cannot listen at {address}: {e.strerror}", code="config.value") from e
    return listener


def _bind_file(listener: socket.socket, path: str) -> None:
    previous = os.umask(0o077)
    try:
        try:
            listener.bind(path)
        except OSError as e:
            if e.errno != errno.EADDRINUSE or not _is_left_over(path):
                raise
            Path(path).unlink()
            listener.bind(path)
    finally:
        os.umask(previous)


def _is_left_over(path: str) -> bool:
    found = os.lstat(path)
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _place(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    kind, _, rest = address.partition(":")
    if kind == "unix" and Path(rest).is_absolute():
        return socket.AF_UNIX, rest
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and port.isdecimal() and int(port) < 1 << 16:
        return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host.strip("[]"), int(port))
    raise ConfigError("a middle's address is unix:/path or tcp:host:port", code="config.value")


def _gone(detail: str) -> UnavailableError:
    return UnavailableError(
        "the middle of the model does not answer", code="middle.unavailable", detail=detail
    )


def _not_memory() -> MalformedError:
    return MalformedError(
        "what came along is not sealed memory of the size that was said", code="middle.malformed"
    )
