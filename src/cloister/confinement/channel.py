"""Messages with descriptors between the launcher and pid 1 of the sandbox.

A message is canonical CBOR behind a 4-byte big-endian length, on a local stream socket;
descriptors travel with the length. Both ends are Cloister's code; still, lengths are bounded, and
the launcher's end never waits longer than it is told to.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Final

from cloister.errors import ConfinementError
from cloister.wire import Fields, Value, encode
from cloister.wire.descriptors import DescriptorSocket, closed_on_error

__all__ = ["MAX_MESSAGE_BYTES", "Channel"]

MAX_MESSAGE_BYTES: Final = 96 << 20
_LENGTH_BYTES: Final = 4
_MAX_DESCRIPTORS: Final = 32


class Channel:
    """One end of the conversation."""

    def __init__(self, connection: socket.socket) -> None:
        """Take a connected local stream socket."""
        self._end = DescriptorSocket(connection, gone=_gone)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make both ends; neither survives an exec."""
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(left), cls(right)

    def fileno(self) -> int:
        """Return the descriptor, for selecting."""
        return self._end.fileno()

    def send(self, message: Mapping[str, Value], descriptors: Sequence[int] = ()) -> None:
        """Send one message.

        Raises:
            ConfinementError: The other end is gone.
        """
        body = encode(message)
        self._end.send(len(body).to_bytes(_LENGTH_BYTES, "big"), descriptors)
        self._end.send(body)

    def receive(self, *, timeout_s: float | None) -> tuple[Fields, list[int]]:
        """Take the next message; the caller owns the descriptors.

        Raises:
            ConfinementError: The other end is gone, or silent for `timeout_s` seconds.
            MalformedError: Not a message.
        """
        with self._end.within(timeout_s):
            header, descriptors = self._end.receive(_LENGTH_BYTES, descriptors=_MAX_DESCRIPTORS)
            with closed_on_error(descriptors):
                body = self._end.receive_exactly(_length(header))
                what = "sandbox message"
                return Fields.decode(body, what=what, max_bytes=MAX_MESSAGE_BYTES), descriptors

    def close(self) -> None:
        """Hang up."""
        self._end.close()


def _length(header: bytes) -> int:
    if len(header) != _LENGTH_BYTES:
        raise _gone("it closed the channel")
    length = int.from_bytes(header, "big")
    if length > MAX_MESSAGE_BYTES:
        raise _gone("its message is too long")
    return length


def _gone(detail: str) -> ConfinementError:
    return ConfinementError(
        "the other end of the sandbox's channel is gone", code="confinement.setup", detail=detail
    )
