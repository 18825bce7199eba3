"""A trainer's side of the exchange: a thread that sends one message at each tick, whatever happens.

What the trainer has to say waits until the next tick; where it has nothing, an empty message of the
same size goes. What comes from the server is kept until it is asked for. The two never wait for
each other: a trainer that is late has missed a tick, and a server that is gone is looked for again
until the end.

The server is attested by the shield below. What it says is checked all the same, and must follow
what was seen of it before: once it does not, it is told nothing and believed nothing any more, the
thread goes on with empty messages, and every question raises.

Spec: training-round-v1, clauses TR-30 to TR-45.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from cloister.cleanroom.aggregation import FLOAT, Array, squared_norm
from cloister.cleanroom.exchange_link import Link, Now
from cloister.cleanroom.exchange_message import (
    LIFE_BYTES,
    NO_WISH,
    SERVER,
    ExchangeMessage,
    Kind,
    message_bytes,
    read_message,
    write_message,
)
from cloister.cleanroom.plan_transfer import Publishing, Wanting
from cloister.cleanroom.round_rules import RoundRules
from cloister.cleanroom.schedule import Pace, Ticker
from cloister.cleanroom.server_standing import Standing
from cloister.errors import (
    CloisterError,
    LocalProtocolError,
    RemoteProtocolError,
    TamperedError,
    UnavailableError,
)

__all__ = ["ExchangeClient", "ExchangeCounts"]

_T = TypeVar("_T")
_LOG: Final = logging.getLogger("cloister.cleanroom")
_LEAD_S: Final = 0.05
_AGAIN_S: Final = 0.2
_SILENCE_S: Final = 10.0
_SILENCE_TICKS: Final = 4
_SWITCH_S: Final = 0.0005


@dataclass(slots=True)
class ExchangeCounts:
    """What a trainer's exchange came to.

    Attributes:
        sent: Messages.
        missed: Ticks without one: too late, or not connected.
        pushed: Differences that were sent.
        lost: Differences that were not: the parameters that they were to are gone.
        received: Messages of the server's.
        connections: How often it was connected.
        refused: Connections that were ended for what came.
    """

    sent: int = 0
    missed: int = 0
    pushed: int = 0
    lost: int = 0
    received: int = 0
    connections: int = 0
    refused: int = 0


class ExchangeClient:
    """The exchange of one trainer."""

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        rules: RoundRules,
        *,
        index: int,
        now: Now = time.monotonic,
    ) -> None:
        """Take how to reach the server, the terms, and which trainer this is.

        Args:
            connect: Returns a connected stream socket, or raises `OSError`.
            rules: Of the room.
            index: This trainer's, from its identity.
            now: A clock that only goes on.

        Raises:
            LocalProtocolError: `protocol.local`: the room has no such trainer.
        """
        if not 0 <= index < rules.trainers:
            raise LocalProtocolError("there is no such trainer", code="protocol.local")
        self._connect = connect
        self._rules = rules
        self._index = index
        self._now = now
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exchange", daemon=True)
        self._link: Link | None = None
        self._ticker: Ticker | None = None
        self._pace = Pace(rules.schedule)
        self._told = -1
        self._heard_at = 0.0
        self._standing = Standing(0, bytes(LIFE_BYTES), 0, 0)
        self._failure: CloisterError | None = None
        self._ended = False
        self._publishing: Publishing | None = None
        self._wanting = Wanting()
        self._newest: tuple[int, int, Array] | None = None
        self._pulled = (0, -1)
        self._waiting: tuple[int, int, Array] | None = None
        self._metrics: tuple[int, tuple[float | None, ...]] = (0, ())
        self._counts = ExchangeCounts()

    def start(self) -> None:
        """Begin: connect, and keep the schedule until its end or `close`.

        The interpreter is told to hand over between threads sooner, in the whole process: a thread
        that computes must not make this one late.
        """
        sys.setswitchinterval(_SWITCH_S)
        self._thread.start()

    def close(self) -> None:
        """End it before its time."""
        self._stop.set()
        with self._changed:
            if self._link:
                self._link.end()
            self._changed.notify_all()
        self._thread.join()

    def finish(self, timeout_s: float | None = None) -> ExchangeCounts:
        """Wait for the schedule's end, and return what it came to."""
        self._thread.join(timeout_s)
        return self.counts

    @property
    def counts(self) -> ExchangeCounts:
        """What the exchange has come to."""
        with self._changed:
            missed = self._counts.missed + (self._ticker.missed if self._ticker else 0)
            return dataclasses.replace(self._counts, missed=missed)

    @property
    def failure(self) -> CloisterError | None:
        """Why the server is not believed any more; None while it is."""
        return self._failure

    @property
    def tick(self) -> int | None:
        """The present tick; None before the server has begun."""
        with self._changed:
            return None if self._ticker is None else self._ticker.present(self._now())

    def await_tick(self, tick: int) -> bool:
        """Wait until a tick; False where the exchange ends before."""
        while True:
            with self._changed:
                if self._ended or self._stop.is_set():
                    return False
                ticker = self._ticker
                left = _AGAIN_S if ticker is None else ticker.instant(tick) - self._now()
                if ticker is not None and left <= 0:
                    return True
                self._changed.wait(min(left, _AGAIN_S))

    def publish_plan(self, plan: bytes, initial: Array) -> None:
        """Give the plan and the first parameters to the server; trainer 0's part.

        Args:
            plan: What every trainer needs to make the model.
            initial: Its parameters before training; copied.

        Raises:
            LocalProtocolError: `protocol.local`: another trainer's part, or sizes that the terms do
                not allow.
        """
        fits = 0 < len(plan) <= self._rules.plan_max_bytes
        if self._index != 0 or not fits or not 0 < initial.size <= self._rules.parameters_max:
            raise LocalProtocolError("no plan that can be published", code="protocol.local")
        copied = np.array(initial, FLOAT)
        if math.isnan(squared_norm(copied)):
            raise LocalProtocolError("first parameters are not finite", code="protocol.local")
        with self._changed:
            self._publishing = Publishing(plan, copied, piece_bytes=self._rules.body_bytes)

    def await_plan(self, timeout_s: float) -> bytes:
        """Wait for the plan of trainer 0.

        Raises:
            UnavailableError: `server.unreachable`: it did not come in time.
            TamperedError: See `failure`.
        """

        def found() -> bytes | None:
            return self._wanting.plan

        with self._changed:
            self._wanting.wanted = True
        return self._await(found, timeout_s, "the plan did not come")

    def pull(self, *, newer_than: int = -1, timeout_s: float = 0.0) -> tuple[int, Array]:
        """Return the newest parameters and their version.

        Args:
            newer_than: A version to be passed; of an earlier life of the server it does not count.
            timeout_s: How long to wait for that.

        Raises:
            UnavailableError: `server.unreachable`: there are none yet.
            TamperedError: See `failure`.
        """

        def found() -> tuple[int, int, Array] | None:
            newest = self._newest
            if newest is None:
                return None
            passed = newest[0] > self._pulled[0] or newest[1] > newer_than
            return newest if passed else None

        epoch, version, parameters = self._await(found, timeout_s, "no parameters came")
        with self._changed:
            self._pulled = (epoch, version)
        return version, parameters

    def push(self, difference: Array, based_on: int) -> bool:
        """Give a difference to the server, with the next message.

        Args:
            difference: To what was pulled last, with what was pushed since; copied.
            based_on: Their version.

        Returns:
            Whether it was taken. Where one is still waiting it is not, and the trainer adds it to
            its next one.

        Raises:
            LocalProtocolError: `protocol.local`: not to what was pulled last, or of another size.
            TamperedError: See `failure`.
        """
        with self._changed:
            if self._failure is not None:
                raise self._failure
            epoch, version = self._pulled
            if based_on != version or difference.size > self._rules.parameters_max:
                raise LocalProtocolError("no difference to what was pulled", code="protocol.local")
            if self._waiting is not None:
                return False
            self._waiting = (epoch, version, np.array(difference, FLOAT))
            return True

    def metrics(self, number: int, values: Mapping[str, float]) -> None:
        """Report numbers about a round, with every message from now on.

        Raises:
            LocalProtocolError: `protocol.local`: the terms do not name one, or it is not finite.
        """
        names = self._rules.metrics
        if not set(values) <= set(names) or not all(map(math.isfinite, values.values())):
            raise LocalProtocolError("metrics that cannot be reported", code="protocol.local")
        with self._changed:
            self._metrics = (number, tuple(values.get(name) for name in names))

    def _await(self, found: Callable[[], _T | None], timeout_s: float, what: str) -> _T:
        deadline = self._now() + timeout_s
        with self._changed:
            while True:
                if self._failure is not None:
                    raise self._failure
                value = found()
                if value is not None:
                    return value
                left = deadline - self._now()
                if left <= 0 or self._ended:
                    raise UnavailableError(what, code="server.unreachable")
                self._changed.wait(min(left, _AGAIN_S))

    def _run(self) -> None:
        """Keep the schedule until its end."""
        schedule = self._rules.schedule
        last = self._now() + self._rules.join_s + schedule.ticks * schedule.tick_s
        try:
            while not (self._stop.is_set() or self._over(last)):
                link = self._joined(last)
                if link is not None:
                    self._keep_time(link)
                    self._part(link)
                self._stop.wait(min(_AGAIN_S, schedule.tick_s))
        finally:
            with self._changed:
                self._ended = True
                if self._ticker is not None:
                    self._ticker.end()
                self._changed.notify_all()

    def _over(self, last: float) -> bool:
        at = self._now()
        return at >= last if self._ticker is None else self._ticker.over(at)

    def _joined(self, last: float) -> Link | None:
        """Connect and greet; None where that fails."""
        try:
            sock = self._connect()
        except OSError as e:
            _LOG.debug("no connection: %s", e)
            return None
        link = Link(sock, size=message_bytes(self._rules), now=self._now)
        with self._changed:
            self._link = link
            self._told = -1
            self._heard_at = self._now()
            self._pace = Pace(self._rules.schedule)
            self._counts.connections += 1
            present = 0 if self._ticker is None else self._ticker.present(self._now())
            greeting = self._message(Kind.HELLO, max(0, present))
        welcomed = threading.Event()
        link.reader = threading.Thread(
            target=self._receive, args=(link, welcomed), name="exchange-in", daemon=True
        )
        link.reader.start()
        write_message(greeting, self._rules, link.outgoing)
        if link.send():
            while not (welcomed.wait(_AGAIN_S) or self._stop.is_set() or self._over(last)):
                if self._ticker is not None and self._silent():
                    break
        if welcomed.is_set() and not link.ended:
            return link
        self._part(link)
        return None

    def _part(self, link: Link) -> None:
        link.close()
        with self._changed:
            self._link = None
            if self._publishing is not None:
                self._publishing.again()

    def _keep_time(self, link: Link) -> None:
        """Send at every tick, until the last or the connection's end."""
        lead = min(_LEAD_S, self._rules.schedule.tick_s / 4)
        while not self._stop.is_set():
            with self._changed:
                ticker = self._ticker
                tick = None if ticker is None else ticker.next(self._now())
            if ticker is None or tick is None:
                return
            if self._silent():
                self._lost_tick()
                return
            if self._until(ticker.instant(tick) - lead, link):
                self._lost_tick()
                return
            with self._changed:
                message = self._compose(tick)
            write_message(message, self._rules, link.outgoing)
            if self._until(ticker.instant(tick), link) or not link.send():
                self._lost_tick()
                return
            with self._changed:
                self._counts.sent += 1

    def _lost_tick(self) -> None:
        """Count a tick that was given out, and had no connection."""
        with self._changed:
            self._counts.missed += 1

    def _silent(self) -> bool:
        """Whether a server that began has said nothing for so long that it must be gone."""
        patience = max(_SILENCE_S, _SILENCE_TICKS * self._rules.schedule.tick_s)
        return self._failure is None and self._now() - self._heard_at > patience

    def _until(self, at: float, link: Link) -> bool:
        """Wait until an instant; True where there is nothing left to wait for."""
        left = at - self._now()
        if left > 0:
            self._stop.wait(left)
        return self._stop.is_set() or link.ended

    def _compose(self, tick: int) -> ExchangeMessage:
        """Return the message of a tick; the first that waits, and an empty one where none does."""
        if self._failure is None:
            if self._publishing is not None:
                part = self._publishing.next()
                if isinstance(part, tuple):
                    offset, piece = part
                    total = self._publishing.total
                    plan = self._message(Kind.PLAN, tick)
                    return dataclasses.replace(plan, offset=offset, total=total, body=piece)
                if part is not None:
                    return dataclasses.replace(self._message(Kind.INITIAL, tick), body=part)
            if self._waiting is not None:
                epoch, version, difference = self._waiting
                self._waiting = None
                if epoch == self._standing.epoch:
                    self._counts.pushed += 1
                    push = self._message(Kind.PUSH, tick)
                    return dataclasses.replace(push, version=version, body=difference)
                self._counts.lost += 1
        return self._message(Kind.IDLE, tick)

    def _message(self, kind: Kind, tick: int) -> ExchangeMessage:
        """Return a message without a body: who, when, what was seen of the server, and metrics."""
        number, values = self._metrics
        known = self._failure is None and kind is not Kind.HELLO
        return ExchangeMessage(
            kind=kind,
            sender=self._index,
            tick=tick,
            epoch=self._standing.epoch,
            life=self._standing.life,
            version=self._standing.version,
            durable=self._standing.durable,
            wish=self._wanting.wish if known else NO_WISH,
            round=number if known else 0,
            metrics=values if known else (),
        )

    def _receive(self, link: Link, welcomed: threading.Event) -> None:
        """Take what the server says until the connection ends."""
        try:
            while (at := link.receive()) is not None:
                message = read_message(link.incoming, self._rules)
                with self._changed:
                    self._counts.received += 1
                    self._heard_at = self._now()
                    self._take(message, at, first=not welcomed.is_set())
                    self._changed.notify_all()
                welcomed.set()
        except TamperedError as e:
            # The connection stays: it ends when the schedule does, as if nothing had happened.
            with self._changed:
                self._failure = e
                self._newest = None
                self._waiting = None
                self._changed.notify_all()
            welcomed.set()
            while link.receive() is not None:
                pass
        except CloisterError as e:
            _LOG.debug("the server said what it may not: %s", e)
            with self._changed:
                self._counts.refused += 1
        finally:
            link.end()
            welcomed.set()

    def _take(self, message: ExchangeMessage, at: float, *, first: bool) -> None:
        if message.sender != SERVER or (message.kind is Kind.WELCOME) != first:
            raise RemoteProtocolError("no message for a trainer here", code="protocol.remote")
        if message.tick <= self._told:
            raise RemoteProtocolError("a message of a tick that was", code="protocol.remote")
        self._told = message.tick
        if self._failure is not None:
            return
        self._standing = self._standing.followed_by(
            Standing(message.epoch, message.life, message.version, message.durable)
        )
        self._follow(message.tick, at, first=first)
        if self._publishing is not None:
            self._publishing.acknowledged(message.held, begun=message.kind is Kind.PARAMETERS)
        if message.kind is Kind.PLAN:
            self._wanting.take(message)
        elif message.kind is Kind.PARAMETERS:
            parameters = np.array(message.body, FLOAT)
            if math.isnan(squared_norm(parameters)):
                raise RemoteProtocolError("parameters are not finite", code="protocol.remote")
            parameters.flags.writeable = False
            self._newest = (message.epoch, message.version, parameters)

    def _follow(self, tick: int, at: float, *, first: bool) -> None:
        """Take the server's time: its tick was about when the message began to arrive."""
        schedule = self._rules.schedule
        told = at - tick * schedule.tick_s
        if self._ticker is None:
            self._ticker = Ticker(schedule, start=told, first=tick + 1)
        ticker = self._ticker
        ticker.start = self._pace.heard(tick, at, start=told if first else ticker.start)
