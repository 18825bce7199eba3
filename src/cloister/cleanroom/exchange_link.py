"""Whole messages over a stream socket, and threads that end when their connection does.

Messages have one size and nothing between them. Who reads and who writes share the socket; either
may end it, and both then see that it has ended.

Spec: training-round-v1, clauses TR-10 and TR-40.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final

__all__ = ["Link", "Now"]

Now = Callable[[], float]

_PIECE: Final = 1 << 20


class Link:
    """One connection, with a buffer for each direction."""

    def __init__(self, sock: socket.socket, *, size: int, now: Now) -> None:
        """Take over a connected socket, and the size of its messages."""
        sock.settimeout(None)
        with contextlib.suppress(OSError):  # not every stream has it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._now = now
        self.incoming = bytearray(size)
        self.outgoing = bytearray(size)
        self.reader: threading.Thread | None = None
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether the connection is over, for whoever still uses it."""
        return self._ended.is_set()

    def receive(self) -> float | None:
        """Fill the buffer with the next message; None where the connection has ended.

        Returns:
            When its first byte was there.
        """
        view = memoryview(self.incoming)
        begun: float | None = None
        try:
            while view:
                count = self._socket.recv_into(view[:_PIECE])
                if not count:
                    return None
                if begun is None:
                    begun = self._now()
                view = view[count:]
        except OSError:
            return None
        return begun

    def send(self) -> bool:
        """Send the other buffer; False where the connection has ended."""
        try:
            self._socket.sendall(self.outgoing)
        except OSError:
            return False
        return True

    def end(self) -> None:
        """End the connection: whoever waits for it goes on."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it, wait for the thread that reads, and give the socket back."""
        self.end()
        if self.reader is not None and self.reader is not threading.current_thread():
            self.reader.join()
        self._socket.close()
