"""Commands to a TPM as bytes, and its answers: strict, bounded, no I/O.

What a TPM answers is read like anything from outside: a virtual one is a program of somebody
else's, and a bus can be listened in on. Whatever does not fit is `attester.failed`.

Source: TCG TPM 2.0 Library, revision 1.59: Part 1, 18 (headers) and 19 (authorizations); Part 2,
6.6 (response codes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloister.errors import CloisterError, UnavailableError, UnsupportedError
from cloister.tee.tpm.transport import MAX_ANSWER_BYTES

__all__ = ["Answer", "Answered", "build", "odd", "refusal", "sized"]

_NO_SESSIONS: Final = 0x8001
_SESSIONS: Final = 0x8002
_PASSWORD: Final = 0x40000009
_EMPTY_AUTHORIZATION: Final = bytes.fromhex("0000 01 0000")
_HEADER_BYTES: Final = 10

# Format-zero warnings (RC_WARN, 0x900) after which the same command may go through.
_AGAIN: Final = frozenset({0x908, 0x909, 0x90A, 0x920, 0x922})
_FULL: Final = frozenset({0x902, 0x903, 0x904, 0x905, 0x906})
_NO_COMMAND: Final = frozenset({0x143, 0x01E})
# A response code about a parameter, handle or session says which in these bits.
_FORMAT_ONE: Final = 0x080
_BASE: Final = 0x0BF
_PARAMETER: Final = 0x040
_ABSENT: Final = frozenset({0x08B, 0x084})  # TPM_RC_HANDLE, TPM_RC_VALUE
_WARNED_ABSENT: Final = frozenset(range(0x910, 0x917))
SIZE: Final = 0x095
_SENTENCES: Final = {
    0x08E: "the TPM asks for a password",
    0x0A2: "the TPM asks for a password",
    0x921: "the TPM is locked after wrong passwords",
    0x100: "the TPM was not started by its firmware",
}


def build(
    code: int, *, handles: Sequence[int] = (), authorized: int = 0, parameters: bytes = b""
) -> bytes:
    """Return a command.

    Args:
        code: TPM_CC.
        handles: Those of its handle area.
        authorized: How many of these need authorization; each by an empty password.
        parameters: Already as bytes.
    """
    sessions = b""
    if authorized:
        each = _PASSWORD.to_bytes(4, "big") + _EMPTY_AUTHORIZATION
        sessions = len(each * authorized).to_bytes(4, "big") + each * authorized
    body = b"".join(handle.to_bytes(4, "big") for handle in handles) + sessions + parameters
    tag = _SESSIONS if authorized else _NO_SESSIONS
    size = _HEADER_BYTES + len(body)
    return tag.to_bytes(2, "big") + size.to_bytes(4, "big") + code.to_bytes(4, "big") + body


class Answer:
    """Takes a TPM's structures one after the other."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        """Take the bytes."""
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes were not taken yet."""
        return len(self._data) - self._at

    def take(self, length: int) -> bytes:
        """Take so many bytes."""
        if length > self.left:
            raise odd("it is cut off")
        self._at += length
        return self._data[self._at - length : self._at]

    def number(self, length: int) -> int:
        """Take a number of so many bytes."""
        return int.from_bytes(self.take(length))

    def sized(self, most: int) -> bytes:
        """Take a TPM2B: a length of two bytes, and as many as it says."""
        length = self.number(2)
        if length > most:
            raise odd("a part is too long")
        return self.take(length)

    def end(self) -> None:
        """Require that nothing is left."""
        if self.left:
            raise odd("it goes on after its end")


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer whose header fits.

    Attributes:
        code: TPM_RC; 0 for success.
        handles: Of what was made.
        parameters: Not read yet; empty unless it is a success.
    """

    code: int
    handles: tuple[int, ...]
    parameters: bytes

    @property
    def again(self) -> bool:
        """Whether the same command may go through later."""
        return self.code in _AGAIN

    @property
    def absent(self) -> bool:
        """Whether what a handle names is not there."""
        of_a_handle = not self.code & _PARAMETER
        return (self.about in _ABSENT and of_a_handle) or self.code in _WARNED_ABSENT

    @property
    def about(self) -> int:
        """The response code without the number of what it is about."""
        return self.code & _BASE if self.code & _FORMAT_ONE else self.code

    @classmethod
    def read(cls, data: bytes, *, handles: int, authorized: int) -> Answered:
        """Read an answer to a command that returns so many handles.

        Raises:
            UnavailableError: It is none (`attester.failed`).
        """
        if len(data) > MAX_ANSWER_BYTES:
            raise odd("it is too long")
        answer = Answer(data)
        tag, size, code = answer.number(2), answer.number(4), answer.number(4)
        if size != len(data):
            raise odd("it has another length than it says")
        if code:
            answer.end()
            return cls(code, (), b"")
        if tag != (_SESSIONS if authorized else _NO_SESSIONS):
            raise odd("it answers another kind of command")
        made = tuple(answer.number(4) for _ in range(handles))
        if not authorized:
            return cls(0, made, answer.take(answer.left))
        parameters = answer.take(answer.number(4))
        for _ in range(authorized):  # an empty nonce, attributes, an empty acknowledgement
            answer.sized(0)
            answer.take(1)
            answer.sized(0)
        answer.end()
        return cls(0, made, parameters)


def refusal(answered: Answered, what: str) -> CloisterError:
    """Return our error for a response code that is no success."""
    detail = f"TPM_RC {answered.code:#x}"
    if answered.again:
        return UnavailableError(f"{what}: the TPM is busy", code="attester.busy", detail=detail)
    if answered.code in _NO_COMMAND:
        return UnsupportedError(
            f"{what}: this TPM does not know the command", code="machine.attester", detail=detail
        )
    if answered.absent:
        return UnsupportedError(
            f"{what}: the TPM does not have that",
            code="machine.attester",
            detail=detail,
            hint="cloister doctor shows what this machine offers",
        )
    if answered.code in _FULL:
        return UnavailableError(
            f"{what}: the TPM has no room",
            code="attester.failed",
            detail=detail,
            hint="use it through its resource manager, /dev/tpmrm0",
        )
    why = _SENTENCES.get(answered.about, "the TPM refuses")
    return UnavailableError(f"{what}: {why}", code="attester.failed", detail=detail)


def odd(why: str) -> UnavailableError:
    """Return the error for an answer that cannot be read."""
    return UnavailableError("the TPM's answer cannot be read", code="attester.failed", detail=why)


def sized(data: bytes) -> bytes:
    """Return a TPM2B."""
    return len(data).to_bytes(2, "big") + data
