"""Messages between a launcher and its volume server: canonical maps over a socket pair.

Both ends are one program's processes, parent and forked child; a message may carry one file
descriptor. Keys travel here, so nothing is logged and nothing else may hold the socket.
"""

from __future__ import annotations

import os
import select
import socket
import time
from dataclasses import dataclass
from typing import Final

from cloister.errors import UnavailableError, WorkloadError
from cloister.wire import Fields, Value, encode

__all__ = ["MAX_MESSAGE", "Channel", "Message"]

MAX_MESSAGE: Final = 65536
_POLL_LIMIT_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its kind, what else it says, and the descriptor that came with it, if any."""

    kind: str
    fields: Fields
    descriptor: int | None


class Channel:
    """One end of the socket pair."""

    def __init__(self, end: socket.socket) -> None:
        """Take over one end."""
        self._socket = end

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make two connected ends that keep message boundaries."""
        one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(two)

    def fileno(self) -> int:
        """Return the descriptor, for poll: readable when a message or the end is there."""
        return self._socket.fileno()

    def send(self, kind: str, *, descriptor: int | None = None, **fields: Value) -> None:
        """Send one message.

        Raises:
            WorkloadError: Code `workload.volume-server`: the other end is gone.
        """
        data = encode({"kind": kind, **fields})
        try:
            if descriptor is None:
                self._socket.send(data)
            else:
                socket.send_fds(self._socket, [data], [descriptor])
        except OSError as e:
            raise _gone() from e

    def receive(self, *, timeout_s: float) -> Message:
        """Wait for one message.

        Raises:
            UnavailableError: Code `volume.busy`: nothing came in time.
            WorkloadError: Code `workload.volume-server`: the other end is gone.
            MalformedError: Not a message.
        """
        if not self.waiting(timeout_s):
            raise UnavailableError(
                f"the volume's server did not answer within {timeout_s:g} s", code="volume.busy"
            )
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, MAX_MESSAGE, 1)
        except OSError as e:
            raise _gone() from e
        if not data:
            raise _gone()
        fields = Fields.decode(data, what="volume server message", max_bytes=MAX_MESSAGE)
        kind = fields.text("kind", max_length=16)
        return Message(kind, fields, descriptors[0] if descriptors else None)

    def waiting(self, timeout_s: float) -> bool:
        """Wait until a message or the end is there; tell whether that happened in time."""
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        left = timeout_s
        while not poll.poll(1000 * max(0.0, min(left, _POLL_LIMIT_S))):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
        return True

    def end_input(self) -> None:
        """Make this end read as if the other were gone; sending still works."""
        self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()


def close_descriptor(descriptor: int | None) -> None:
    """Close a descriptor that came with a message, if one did."""
    if descriptor is not None:
        os.close(descriptor)


def _gone() -> WorkloadError:
    return WorkloadError("the volume's server is gone", code="workload.volume-server")
