"""Messages in frames of one size: what is seen of them from outside is how many there were.

A message is eight bytes of length, its own bytes, and zeros up to a whole number of frames. A frame
that begins with length 0 is idle: it looks like any other, and carries nothing. Pure.

Spec: confinement-channel-v1, clauses CC-20 to CC-24.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cloister.cleanroom.encoding import Data
from cloister.errors import CallerError, MalformedError

__all__ = ["MAX_FRAME_BYTES", "MIN_FRAME_BYTES", "PREFIX_BYTES", "Deframer"]
__all__ += [
    "frames_for",
    "idle",
    "length_in",
    "prefix",
    "require_frame_bytes",
    "require_zeros",
    "split",
]

PREFIX_BYTES: Final = 8
MIN_FRAME_BYTES: Final = 64
MAX_FRAME_BYTES: Final = 1 << 30


def require_frame_bytes(frame_bytes: int) -> None:
    """Refuse a size that frames do not have."""
    if not MIN_FRAME_BYTES <= frame_bytes <= MAX_FRAME_BYTES or frame_bytes % PREFIX_BYTES:
        raise CallerError(
            f"frames have {MIN_FRAME_BYTES} to {MAX_FRAME_BYTES} bytes, in eights",
            code="caller.misuse",
        )


def prefix(length: int) -> bytes:
    """Return what stands before a message of that length."""
    return length.to_bytes(PREFIX_BYTES, "little")


def frames_for(length: int, frame_bytes: int) -> int:
    """Return how many frames a message of that length takes."""
    return -(-(PREFIX_BYTES + length) // frame_bytes)


def split(data: Data, frame_bytes: int) -> Iterator[bytes]:
    """Return a message's frames, each of exactly that size."""
    require_frame_bytes(frame_bytes)
    if not data:
        raise CallerError("an empty message would be an idle frame", code="caller.misuse")
    view = memoryview(data)
    room = frame_bytes - PREFIX_BYTES
    yield _filled(prefix(len(view)) + view[:room], frame_bytes)
    for at in range(room, len(view), frame_bytes):
        yield _filled(bytes(view[at : at + frame_bytes]), frame_bytes)


def idle(frame_bytes: int) -> bytes:
    """Return a frame that carries nothing."""
    require_frame_bytes(frame_bytes)
    return bytes(frame_bytes)


def length_in(start: Data, max_message_bytes: int) -> int:
    """Read the length that a frame begins with; 0 is an idle frame.

    Raises:
        MalformedError: `wire.too-large`.
    """
    length = int.from_bytes(start[:PREFIX_BYTES], "little")
    if length > max_message_bytes:
        raise MalformedError(
            f"message is announced with {length} bytes, and {max_message_bytes} are allowed here",
            code="wire.too-large",
        )
    return length


def require_zeros(rest: Data) -> None:
    """Refuse a filling that says something.

    Raises:
        MalformedError: `wire.malformed`.
    """
    if bytes(rest).count(0) != len(rest):
        raise _malformed("a frame is filled with something other than zeros", "CC-22")


class Deframer:
    """Puts frames together again. Memory grows with what came, never with what was announced."""

    __slots__ = ("_buffer", "_frame_bytes", "_length", "_max_message_bytes")

    def __init__(self, frame_bytes: int, max_message_bytes: int) -> None:
        """Fix the size of frames, and the longest message."""
        require_frame_bytes(frame_bytes)
        self._frame_bytes = frame_bytes
        self._max_message_bytes = max_message_bytes
        self._length = 0
        self._buffer = bytearray()

    @property
    def between(self) -> bool:
        """Whether no message has begun that has not ended."""
        return self._length == 0

    def feed(self, frame: Data) -> bytes | None:
        """Take the next frame; return the message that ends with it, if one does.

        An idle frame inside a message is not seen as one: whoever begins a message sends all of it.

        Raises:
            MalformedError: `wire.malformed`, `wire.too-large`. Nothing can be read any more.
        """
        if len(frame) != self._frame_bytes:
            raise _malformed("a frame has not the size of frames", "CC-20")
        view = memoryview(frame)
        if not self._length:
            self._length = length_in(view, self._max_message_bytes)
            if not self._length:
                require_zeros(view)
                return None
            view = view[PREFIX_BYTES:]
        missing = self._length - len(self._buffer)
        self._buffer += view[:missing]
        if missing > len(view):
            return None
        require_zeros(view[missing:])
        message = bytes(self._buffer)
        self._buffer = bytearray()
        self._length = 0
        return message


def _filled(part: bytes, frame_bytes: int) -> bytes:
    return part if len(part) == frame_bytes else part.ljust(frame_bytes, b"\0")


def _malformed(problem: str, clause: str) -> MalformedError:
    return MalformedError(problem, code="wire.malformed", clause=clause)
