"""One end of a local socket over which bytes travel, and file descriptors with them.

What a message is, how long one may be, and what it means that the other end is gone, is whoever
uses this to say. Descriptors that come with bytes that are refused are closed.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from cloister.errors import CloisterError

__all__ = ["DescriptorSocket", "close_descriptors", "closed_on_error"]

Gone = Callable[[str], CloisterError]
_CLOSED: Final = "it closed the channel"


class DescriptorSocket:
    """A connected local socket; every failure of it is the user's own error."""

    def __init__(self, connection: socket.socket, *, gone: Gone) -> None:
        """Take over a connected socket.

        Args:
            connection: A local one, of a stream or of packets.
            gone: Makes the error for a failure, from what the system says of it.
        """
        self._socket = connection
        self._gone = gone

    def fileno(self) -> int:
        """Return the descriptor, for selecting: readable when bytes or the end are there."""
        return self._socket.fileno()

    def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send bytes, which may not be none, and descriptors with the first of them."""
        try:
            sent = socket.send_fds(self._socket, [data], descriptors) if descriptors else 0
            if sent < len(data):
                self._socket.sendall(memoryview(data)[sent:])
        except OSError as e:
            raise self._gone(str(e)) from e

    def receive(self, most: int, *, descriptors: int) -> tuple[bytes, list[int]]:
        """Take up to `most` bytes and as many descriptors, which the caller owns; never nothing."""
        with self._translated():
            data, found, _, _ = socket.recv_fds(self._socket, most, descriptors)
        if not data:
            close_descriptors(found)
            raise self._gone(_CLOSED)
        return data, found

    def receive_exactly(self, count: int) -> bytes:
        """Take so many bytes of a stream, and no descriptor."""
        body = bytearray(count)
        view = memoryview(body)
        while view:
            with self._translated():
                got = self._socket.recv_into(view)
            if got == 0:
                raise self._gone(_CLOSED)
            view = view[got:]
        return bytes(body)

    @contextlib.contextmanager
    def within(self, timeout_s: float | None) -> Iterator[None]:
        """Let each step inside wait no longer than this; for ever where it is None."""
        self._socket.settimeout(timeout_s)
        try:
            yield
        finally:
            self._socket.settimeout(None)

    def end_input(self) -> None:
        """Make this end read as if the other were gone; sending still works."""
        self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise self._gone(str(e) or "no answer in time") from e


@contextlib.contextmanager
def closed_on_error(descriptors: Sequence[int]) -> Iterator[None]:
    """Close descriptors where what is inside fails: nobody has taken them over then."""
    try:
        yield
    except BaseException:
        close_descriptors(descriptors)
        raise


def close_descriptors(descriptors: Sequence[int]) -> None:
    """Close all of them."""
    for descriptor in descriptors:
        os.close(descriptor)
