"""What relays say to each other inside of TLS: a greeting, an answer, then frames. Pure.

TLS alone cannot carry a TCP connection whole: in the library that we have its end of data closes
both directions, and a cut connection must not look like one that ended. So data travels in frames,
a length and its bytes; one length says that a direction has ended, another that the connection was
reset. An end that nobody said is a reset.

Spec: relay-v1.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final

from cloister.errors import MalformedError

__all__ = [
    "ABORT",
    "ALPN",
    "ANSWER_BYTES",
    "END",
    "GREETING_BYTES",
    "MAX_FRAME_BYTES",
    "Answer",
    "Greeting",
    "Mark",
    "Unframer",
    "header",
]

ALPN: Final = "cloister-relay/1"
VERSION: Final = 1
GREETING_BYTES: Final = 4
ANSWER_BYTES: Final = 4
HEADER_BYTES: Final = 4
MAX_FRAME_BYTES: Final = 1 << 20
_WORD: Final = struct.Struct(">I")
_OPENING: Final = struct.Struct(">BBH")
_END_WORD: Final = 0
_ABORT_WORD: Final = 0xFFFF_FFFF
END: Final = _WORD.pack(_END_WORD)
ABORT: Final = _WORD.pack(_ABORT_WORD)


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the opener says first: which port of the acceptor's program is meant."""

    port: int

    def to_bytes(self) -> bytes:
        """Return the four bytes."""
        return _OPENING.pack(VERSION, 0, self.port)

    @classmethod
    def from_bytes(cls, data: bytes) -> Greeting:
        """Read from untrusted bytes.

        Raises:
            MalformedError: Not exactly a greeting of this version.
        """
        if len(data) != GREETING_BYTES:
            raise _malformed("a greeting has 4 bytes", "RLY-10")
        version, zero, port = _OPENING.unpack(data)
        if version != VERSION or zero != 0:
            raise _malformed("not a greeting of version 1", "RLY-10")
        if port == 0:
            raise _malformed("no port is 0", "RLY-11")
        return cls(port)


class Answer(enum.IntEnum):
    """What the acceptor answers."""

    ACCEPTED = 0
    NOT_THERE = 1
    REFUSED = 2
    BUSY = 3

    def encoded(self) -> bytes:
        """Return the four bytes."""
        return _OPENING.pack(VERSION, self, 0)

    @classmethod
    def read_from(cls, data: bytes) -> Answer:
        """Read from untrusted bytes.

        Raises:
            MalformedError: Not exactly an answer of this version.
        """
        if len(data) != ANSWER_BYTES:
            raise _malformed("an answer has 4 bytes", "RLY-12")
        version, code, zero = _OPENING.unpack(data)
        if version != VERSION or zero != 0 or code not in set(cls):
            raise _malformed("not an answer of version 1", "RLY-12")
        return cls(code)


def header(size: int) -> bytes:
    """Return what stands before a frame of `size` bytes.

    Raises:
        ValueError: No frame has this size.
    """
    if not 1 <= size <= MAX_FRAME_BYTES:
        raise ValueError("no frame has this size")
    return _WORD.pack(size)


class Mark(enum.Enum):
    """How far a direction has come."""

    OPEN = "open"
    ENDED = "ended"
    ABORTED = "aborted"


class Unframer:
    """Where one direction's stream stands: in a frame's bytes, or in a header.

    Holds at most three bytes; what frames carry never passes through here.

    Attributes:
        left: How many bytes of the present frame are still to come.
        mark: Whether the direction goes on.
    """

    __slots__ = ("_word", "left", "mark")

    def __init__(self) -> None:
        """Begin where the first header is expected."""
        self.left = 0
        self.mark = Mark.OPEN
        self._word = b""

    @property
    def wanted(self) -> int:
        """How many bytes of a header are still to come, where `left` is 0."""
        return HEADER_BYTES - len(self._word)

    def head(self, data: bytes) -> None:
        """Take some of the `wanted` bytes; untrusted.

        Raises:
            MalformedError: A frame that is too large, or anything but an abort behind the end.
        """
        self._word += data
        if len(self._word) < HEADER_BYTES:
            return
        (word,) = _WORD.unpack(self._word)
        self._word = b""
        if word == _ABORT_WORD:
            self.mark = Mark.ABORTED
        elif self.mark is Mark.ENDED:
            raise _malformed("more after the end of a direction", "RLY-22")
        elif word == _END_WORD:
            self.mark = Mark.ENDED
        elif word > MAX_FRAME_BYTES:
            raise _malformed(f"a frame of {word} bytes", "RLY-20")
        else:
            self.left = word

    def feed(self, data: bytes) -> bytes:
        """Return what this piece of the stream carries; stops at an abort.

        Raises:
            MalformedError: As `head`.
        """
        parts: list[bytes] = []
        at = 0
        while at < len(data) and self.mark is not Mark.ABORTED:
            size = self.left or self.wanted
            piece = data[at : at + size]
            at += len(piece)
            if self.left:
                parts.append(piece)
                self.left -= len(piece)
            else:
                self.head(piece)
        return b"".join(parts)


def _malformed(what: str, clause: str) -> MalformedError:
    return MalformedError(
        f"what the other relay said does not parse: {what}", code="message.malformed", clause=clause
    )
