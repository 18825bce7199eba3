"""Messages over a cell's pipe, which has at its other end a program that nobody trusts.

Only `read`, `write` and `poll` are used, on descriptors that the caller made: a cell may do no
more. Every wait ends. A message has one deadline for all of it, however slowly its bytes come.
After an error nothing more can be said or heard: the pipe refuses to go on, and its cell is of no
use.

Spec: confinement-channel-v1, clauses CC-30 to CC-34.
"""

from __future__ import annotations

import os
import select
import time
from typing import Final

import numpy as np

from cloister.cleanroom.encoding import Data, Limits, Message, decode, parts
from cloister.cleanroom.frames import (
    PREFIX_BYTES,
    frames_for,
    length_in,
    prefix,
    require_frame_bytes,
    require_zeros,
)
from cloister.errors import LocalProtocolError, MalformedError, WorkloadError

__all__ = ["Pipe"]

_CHUNK_BYTES: Final = 256 << 10


class Pipe:
    """One end: it sends and receives whole messages, each in whole frames."""

    def __init__(
        self,
        descriptor: int,
        frame_bytes: int,
        limits: Limits,
        *,
        send_s: float | None = 30.0,
        write_descriptor: int | None = None,
    ) -> None:
        """Take a connected local stream socket, or the two pipes of a pair.

        Args:
            descriptor: What is read from, and written to if it is a socket. The pipe owns it.
            frame_bytes: The size of frames in both directions.
            limits: For messages that are received.
            send_s: How long the other end may take to take a message. `None`: for ever, which is
                for cells only. Where it is a number, descriptors are made not to block.
            write_descriptor: The pipe that is written to, where it is another.
        """
        require_frame_bytes(frame_bytes)
        self._reading = descriptor
        self._writing = descriptor if write_descriptor is None else write_descriptor
        self._frame_bytes = frame_bytes
        self._limits = limits
        self._send_s = send_s
        self._broken = False
        self._closed = False
        self._blocking = send_s is None
        if not self._blocking:
            os.set_blocking(self._reading, False)
            os.set_blocking(self._writing, False)

    def fileno(self) -> int:
        """Return the descriptor that is read from, for selecting."""
        return self._reading

    def send(self, message: Message) -> None:
        """Send one message, all of it.

        Raises:
            LocalProtocolError: The message cannot be written down; nothing was sent.
            WorkloadError: `cell.late`, `cell.ended`.
        """
        pieces = parts(message)
        length = sum(len(piece) for piece in pieces)
        framed = frames_for(length, self._frame_bytes) * self._frame_bytes
        filling = bytes(framed - length - PREFIX_BYTES)
        self._begin()
        deadline = _deadline(self._send_s)
        for piece in _joined([prefix(length), *pieces, filling]):
            self._write(piece, deadline)
        self._broken = False

    def receive(self, timeout_s: float | None) -> Message:
        """Wait for one message, `timeout_s` seconds for all of it, or for ever.

        Raises:
            MalformedError: Not a message, or beyond the limits.
            WorkloadError: `cell.late`, `cell.ended`.
        """
        self._begin()
        deadline = _deadline(timeout_s)
        start = np.empty(PREFIX_BYTES, np.uint8).data
        self._fill(start, deadline)
        length = length_in(start, self._limits.message_bytes)
        if not length:
            raise MalformedError("a pipe has no idle frames", code="wire.malformed", clause="CC-31")
        framed = frames_for(length, self._frame_bytes) * self._frame_bytes
        body = np.empty(framed - PREFIX_BYTES, np.uint8).data
        self._fill(body, deadline)
        require_zeros(body[length:])
        message = decode(body[:length], self._limits)
        self._broken = False
        return message

    def close(self) -> None:
        """Close the descriptors; once is enough."""
        if self._closed:
            return
        self._closed = self._broken = True
        for descriptor in {self._reading, self._writing}:
            os.close(descriptor)

    def _begin(self) -> None:
        """Be broken until what begins now has ended well."""
        if self._broken:
            raise LocalProtocolError("the pipe was closed, or has failed", code="protocol.local")
        self._broken = True

    def _write(self, data: Data, deadline: float | None) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._writing, view) :]
            except BlockingIOError:
                _wait(self._writing, select.POLLOUT, deadline)
            except OSError as e:
                raise _ended() from e
            else:
                _require_time(deadline)

    def _fill(self, view: memoryview, deadline: float | None) -> None:
        at = 0
        while at < len(view):
            if self._blocking and deadline is not None:
                _wait(self._reading, select.POLLIN, deadline)
            try:
                found = os.read(self._reading, min(len(view) - at, _CHUNK_BYTES))
            except BlockingIOError:
                _wait(self._reading, select.POLLIN, deadline)
                continue
            except OSError as e:
                raise _ended() from e
            if not found:
                raise _ended()
            view[at : at + len(found)] = found
            at += len(found)
            _require_time(deadline)


def _deadline(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else time.monotonic() + timeout_s


def _wait(descriptor: int, event: int, deadline: float | None) -> None:
    """Wait until something can be done; that the other end is gone is something, too."""
    poll = select.poll()
    poll.register(descriptor, event)
    left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
    if not poll.poll(left_ms):
        raise _late()


def _require_time(deadline: float | None) -> None:
    """Refuse who always does a little: what is ready need not wait, and would never be late."""
    if deadline is not None and time.monotonic() > deadline:
        raise _late()


def _joined(pieces: list[Data]) -> list[Data]:
    """Join what is small: a call costs more than copying it."""
    joined: list[Data] = []
    small: list[Data] = []
    for piece in pieces:
        if len(piece) < _CHUNK_BYTES:
            small.append(piece)
            continue
        joined += [b"".join(small), piece]
        small = []
    return [*joined, b"".join(small)]


def _late() -> WorkloadError:
    return WorkloadError("a cell did not send or take a message in time", code="cell.late")


def _ended() -> WorkloadError:
    return WorkloadError("a cell closed its pipe, or ended", code="cell.ended")
