"""Messages between a launcher and its volume server: canonical maps over a socket pair.

Both ends are one program's processes, parent and forked child; a message may carry one file
descriptor. Keys travel here, so nothing is logged and nothing else may hold the socket.
"""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass
from typing import Final

from cloister.errors import UnavailableError, WorkloadError
from cloister.wire import Fields, Value, encode
from cloister.wire.descriptors import DescriptorSocket, close_descriptors, closed_on_error

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
        self._end = DescriptorSocket(end, gone=_gone)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make two connected ends that keep message boundaries."""
        one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(two)

    def fileno(self) -> int:
        """Return the descriptor, for poll: readable when a message or the end is there."""
        return self._end.fileno()

    def send(self, kind: str, *, descriptor: int | None = None, **fields: Value) -> None:
        """Send one message.

        Raises:
            WorkloadError: Code `workload.volume-server`: the other end is gone.
        """
        descriptors = () if descriptor is None else (descriptor,)
        self._end.send(encode({"kind": kind, **fields}), descriptors)

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
        data, descriptors = self._end.receive(MAX_MESSAGE, descriptors=1)
        with closed_on_error(descriptors):
            fields = Fields.decode(data, what="volume server message", max_bytes=MAX_MESSAGE)
            kind = fields.text("kind", max_length=16)
        return Message(kind, fields, descriptors[0] if descriptors else None)

    def waiting(self, timeout_s: float) -> bool:
        """Wait until a message or the end is there; tell whether that happened in time."""
        deadline = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        left = timeout_s
        while not poll.poll(1000 * max(0.0, min(left, _POLL_LIMIT_S))):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
        return True

    def end_input(self) -> None:
        """Make this end read as if the other were gone; sending still works."""
        self._end.end_input()

    def close(self) -> None:
        """Give the descriptor back."""
        self._end.close()


def close_descriptor(descriptor: int | None) -> None:
    """Close a descriptor that came with a message, if one did."""
    if descriptor is not None:
        close_descriptors((descriptor,))


def _gone(detail: str) -> WorkloadError:
    return WorkloadError(
        "the volume's server is gone", code="workload.volume-server", detail=detail
    )
