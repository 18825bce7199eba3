"""The line of queries in front of one model: who computes, who waits, who is too late.

There is no thread of its own. The first query that finds the model free computes, for itself and
for those that it takes along; then the oldest that waits does. So a lone query is computed where it
arrived, and nothing is handed over. How long a query may wait is its own business; how many may,
that of the server, which has a thread for each.

Spec: serving-v1, clauses SRV-33 and SRV-50 to SRV-55.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from cloister.errors import CloisterError, UnavailableError
from cloister.inference.joining import Arrays, can_join, choose, join, rows_of, split
from cloister.inference.model import Model
from cloister.inference.model_config import Batching
from cloister.inference.tensor import Array

__all__ = ["Line", "Watcher"]

_PATIENCE_S: Final = 0.05


class Watcher(Protocol):
    """Who is told what happens in a line."""

    def computed(self, model: str, *, queries: int, rows: int, seconds: float) -> None:
        """Hear of a computation."""
        ...


class _Ticket:
    """One query in the line."""

    __slots__ = ("answer", "arrived", "error", "inputs", "leads", "over", "turn", "until")

    def __init__(self, inputs: Arrays, *, arrived: float, until: float | None) -> None:
        self.inputs = inputs
        self.arrived = arrived
        self.until = until
        self.turn = threading.Event()
        self.leads = False
        self.over = False
        self.answer: dict[str, Array] = {}
        self.error: CloisterError | None = None

    def end(self, answer: dict[str, Array], error: CloisterError | None = None) -> None:
        self.answer, self.error, self.over = answer, error, True
        self.turn.set()

    def result(self) -> dict[str, Array]:
        if self.error is not None:
            raise self.error
        return self.answer


class Line:
    """Runs one model for many threads."""

    def __init__(
        self,
        name: str,
        model: Model,
        *,
        batching: Batching | None,
        turns: threading.Semaphore,
        watcher: Watcher | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the model, and whose turn it is among several models.

        Args:
            name: The model's, for the watcher.
            model: Loaded.
            batching: How queries are joined; None computes each alone.
            turns: As many computations as may run at one time, over all lines that share it.
            watcher: Is told of computations.
            clock: Seconds that only go forward.
        """
        self._name = name
        self._model = model
        self._batching = batching if batching is not None and can_join(model) else None
        self._turns = turns
        self._watcher = watcher
        self._clock = clock
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)
        self._quiet = threading.Condition(self._lock)
        self._rests = 0
        self._waiting: list[_Ticket] = []
        self._busy = False

    @property
    def waiting(self) -> int:
        """How many queries wait."""
        return len(self._waiting)

    @property
    def rows_at_once(self) -> int:
        """Most rows of queries that are joined; 1 where each is computed alone."""
        return 1 if self._batching is None else self._batching.rows

    def rest(self, after: int, *, stop: threading.Event) -> int:
        """Wait until nobody is here, and somebody was since; return how many times that was so.

        Args:
            after: What this returned before; -1 where nobody need have been here.
            stop: Ends the wait as well, when `nudge` is called.
        """
        with self._quiet:
            self._quiet.wait_for(lambda: stop.is_set() or (not self._busy and self._rests != after))
            return self._rests

    def nudge(self) -> None:
        """Let those who wait for a rest look whether they are to stop."""
        with self._quiet:
            self._quiet.notify_all()

    def predict(self, inputs: Arrays, *, until: float | None) -> dict[str, Array]:
        """Return the model's answer; blocks until there is one.

        Args:
            inputs: Arrays that fit the model.
            until: When, on the line's clock, an answer is of no use any more; None for never.

        Raises:
            MalformedError: `message.malformed` or `model.malformed`: the model cannot run.
            UnavailableError: `server.busy`: the time was over before its turn came; `server.late`:
                it was over when the computation ended.
        """
        ticket = _Ticket(inputs, arrived=self._clock(), until=until)
        with self._lock:
            self._waiting.append(ticket)
            ticket.leads = not self._busy
            self._busy = True
            self._more.notify()
        if not ticket.leads:
            self._wait(ticket)
        if not ticket.over:
            self._lead(ticket)
        if until is not None and self._clock() > until and ticket.error is None:
            raise _too_late()
        return ticket.result()

    @contextmanager
    def turn(self, *, until: float) -> Iterator[Callable[[], None]]:
        """Hold a computation's place for what follows the model; gives what raises when it is late.

        Raises:
            UnavailableError: `server.late`: the time was over before there was a place.
        """
        if not self._turns.acquire(timeout=max(until - self._clock(), 0)):
            raise _too_late()

        def in_time() -> None:
            if self._clock() > until:
                raise _too_late()

        try:
            yield in_time
        finally:
            self._turns.release()

    def _wait(self, ticket: _Ticket) -> None:
        """Return when the ticket is over, or leads."""
        left = None if ticket.until is None else max(ticket.until - self._clock(), 0)
        if ticket.turn.wait(left):
            return
        with self._lock:
            if ticket in self._waiting and not ticket.leads:
                self._waiting.remove(ticket)
                raise _not_begun()
        ticket.turn.wait()  # it is being computed, or leads by now

    def _lead(self, own: _Ticket) -> None:
        """Compute until the own ticket is over, then hand on."""
        taken: list[_Ticket] = []
        try:
            while not own.over:
                taken = self._take()
                if taken:
                    self._compute(taken)
        finally:
            for ticket in taken:
                if not ticket.over:
                    ticket.end({}, UnavailableError("no answer; try again", code="server.busy"))
            self._hand_on(own)

    def _hand_on(self, own: _Ticket) -> None:
        with self._lock:
            if own in self._waiting:
                self._waiting.remove(own)
            self._busy = bool(self._waiting)
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].turn.set()
            else:
                self._rests += 1
                self._quiet.notify_all()

    def _take(self) -> list[_Ticket]:
        """Return the tickets to compute now, out of the line; those that are late end here."""
        with self._lock:
            if self._batching is not None and self._batching.delay_s > 0:
                self._gather(self._batching)
            now = self._clock()
            for ticket in [t for t in self._waiting if t.until is not None and now > t.until]:
                self._waiting.remove(ticket)
                ticket.end({}, _not_begun())
            if not self._waiting:
                return []
            rows = 0 if self._batching is None else self._batching.rows
            indexes = choose([ticket.inputs for ticket in self._waiting], rows=rows)
            taken = [self._waiting[index] for index in indexes]
            for ticket in taken:
                self._waiting.remove(ticket)
            return taken

    def _gather(self, batching: Batching) -> None:
        """Wait for more queries, as long as the oldest has time to wait."""
        while self._waiting:
            rows = sum(rows_of(ticket.inputs) or batching.rows for ticket in self._waiting)
            end = self._waiting[0].arrived + batching.delay_s
            left = min([end, *(t.until for t in self._waiting if t.until is not None)])
            left -= self._clock()
            if rows >= batching.rows or left <= 0:
                return
            self._more.wait(min(left, _PATIENCE_S))

    def _compute(self, taken: list[_Ticket]) -> None:
        try:
            answers = self._run([ticket.inputs for ticket in taken])
        except CloisterError as e:
            if len(taken) == 1 or not _may_be_of_one(e):
                for ticket in taken:
                    ticket.end({}, e)
                return
            for ticket in taken:  # what one query does to the model is no business of the others
                self._compute_alone(ticket)
            return
        for ticket, answer in zip(taken, answers, strict=True):
            ticket.end(answer)

    def _compute_alone(self, ticket: _Ticket) -> None:
        """Compute one query of several that failed together, if an answer is still of use."""
        if ticket.until is not None and self._clock() > ticket.until:
            ticket.end({}, _too_late())
        else:
            self._compute([ticket])

    def _run(self, queries: list[Arrays]) -> list[dict[str, Array]]:
        with self._turns:
            began = self._clock()
            results = self._model.predict(join(queries))
            seconds = self._clock() - began
        sizes = [rows_of(query) or 1 for query in queries]
        if self._watcher is not None:
            self._watcher.computed(
                self._name, queries=len(queries), rows=sum(sizes), seconds=seconds
            )
        return split(results, sizes) if len(queries) > 1 else [results]


def _may_be_of_one(error: CloisterError) -> bool:
    """Tell whether one of the queries that were computed together may have caused an error.

    None makes a middle silent; but what a middle says that it cannot compute may be of one query.
    """
    return not isinstance(error, UnavailableError) or error.code == "middle.failed"


def _not_begun() -> UnavailableError:
    return UnavailableError(
        "the query's time was over before it was its turn; try again later", code="server.busy"
    )


def _too_late() -> UnavailableError:
    return UnavailableError("the query's time was over while it was computed", code="server.late")
