"""The plan in pieces: how trainer 0 gives it to the server, and how the others get it. Pure.

Pieces are repeated until the other side has them: a message that was lost, or a server that began
again, costs ticks and nothing else.

Spec: training-round-v1, clauses TR-35 to TR-37.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cloister.cleanroom.aggregation import Array
from cloister.cleanroom.exchange_message import NO_WISH, ExchangeMessage
from cloister.errors import RemoteProtocolError

__all__ = ["Publishing", "Wanting"]

_PATIENCE: Final = 4  # ticks until what was not acknowledged is sent again


class Publishing:
    """A plan and first parameters on their way to the server."""

    def __init__(self, plan: bytes, initial: Array, *, piece_bytes: int) -> None:
        """Take what to send, and the most that one message carries."""
        self._plan = plan
        self._initial = initial
        self._piece_bytes = piece_bytes
        self._held = 0
        self._sent = 0
        self._idle = 0
        self._begun = False

    @property
    def total(self) -> int:
        """The plan's bytes."""
        return len(self._plan)

    @property
    def done(self) -> bool:
        """Whether the server has begun with them."""
        return self._begun

    def acknowledged(self, held: int, *, begun: bool) -> None:
        """Note what the server says that it holds, and whether it tells parameters."""
        self._held = min(held, self.total)
        self._begun = self._begun or begun

    def again(self) -> None:
        """Begin again at what the server holds: what was on its way is lost."""
        self._sent = 0
        self._held = 0
        self._idle = _PATIENCE
        self._begun = False

    def next(self) -> tuple[int, bytes] | Array | None:
        """Return what goes with the next message: a piece, the parameters, or nothing for now."""
        if self._begun:
            return None
        if self._sent > self.total or (self._sent == self.total and self._held < self.total):
            self._idle += 1
            if self._idle <= _PATIENCE:
                return None
            self._sent = self._held
        self._idle = 0
        if self._sent < self.total:
            offset = self._sent
            piece = self._plan[offset : offset + self._piece_bytes]
            self._sent += len(piece)
            return offset, piece
        self._sent = self.total + 1
        return self._initial


@dataclass(slots=True)
class Wanting:
    """A plan on its way from the server.

    Attributes:
        wanted: Whether the trainer asks for it.
    """

    wanted: bool = False
    _pieces: bytearray = field(default_factory=bytearray)
    _total: int = 0

    @property
    def plan(self) -> bytes | None:
        """All of it, once it is here."""
        return bytes(self._pieces) if self._total and len(self._pieces) == self._total else None

    @property
    def wish(self) -> int:
        """From which byte on the server is asked for it."""
        return len(self._pieces) if self.wanted and self.plan is None else NO_WISH

    def take(self, message: ExchangeMessage) -> None:
        """Take a piece; one that is here already is not looked at.

        Raises:
            RemoteProtocolError: `protocol.remote`: it is of another plan.
        """
        if not self.wanted or self.plan is not None:
            return
        if self._total not in {0, message.total}:
            raise RemoteProtocolError("a piece of another plan", code="protocol.remote")
        self._total = message.total
        if message.offset == len(self._pieces):
            self._pieces += bytes(message.body)
