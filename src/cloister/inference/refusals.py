"""What was found wrong in answers of a middle outside: said in the log, and counted.

Who lies often is to be seen often, though not to fill the log: a line is written for each code at
once, and then so often at the most, with how many there were. Numbers of a query are in neither:
the code says what was refused, and the name of a tensor of the exposed part where.

Spec: serving-v1, clause SRV-91; private-query-v1, clause PQ-54.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from cloister.errors import CloisterError

__all__ = ["Counter", "Refusals"]

_CODES: Final = ("middle.wrong", "middle.malformed", "wire.malformed", "wire.too-large")
_EVERY_S: Final = 10.0
_LOG: Final = logging.getLogger(__name__)


class Counter(Protocol):
    """Who counts."""

    def disbelieved(self, model: str, *, code: str) -> None:
        """Hear that an answer of a model's middle was refused."""
        ...


class Refusals:
    """Tells of refused answers of one model's middle; safe to use from any thread."""

    def __init__(
        self,
        model: str = "",
        *,
        counter: Counter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin at nought.

        Args:
            model: The model's name, where it has one.
            counter: Is told of each.
            clock: Seconds that only go forward.
        """
        self._model: Final = model
        self._counter: Final = counter
        self._clock: Final = clock
        self._lock: Final = threading.Lock()
        self._counts: Final = dict.fromkeys(_CODES, 0)
        self._quiet_until: Final = dict.fromkeys(_CODES, -float("inf"))

    def note(self, error: CloisterError) -> None:
        """Note what an answer was refused for; other errors are nothing that the middle said."""
        if error.code not in _CODES:
            return
        if self._counter is not None:
            self._counter.disbelieved(self._model, code=error.code)
        with self._lock:
            self._counts[error.code] += 1
            count, now = self._counts[error.code], self._clock()
            if now < self._quiet_until[error.code]:
                return
            self._quiet_until[error.code] = now + _EVERY_S
        _LOG.warning(
            "an answer of the middle was refused model=%s code=%s at=%.200a count=%d",
            self._model,
            error.code,
            error.detail or error.public,
            count,
        )
