"""A fresh cell that stands by for the next query, so that making it is no part of an answer's time.

A cell is made ahead, with the recipe's files in it and no byte of anybody's; it is used once and
ended. There is one at a time: what a cell has of the machine's memory, the next one gets.

Spec: cleanroom-query-v1, clause CQ-34.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final, Self

from cloister.cleanroom.questions import Questions
from cloister.errors import CloisterError, UnavailableError

__all__ = ["Cells", "FreshCells"]

_LOG: Final = logging.getLogger("cloister.cleanroom")
_AGAIN_S: Final = 1.0
_CLOSE_S: Final = 10.0

Cells = Callable[[Callable[[], float]], AbstractContextManager[Questions]]
"""Puts the recipe into a fresh cell; takes what says how many seconds are left for an answer."""


class FreshCells:
    """Keeps one unused cell ready."""

    def __init__(self, make: Cells, *, now: Callable[[], float] = time.monotonic) -> None:
        """Begin to make the first."""
        self._make = make
        self._now = now
        self._deadline = now()
        self._changed = threading.Condition()
        self._ready: Questions | None = None
        self._used = False
        self._closed = False
        self._keeper = threading.Thread(target=self._keep, name="query-cells", daemon=True)
        self._keeper.start()

    def __enter__(self) -> Self:
        """Use it as a context."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the cell that stands by."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._keeper.join(_CLOSE_S)

    def wait(self, deadline: float) -> None:
        """Return when a cell stands by.

        Raises:
            UnavailableError: None does in time (`query.late`).
        """
        with self._changed:
            left = deadline - self._now()
            if not self._changed.wait_for(lambda: self._ready is not None, max(0.0, left)):
                raise UnavailableError("no cell stands by", code="query.late")

    @contextlib.contextmanager
    def use(self, deadline: float) -> Iterator[Questions]:
        """Give the cell that stands by away, once; afterwards another is made in its place.

        Raises:
            UnavailableError: None does in time (`query.late`).
        """
        self.wait(deadline)
        with self._changed:
            cell, self._ready = self._ready, None
            self._deadline = deadline
        if cell is None:
            raise UnavailableError("no cell stands by", code="query.late")
        try:
            yield cell
        finally:
            with self._changed:
                self._used = True
                self._changed.notify_all()

    def _keep(self) -> None:
        while not self._closed:
            try:
                with self._make(lambda: self._deadline - self._now()) as cell:
                    self._stand_by(cell)
            except CloisterError as e:
                _LOG.debug("no cell: %s", e.code)
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, _AGAIN_S)

    def _stand_by(self, cell: Questions) -> None:
        with self._changed:
            self._ready, self._used = cell, False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._used or self._closed)
            self._ready = None
