"""Messages with descriptors between the launcher and another process of a run.

A message is canonical CBOR behind a 4-byte big-endian length, on a local stream socket;
descriptors travel with the length. Both ends are Cloister's code; still, lengths are bounded, and
the launcher's end never waits longer than it is told to.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cloister.errors import CloisterError, ConfinementError
from cloister.wire import Fields, Value, encode
from cloister.wire.descriptors import DescriptorSocket, closed_on_error

__all__ = ["MAX_MESSAGE_BYTES", "Channel"]

Gone = Callable[[str], CloisterError]

MAX_MESSAGE_BYTES: Final = 96 << 20
_LENGTH_BYTES: Final = 4
_MAX_DESCRIPTORS: Final = 32


class Channel:
    """One end of the conversation."""

    def __init__(self, connection: socket.socket, *, gone: Gone | None = None) -> None:
        """Take a connected local stream socket; `gone` makes the error for its failures."""
        self._gone = gone or _gone
        self._end = DescriptorSocket(connection, gone=self._gone)

    @classmethod
    def pair(cls, *, gone: Gone | None = None) -> tuple[Channel, Channel]:
        """Make both ends; neither survives an exec."""
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(left, gone=gone), cls(right, gone=gone)

    def fileno(self) -> int:
        """Return the descriptor, for selecting."""
        return self._end.fileno()

    def send(self, message: Mapping[str, Value], descriptors: Sequence[int] = ()) -> None:
        """Send one message.

        Raises:
            CloisterError: The other end is gone: a `ConfinementError`, or what `gone` makes.
        """
        body = encode(message)
        self._end.send(len(body).to_bytes(_LENGTH_BYTES, "big"), descriptors)
        self._end.send(body)

    def receive(self, *, timeout_s: float | None) -> tuple[Fields, list[int]]:
        """Take the next message; the caller owns the descriptors.

        Raises:
            CloisterError: The other end is gone, or silent for `timeout_s` seconds.
            MalformedError: Not a message.
        """
        with self._end.within(timeout_s):
            header, descriptors = self._end.receive(_LENGTH_BYTES, descriptors=_MAX_DESCRIPTORS)
            with closed_on_error(descriptors):
                body = self._end.receive_exactly(self._length(header))
                what = "sandbox message"
                return Fields.decode(body, what=what, max_bytes=MAX_MESSAGE_BYTES), descriptors

    def close(self) -> None:
        """Hang up."""
        self._end.close()

    def _length(self, header: bytes) -> int:
        if len(header) != _LENGTH_BYTES:
            raise self._gone("it closed the channel")
        length = int.from_bytes(header, "big")
        if length > MAX_MESSAGE_BYTES:
            raise self._gone("its message is too long")
        return length


def _gone(detail: str) -> ConfinementError:
    return ConfinementError(
        "the other end of the sandbox's channel is gone", code="confinement.setup", detail=detail
    )
