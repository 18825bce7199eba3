"""What checks will need is prepared while nobody asks.

A check of a cut model's middle needs secrets that work once, and making them costs more than the
check. While its line has no query, a thread makes them, one small piece of work after another, into
a stock in memory that is bounded. It never holds the line: a query that comes begins at once, and
shares the machine with no more than the piece that was begun. What is not there when it is needed
is made then, as without any stock.

Nothing that was prepared outlives the thread, or leaves the process.

Spec: serving-v1, clause SRV-48.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Final, Protocol, runtime_checkable

from cloister.errors import CloisterError
from cloister.inference.line import Line
from cloister.inference.registry import Registry

__all__ = ["Preparer", "Prepares", "prepared_ahead"]

_PATIENCE_S: Final = 5.0
_LOG: Final = logging.getLogger(__name__)


@runtime_checkable
class Prepares(Protocol):
    """A model that can prepare for queries that are not there yet."""

    def prepare_piece(self) -> bool:
        """Do a small piece of preparing; return whether there was something to do."""
        ...

    def forget(self) -> None:
        """Forget what was prepared."""
        ...


class Preparer:
    """Prepares one model while its line is empty, in a thread of its own."""

    def __init__(self, line: Line, model: Prepares) -> None:
        """Take a model and the line in front of it."""
        self._line: Final = line
        self._model: Final = model
        self._stop: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._work, name="preparing", daemon=True)

    def start(self) -> None:
        """Begin; no process may be forked from this one afterwards."""
        self._thread.start()

    def close(self) -> None:
        """End after the piece that was begun, and forget what was prepared."""
        self._stop.set()
        self._line.nudge()
        self._thread.join(_PATIENCE_S)

    def _work(self) -> None:
        after = -1
        try:
            while not self._stop.is_set():
                now = self._line.rest(after, stop=self._stop)
                # Where nothing is to be done, nothing will be until somebody has asked again.
                if not self._stop.is_set() and not self._model.prepare_piece():
                    after = now
        except (CloisterError, MemoryError) as e:  # queries go on, and draw for themselves
            _LOG.warning("nothing is prepared any more reason=%s", e)
        finally:
            self._model.forget()


@contextlib.contextmanager
def prepared_ahead(registry: Registry) -> Iterator[None]:
    """Prepare every served model that can be, until the end of the context."""
    preparers = [
        Preparer(served.line, served.model)
        for served in registry.all()
        if isinstance(served.model, Prepares)
    ]
    for preparer in preparers:
        preparer.start()
    try:
        yield
    finally:
        for preparer in preparers:
            preparer.close()
