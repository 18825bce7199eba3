"""What workload and desk say to each other: frames of one size, each answered before the next.

Spec: membership-v1, clauses MEM-90 to MEM-93.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.errors import MalformedError, error_from_wire
from cloister.keyservice.budget_messages import MAX_AMOUNT, padded, require_spendable, unpadded
from cloister.wire import Fields, Value, encode

__all__ = ["FRAME_BYTES", "DeskAnswer", "DeskQuestion"]

FRAME_BYTES: Final = 512
_VERSION: Final = 1
_MAX_MESSAGE: Final = 200


@dataclass(frozen=True, slots=True)
class DeskQuestion:
    """What a workload wants to spend of which budget, in whose name."""

    budget: str
    principal: str
    amount: int

    def __post_init__(self) -> None:
        """Within bounds."""
        require_spendable(self.budget, self.principal, self.amount)

    def to_frame(self) -> bytes:
        """Return the frame."""
        value: dict[str, Value] = {
            "version": _VERSION,
            "budget": self.budget,
            "principal": self.principal,
            "amount": self.amount,
        }
        return padded(encode(value), FRAME_BYTES)

    @classmethod
    def from_frame(cls, frame: bytes) -> DeskQuestion:
        """Read an untrusted frame.

        Raises:
            MalformedError: It is no question.
        """
        fields = _fields(frame)
        question = cls(
            budget=fields.text("budget", max_length=64),
            principal=fields.text("principal", max_length=255),
            amount=fields.integer("amount", maximum=MAX_AMOUNT),
        )
        fields.end()
        return question


@dataclass(frozen=True, slots=True)
class DeskAnswer:
    """What came of a question.

    Attributes:
        left: What the principal has left; 0 where nothing was spent.
        code: Of what was raised; empty where the amount was spent.
        message: Its sentence.
    """

    left: int
    code: str = ""
    message: str = ""

    def to_frame(self) -> bytes:
        """Return the frame; a long sentence is cut."""
        value: dict[str, Value] = {
            "version": _VERSION,
            "left": self.left,
            "code": self.code,
            "message": _cut(self.message),
        }
        return padded(encode(value), FRAME_BYTES)

    @classmethod
    def from_frame(cls, frame: bytes) -> DeskAnswer:
        """Read a frame.

        Raises:
            MalformedError: It is no answer.
        """
        fields = _fields(frame)
        answer = cls(
            left=fields.integer("left"),
            code=fields.text("code", max_length=64),
            message=fields.text("message", max_length=_MAX_MESSAGE),
        )
        fields.end()
        return answer

    def require_spent(self) -> int:
        """Return what is left.

        Raises:
            CloisterError: By the code.
        """
        if self.code:
            raise error_from_wire(self.code, self.message)
        return self.left


def _fields(frame: bytes) -> Fields:
    fields = Fields.decode(unpadded(frame, FRAME_BYTES), what="frame", max_bytes=FRAME_BYTES)
    if fields.integer("version") != _VERSION:
        raise MalformedError("a frame of another version", code="message.malformed")
    return fields


def _cut(text: str) -> str:
    """Cut a sentence so that its bytes fit into a frame beside the rest."""
    return text.encode()[:_MAX_MESSAGE].decode(errors="ignore")
