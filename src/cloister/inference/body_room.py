"""How much memory bodies may take, all together, before they are whole.

Whoever can connect can begin a long body, and never end it. Small bodies need none of this room:
what a connection takes first is free, so that those who fill the room keep no small request out.

Spec: serving-v1, clause SRV-32.
"""

from __future__ import annotations

import threading
from typing import Final

__all__ = ["FREE_BYTES", "BodyRoom"]

FREE_BYTES: Final = 2**20  # of each connection; as much as is taken ahead for a body


class BodyRoom:
    """Counts the bytes of unfinished bodies; shared by the threads of all connections."""

    def __init__(self, most: int) -> None:
        """Take how many bytes there may be at one time."""
        self._left = most
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take room for so many bytes; return whether there was."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._left += size
