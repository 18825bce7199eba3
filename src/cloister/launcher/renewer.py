"""Keeps a run's certificate fresh: asks for the next one in time, and hands it to the loop.

One thread of the launcher's own process asks; it begins when everything that is forked has been,
and touches neither the sandbox nor the volumes: `supervise` takes each certificate and places it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cloister.errors import CloisterError, UnavailableError

if TYPE_CHECKING:
    from cloister.keyservice.clock import Clock
    from cloister.keyservice.renewal import Renewal

__all__ = ["Renewer"]

_LOG: Final = logging.getLogger(__name__)
_LONGEST_WAIT_S: Final = 30.0  # a machine that slept is noticed by the clock, so late
_SHORTEST_WAIT_S: Final = 1.0
_END_TIMEOUT_S: Final = 1.0


class Renewer:
    """Asks for a new certificate when half of the present one's lifetime is over.

    It asks again after what may pass, and stops for good when it is refused: the workload runs on,
    and its certificate ends when it ends.
    """

    def __init__(
        self, renew: Callable[[], Renewal], *, granted: int, expires: int, clock: Clock
    ) -> None:
        """Take how to ask, and when the present certificate was made and ends."""
        self._renew = renew
        self._clock = clock
        self._due = _due(granted, expires)
        self._pause_s = min(max((expires - granted) / 20, _SHORTEST_WAIT_S), _LONGEST_WAIT_S)
        self._reader = self._writer = -1
        self._newest = b""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewer", daemon=True)

    def __enter__(self) -> Renewer:
        """Begin, after the last fork."""
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; a question that is still under way is left to itself, and its answer unused."""
        self._end.set()
        self._thread.join(_END_TIMEOUT_S)
        os.close(self._reader)
        if not self._thread.is_alive():  # else nobody may get its number
            os.close(self._writer)

    def fileno(self) -> int:
        """Return a descriptor that is readable while a certificate waits."""
        return self._reader

    def take(self) -> bytes | None:
        """Return the newest certificate that came since the last call, or None."""
        try:
            os.read(self._reader, 64)
        except BlockingIOError:
            return None
        return self._newest

    def _run(self) -> None:
        while not self._end.is_set():
            left = self._due - self._clock().at
            if left > 0:
                self._end.wait(min(left, _LONGEST_WAIT_S))
                continue
            try:
                renewal = self._renew()
            except UnavailableError as e:
                _LOG.info("renewal.later code=%s", e.code)
                self._end.wait(self._pause_s)
                continue
            except CloisterError as e:
                _LOG.error("renewal.refused code=%s", e.code)
                return
            now = self._clock().at
            self._due = max(_due(now, renewal.member.expires), now + int(_SHORTEST_WAIT_S))
            self._hand_over(renewal.certificate)

    def _hand_over(self, certificate: bytes) -> None:
        if not self._end.is_set():
            self._newest = certificate
            os.write(self._writer, b"c")


def _due(granted: int, expires: int) -> int:
    return granted + (expires - granted) // 2
