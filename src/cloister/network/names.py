"""Answers what the workload's programs ask about names: its own hosts, and nothing else exists.

Programs that read the file of hosts never ask. Those that do learn the same here. Any other name
does not exist, at once, instead of after a resolver's patience; it is counted and reported, so
that the policy's author learns which line of `egress` is missing. Nothing is ever forwarded.

DNS as in RFC 1035, over UDP, one question a message.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from cloister.errors import MalformedError
from cloister.network.loop import READ, Loop
from cloister.wire.binary import BinaryReader

__all__ = ["NameServer", "Question", "answer_to"]

_HEADER: Final = struct.Struct(">6H")
_ANSWER: Final = struct.Struct(">HHHIH4s")
_MAX_MESSAGE: Final = 1232
_MAX_LABEL: Final = 63
_MAX_NAME: Final = 253
_RESPONSE, _RECURSION_WANTED, _RECURSION_OFFERED = 0x8000, 0x0100, 0x0080
_OPCODES: Final = 0x7800
_NO_SUCH_NAME: Final = 3
_INTERNET, _A = 1, 1
_POINTER_TO_QUESTION: Final = 0xC000 | _HEADER.size
_TTL_S: Final = 60
_AT_ONCE: Final = 64
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    r"""What one message asks.

    Attributes:
        number: By which the program knows the answer again.
        name: In lower case; bytes that no host's name has are written `\ddd`.
        kind: 1 for an IPv4 address, 28 for an IPv6 one.
        recursive: Whether recursion is wanted.
        asked: The question's own bytes, to be repeated.
    """

    number: int
    name: str
    kind: int
    recursive: bool
    asked: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Question:
        """Read a message of the workload; untrusted. What follows the question is not looked at.

        Raises:
            MalformedError: Not one question in the ordinary form.
        """
        if len(data) > _MAX_MESSAGE:
            raise _malformed()
        reader = BinaryReader(data, cut_off=_malformed)
        number, flags, questions, *_ = _HEADER.unpack(reader.take(_HEADER.size))
        if flags & (_RESPONSE | _OPCODES) or questions != 1:
            raise _malformed()
        labels: list[str] = []
        while (size := reader.take(1)[0]) != 0:
            if size > _MAX_LABEL:  # a pointer, which no question has
                raise _malformed()
            labels.append("".join(map(_shown, reader.take(size))))
            if reader.at > _HEADER.size + _MAX_NAME + 1:
                raise _malformed()
        kind, network = struct.unpack(">2H", reader.take(4))
        if network != _INTERNET:
            raise _malformed()
        asked = data[_HEADER.size : reader.at]
        recursive = bool(flags & _RECURSION_WANTED)
        return cls(number, ".".join(labels) or ".", kind, recursive, asked)


def answer_to(question: Question, address: str | None, *, is_known: bool) -> bytes:
    """Return the answer: an address, or that there is none of this kind, or no such name."""
    flags = _RESPONSE | _RECURSION_OFFERED | (_RECURSION_WANTED if question.recursive else 0)
    record = b""
    if not is_known:
        flags |= _NO_SUCH_NAME
    elif question.kind == _A and address is not None:
        packed = IPv4Address(address).packed
        record = _ANSWER.pack(_POINTER_TO_QUESTION, _A, _INTERNET, _TTL_S, len(packed), packed)
    head = _HEADER.pack(question.number, flags, 1, 1 if record else 0, 0, 0)
    return head + question.asked + record


class NameServer:
    """Answers on one UDP socket of the workload's network."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        *,
        known: Mapping[str, str],
        missing: Callable[[str], None],
    ) -> None:
        """Begin.

        Args:
            loop: Calls us.
            sock: Bound, taken over.
            known: Addresses by name, in lower case.
            missing: Told each name that does not exist, as often as it is asked for.
        """
        self._sock, self._known, self._missing = sock, known, missing
        sock.settimeout(0)
        loop.watch(sock, self._ready, READ)

    def _ready(self, _events: int) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, sender = self._sock.recvfrom(_MAX_MESSAGE + 1)
                question = Question.from_bytes(data)
                is_known = question.name in self._known
                if not is_known:
                    self._missing(question.name)
                reply = answer_to(question, self._known.get(question.name), is_known=is_known)
                self._sock.sendto(reply, sender)
            except MalformedError:
                continue  # as a resolver does: no answer to what is no question
            except OSError as e:
                if not isinstance(e, BlockingIOError):
                    _LOG.debug("no answer about a name: %s", e)
                return


def _shown(byte: int) -> str:
    char = chr(byte)
    if char.isascii() and (char.isalnum() or char in "-_"):
        return char.lower()
    return f"\\{byte:03d}"


def _malformed() -> MalformedError:
    return MalformedError("not a question about a name", code="message.malformed")
