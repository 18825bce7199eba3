"""Text on its way to a terminal, file or pipe that may not take it now; nobody waits for it.

A reader who does not read must hold up the programs, whose output nobody takes any more, and not
the one who watches over them and has to stop them.
"""

from __future__ import annotations

import os
import select
from collections import deque
from typing import Final

__all__ = ["Outbox"]

_PIECE_BYTES: Final = 4096  # a pipe that is writable takes so much without blocking
_FULL_BYTES: Final = 1 << 20


class Outbox:
    """A bounded queue before one descriptor."""

    def __init__(self, descriptor: int) -> None:
        """Take where text goes; the descriptor stays the caller's."""
        self._descriptor: int | None = descriptor
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    @property
    def waits_for(self) -> int | None:
        """The descriptor that must be writable before `flush` does anything; None for nothing."""
        return self._descriptor if self._pieces else None

    @property
    def full(self) -> bool:
        """Whether nothing should be put in before more is taken out."""
        return self._held >= _FULL_BYTES

    def put(self, text: str) -> None:
        """Add text; once the reader is gone it is dropped."""
        if text and self._descriptor is not None:
            data = text.encode("utf-8", "replace")
            self._held += len(data)
            self._pieces.extend(
                data[begin : begin + _PIECE_BYTES] for begin in range(0, len(data), _PIECE_BYTES)
            )

    def flush(self) -> None:
        """Write what can be written without waiting."""
        while self._pieces and self._descriptor is not None and self._poll.poll(0):
            piece = self._pieces.popleft()
            try:
                written = os.write(self._descriptor, piece)
            except OSError:  # the reader went away; the job goes on
                self._descriptor = None
                self._pieces.clear()
                self._held = 0
                return
            self._held -= written
            if written < len(piece):
                self._pieces.appendleft(piece[written:])

    def finish(self, *, timeout_s: float) -> None:
        """Write all, as long as the reader takes something every `timeout_s`."""
        while self._pieces and self._poll.poll(timeout_s * 1000):
            self.flush()
