"""A socket, plain or TLS, on which every wait has an end.

A deadline is a moment of the monotonic clock and stands for a whole message, so a peer that sends a
byte now and then gains nothing, nor one that sends single bytes without a pause. Nothing is waited
for before it was tried: where the other side is quick, a message costs one call of the kernel.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

__all__ = ["TimedSocket"]

_NOT_YET: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_AHEAD_BYTES: Final = 2**20
_CHUNK_BYTES: Final = 65536  # below what makes the allocator ask the kernel
_RECORD_BYTES: Final = 16384  # what TLS sends at once


class TimedSocket:
    """Reads and writes by deadlines. For one thread, but for `cut`.

    Whoever the peer is has been judged before, or does not matter: nothing is checked here.

    Attributes:
        moved: When bytes came or went last, on the monotonic clock; may be read by any thread.
    """

    def __init__(self, connected: socket.socket) -> None:
        """Take over a socket whose handshake, if any, is done."""
        connected.settimeout(0)
        if connected.family in {socket.AF_INET, socket.AF_INET6}:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket: Final = connected
        self.moved = time.monotonic()
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(connected, select.POLLIN)
        self._writable.register(connected, select.POLLOUT)

    def is_quiet(self) -> bool:
        """Tell, without waiting, that nothing came which was not read: no byte, no end, no error.

        What TLS says of its own, such as a ticket, is none. Where the answer is no, the connection
        is of no use any more.
        """
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return False
        if not self._readable.poll(0):
            return True
        try:
            self.socket.recv(1)
        except _NOT_YET:
            return True
        except OSError:
            return False
        return False

    def read(self, most: int, *, deadline: float) -> bytes:
        """Return what has come, as soon as anything has; nothing where the peer is done.

        Raises:
            TimeoutError: Nothing came.
            OSError: The connection is broken.
        """
        size = min(most, _CHUNK_BYTES)
        while True:
            _require_time(deadline)
            try:
                data = self.socket.recv(size)
            except _NOT_YET as e:
                self._wait_to_read(e, deadline)
                continue
            self.moved = time.monotonic()
            return data

    def read_on(
        self,
        came: bytes,
        count: int,
        *,
        deadline: float,
        grow: Callable[[int], None] | None = None,
    ) -> bytes | bytearray | None:
        """Return `came` and what follows, `count` bytes together; None if the peer is done before.

        Memory is taken for what has come, and for a mebibyte of what was announced.

        Args:
            came: The first bytes.
            count: How many there are in all.
            deadline: For the last of them.
            grow: Is told how many bytes of memory are taken beyond that mebibyte, before they are;
                what it raises is raised.

        Raises:
            TimeoutError: They did not come in time.
            OSError: The connection is broken.
        """
        have = len(came)
        if have >= count:
            return came[:count]
        whole = bytearray(min(count, max(_AHEAD_BYTES, have)))
        whole[:have] = came
        while have < count:
            if have == len(whole):
                more = min(have, count - have)
                if grow is not None:
                    grow(more)
                whole += bytes(more)
            size = self._read_into(whole, have, deadline)
            if not size:
                return None
            have += size
        return whole

    def write(self, head: bytes, body: bytes | bytearray = b"", *, deadline: float) -> None:
        """Send all of a message, in one piece where it is short.

        Raises:
            TimeoutError: The peer did not take it in time.
            OSError: The connection is broken.
        """
        room = max(_RECORD_BYTES - len(head), 0)
        self._write(head + body[:room], deadline)
        if len(body) > room:
            self._write(memoryview(body)[room:], deadline)

    def _write(self, data: bytes | memoryview, deadline: float) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self.socket.send(left) :]
                self.moved = time.monotonic()
                if left:
                    _require_time(deadline)
            except _NOT_YET as e:
                reading = isinstance(e, ssl.SSLWantReadError)
                _wait(self._readable if reading else self._writable, deadline)

    def _read_into(self, whole: bytearray, have: int, deadline: float) -> int:
        with memoryview(whole) as view, view[have:] as room:
            while True:
                _require_time(deadline)
                try:
                    size = self.socket.recv_into(room)
                except _NOT_YET as e:
                    self._wait_to_read(e, deadline)
                    continue
                self.moved = time.monotonic()
                return size

    def _wait_to_read(self, reason: OSError, deadline: float) -> None:
        writing = isinstance(reason, ssl.SSLWantWriteError)  # TLS may have to, before it can read
        _wait(self._writable if writing else self._readable, deadline)

    def drop_input(self, most: int, *, deadline: float) -> None:
        """Read and drop what still comes, at most so many bytes, until the peer is done or broken.

        Closing while bytes are on the way resets the connection, and the peer may lose what it was
        told last. Nothing can be read afterwards.
        """
        with suppress(OSError):
            while most > 0:
                _require_time(deadline)
                try:
                    data = socket.socket.recv(self.socket, _CHUNK_BYTES)  # not worth decrypting
                except BlockingIOError:
                    _wait(self._readable, deadline)
                    continue
                if not data:
                    return
                most -= len(data)

    def close(self) -> None:
        """Say that this was all, where TLS can say it at once, and close."""
        if isinstance(self.socket, ssl.SSLSocket):
            with suppress(OSError, ValueError):  # broken, or the peer has not answered yet
                self.socket.unwrap()
        self.socket.close()

    def cut(self) -> None:
        """End the connection at once; from any thread. Who waits on it, waits no more."""
        with suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)  # TLS would forget its keys


def _wait(poll: select.poll, deadline: float) -> None:
    if not poll.poll(_require_time(deadline) * 1000):
        raise TimeoutError("the time is over")


def _require_time(deadline: float) -> float:
    """Return how much is left; also between pieces that never let us wait."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time is over")
    return left
