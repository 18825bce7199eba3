"""The desk of a run: where a workload spends budgets, without a network and without a secret.

One thread of the launcher's own process serves one stream socket, whose other end the workload gets
by descriptor. It begins when everything that is forked has been, and asks the key service in the
name of the run's membership. What comes from the workload is a frame of one size, read strictly;
one is answered before the next is read.

Spec: membership-v1, clauses MEM-90 to MEM-93.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from typing import Final

from cloister.errors import CloisterError
from cloister.keyservice.policy.budgets import DESK
from cloister.launcher.desk_frames import FRAME_BYTES, DeskAnswer, DeskQuestion

__all__ = ["Desk"]

_LOG: Final = logging.getLogger(__name__)
_END_TIMEOUT_S: Final = 1.0

Spend = Callable[[str, str, int], int]
"""Spends an amount of a budget in a principal's name; returns what is left."""


class Desk:
    """The desk of one run, or of a run that may spend nothing."""

    def __init__(self, spend: Spend | None) -> None:
        """Make the socket pair; with None, there is no desk and nothing to pass.

        Args:
            spend: Asks the key service. Called by one thread, with one question at a time.
        """
        self._spend = spend
        self._spent: dict[str, int] = {}
        self._ours: socket.socket | None = None
        self._theirs: socket.socket | None = None
        if spend is not None:
            self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve, name="desk", daemon=True)

    def filenos(self) -> dict[str, int]:
        """Return name to descriptor of what the workload gets."""
        return {} if self._theirs is None else {DESK: self._theirs.fileno()}

    def start(self) -> None:
        """Begin to answer, after the last fork; the workload has its end by now."""
        if self._theirs is not None:
            self._theirs.close()
            self._thread.start()

    def close(self) -> None:
        """End; a question that is under way is left to itself. May be called at any time."""
        for end in (self._ours, self._theirs):
            if end is not None and end.fileno() >= 0:
                _end(end)
        if self._thread.is_alive():
            self._thread.join(_END_TIMEOUT_S)

    def spent(self) -> dict[str, int] | None:
        """Return what this run has spent of each budget; None where it may spend nothing."""
        return None if self._spend is None else dict(self._spent)

    def _serve(self) -> None:
        if self._ours is None or self._spend is None:
            return
        try:
            while (frame := _receive(self._ours)) is not None:
                self._ours.sendall(self._answer(frame, self._spend).to_frame())
        except OSError as e:
            _LOG.info("desk.gone detail=%r", e)  # the workload has ended, or the run

    def _answer(self, frame: bytes, spend: Spend) -> DeskAnswer:
        try:
            question = DeskQuestion.from_frame(frame)
            left = spend(question.budget, question.principal, question.amount)
        except CloisterError as e:
            _LOG.info("desk.refused code=%s", e.code)
            return DeskAnswer(0, e.code, e.public)
        self._spent[question.budget] = self._spent.get(question.budget, 0) + question.amount
        return DeskAnswer(left)


def _receive(end: socket.socket) -> bytes | None:
    """Return one whole frame, or None where no further one comes."""
    frame = bytearray()
    while len(frame) < FRAME_BYTES:
        part = end.recv(FRAME_BYTES - len(frame))
        if not part:
            return None
        frame += part
    return bytes(frame)


def _end(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError as e:
        _LOG.debug("desk.closed detail=%r", e)  # the other end is gone
    end.close()
