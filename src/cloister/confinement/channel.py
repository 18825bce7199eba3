"""Messages with descriptors between the launcher and pid 1 of the sandbox.

A message is canonical CBOR behind a 4-byte big-endian length, on a local stream socket;
descriptors travel with the length. Both ends are Cloister's code; still, lengths are bounded, and
the launcher's end never waits longer than it is told to.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Final

from cloister.errors import ConfinementError
from cloister.wire import Fields, Value, encode

__all__ = ["MAX_MESSAGE_BYTES", "Channel"]

MAX_MESSAGE_BYTES: Final = 96 << 20
_LENGTH_BYTES: Final = 4
_MAX_DESCRIPTORS: Final = 32


class Channel:
    """One end of the conversation."""

    def __init__(self, connection: socket.socket) -> None:
        """Take a connected local stream socket."""
        self._socket = connection

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make both ends; neither survives an exec."""
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(left), cls(right)

    def fileno(self) -> int:
        """Return the descriptor, for selecting."""
        return self._socket.fileno()

    def send(self, message: Mapping[str, Value], descriptors: Sequence[int] = ()) -> None:
        """Send one message.

        Raises:
            ConfinementError: The other end is gone.
        """
        body = encode(message)
        try:
            socket.send_fds(
                self._socket, [len(body).to_bytes(_LENGTH_BYTES, "big")], list(descriptors)
            )
            self._socket.sendall(body)
        except OSError as e:
            raise _gone(str(e)) from e

    def receive(self, *, timeout_s: float | None) -> tuple[Fields, list[int]]:
        """Take the next message; the caller owns the descriptors.

        Raises:
            ConfinementError: The other end is gone, or silent for `timeout_s` seconds.
        """
        self._socket.settimeout(timeout_s)
        descriptors: list[int] = []
        try:
            header, descriptors, _, _ = socket.recv_fds(
                self._socket, _LENGTH_BYTES, _MAX_DESCRIPTORS
            )
            body = self._exactly(self._length(header))
        except OSError as e:
            _close_all(descriptors)
            raise _gone(str(e) or "no answer in time") from e
        except ConfinementError:
            _close_all(descriptors)
            raise
        finally:
            self._socket.settimeout(None)
        fields = Fields.decode(body, what="sandbox message", max_bytes=MAX_MESSAGE_BYTES)
        return fields, descriptors

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _length(self, header: bytes) -> int:
        if len(header) != _LENGTH_BYTES:
            raise _gone("it closed the channel")
        length = int.from_bytes(header, "big")
        if length > MAX_MESSAGE_BYTES:
            raise _gone("its message is too long")
        return length

    def _exactly(self, count: int) -> bytes:
        body = bytearray(count)
        view = memoryview(body)
        while view:
            got = self._socket.recv_into(view)
            if got == 0:
                raise _gone("it closed the channel")
            view = view[got:]
        return bytes(body)


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _gone(detail: str) -> ConfinementError:
    return ConfinementError(
        "the other end of the sandbox's channel is gone", code="confinement.setup", detail=detail
    )
