"""Secrets that work once: a second use is an error, and there is no way to make a second one.

A vector of a check that was used twice, or a pad under two messages, protects nothing. So whoever
needs one holds an object that gives its content once and forgets it. It cannot be copied or
pickled, and two threads cannot both take it.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, Never, TypeVar

from cloister.errors import LocalProtocolError, UnavailableError

__all__ = ["SingleUse", "Stock"]

T = TypeVar("T")


class SingleUse(Generic[T]):
    """Something secret that is taken out once."""

    __slots__ = ("_content", "_lock")

    def __init__(self, content: T) -> None:
        """Hold what nobody else holds."""
        self._content: list[T] = [content]
        self._lock: Final = threading.Lock()

    def take(self) -> T:
        """Return the content, the first time.

        Raises:
            LocalProtocolError: `protocol.local`: it was taken before; our bug.
        """
        with self._lock:
            if not self._content:
                raise LocalProtocolError(
                    "a secret that may be used once was used before", code="protocol.local"
                )
            return self._content.pop()

    def __copy__(self) -> Never:
        """Refuse."""
        raise _no_copy()

    def __deepcopy__(self, memo: object) -> Never:
        """Refuse."""
        raise _no_copy()

    def __reduce_ex__(self, protocol: object) -> Never:
        """Refuse to be pickled."""
        raise _no_copy()

    def __repr__(self) -> str:
        """Say nothing of the content."""
        return f"<{type(self).__name__}>"


class Stock(Generic[T]):
    """Secrets prepared ahead, in memory; each is handed out once.

    They belong to the process that made the stock: in a process that was forked from it there are
    none, since both would hand out the same ones.
    """

    def __init__(
        self, prepare: Callable[[int], Iterator[Sequence[SingleUse[T]]]], *, most: int
    ) -> None:
        """Begin empty.

        Args:
            prepare: Makes so many fresh ones in small pieces of work, of which the last gives them.
            most: How many are kept at the most.
        """
        self._prepare: Final = prepare
        self._most: Final = most
        self._process: Final = os.getpid()
        self._lock: Final = threading.Lock()
        self._ready: deque[SingleUse[T]] = deque()
        self._making: Final = threading.Lock()
        self._begun: Iterator[Sequence[SingleUse[T]]] | None = None

    def __len__(self) -> int:
        """How many are ready."""
        return len(self._ready) if self._mine else 0

    def fill(self, count: int) -> int:
        """Prepare up to `count` more, and return how many; for times when nobody waits."""
        with self._making:
            wanted = min(count, self._most - len(self._ready))
            if wanted <= 0 or not self._mine:
                return 0
            *_, fresh = self._prepare(wanted)
            self._add(fresh)
            return len(fresh)

    def piece(self) -> bool:
        """Do a small piece of preparing one more; return whether there was something to do."""
        with self._making:
            if len(self._ready) >= self._most or not self._mine:
                return False
            begun = self._begun or self._prepare(1)
            self._begun = None  # until this piece is done: what failed is begun anew
            fresh = next(begun)
            if fresh:
                self._add(fresh)
            else:
                self._begun = begun
            return True

    def clear(self) -> None:
        """Forget all that was prepared and what was begun."""
        with self._making, self._lock:
            self._begun = None
            self._ready.clear()

    def _add(self, fresh: Sequence[SingleUse[T]]) -> None:
        with self._lock:
            self._ready.extend(fresh)

    @property
    def _mine(self) -> bool:
        return self._process == os.getpid()

    def take(self) -> SingleUse[T]:
        """Hand out one that nobody had.

        Raises:
            UnavailableError: `middle.stock`: none is ready.
        """
        once = self.take_or_none()
        if once is None:
            raise UnavailableError("nothing is left of what is prepared ahead", code="middle.stock")
        return once

    def take_or_none(self) -> SingleUse[T] | None:
        """Hand out one that nobody had, or None where none is ready and one must be made now."""
        if not self._mine:
            return None
        with self._lock:
            return self._ready.popleft() if self._ready else None


def _no_copy() -> LocalProtocolError:
    return LocalProtocolError("a secret that may be used once has no copy", code="protocol.local")
