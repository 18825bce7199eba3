"""What the parameter server decides: whose message counts, what is added when, who is told what.

Messages in, messages out; no socket, no clock, no file. The time is a tick, which the caller says.

Invariants:
    1. A trainer's messages count once each, in the order of their ticks, and not from the future.
    2. The plan and the first parameters are trainer 0's, and are taken once.
    3. What is told at a tick depends on what came before it, and its size on nothing.
    4. No connection ends for what is in a body: a recipe that makes one would be seen to.

Spec: training-round-v1, clauses TR-20 to TR-45.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from cloister.cleanroom.aggregation import Array, Fate, ParameterState, Tally
from cloister.cleanroom.checkpoint import Checkpoint
from cloister.cleanroom.encoding import FieldValue
from cloister.cleanroom.exchange_message import (
    LIFE_BYTES,
    NO_WISH,
    SERVER,
    ExchangeMessage,
    Kind,
)
from cloister.cleanroom.round_rules import RoundRules
from cloister.cleanroom.server_standing import Standing
from cloister.errors import MalformedError, RemoteProtocolError

__all__ = ["Coordinator", "Measure", "Seat"]

Measure = Callable[[bytes], int | None]

_AHEAD: Final = 2  # ticks that a trainer's clock may be before ours
_BEHIND: Final = 3  # ticks after which what it said counts for nothing


@dataclass(slots=True)
class Seat:
    """What is known of one trainer.

    Attributes:
        tick: The newest tick that it has sent a message of; -1 for none.
        wish: From where on it wants the plan; `NO_WISH` for parameters.
        round: The round of its newest metrics.
        metrics: The newest of each.
        heard: Messages that counted.
        late: Messages that came too late to count.
        refused: Connections that were closed for what they sent.
    """

    tick: int = -1
    wish: int = NO_WISH
    round: int = 0
    metrics: tuple[float | None, ...] = ()
    heard: int = 0
    late: int = 0
    refused: int = 0


class Coordinator:
    """One life of a room's parameter server."""

    def __init__(
        self, rules: RoundRules, *, measure: Measure, life: bytes, checkpoint: Checkpoint | None
    ) -> None:
        """Begin, or go on from a checkpoint.

        Args:
            rules: Of the room.
            measure: Reads a plan, and returns how many parameters its model has, or None where the
                plan does not say; refuses what is no plan with a `MalformedError`.
            life: `LIFE_BYTES` random bytes, drawn for this life.
            checkpoint: What an earlier life left, or None; its reader checked room and sizes.

        Raises:
            MalformedError: The checkpoint's plan is none, or not of its parameters.
        """
        if len(life) != LIFE_BYTES or not any(life):
            raise MalformedError("a life is not of 16 random bytes", code="message.malformed")
        self._rules = rules
        self._life = life
        self._measure = measure
        self._plan = bytearray(checkpoint.plan if checkpoint else b"")
        self._plan_bytes = len(self._plan)
        self._state: ParameterState | None = None
        self._tallies = [Tally() for _ in range(rules.trainers)]
        self._initial: Array | None = None
        self.epoch = 1
        self.tick = self._before = self._present = -1
        self.durable = 0
        self.seats = [Seat() for _ in range(rules.trainers)]
        if checkpoint is not None:
            self._resume(checkpoint)

    def _resume(self, checkpoint: Checkpoint) -> None:
        self.epoch = checkpoint.epoch + 1
        self.tick = self._before = self._present = checkpoint.tick
        self.durable = checkpoint.version
        if checkpoint.plan:
            self._require_size(checkpoint.plan, checkpoint.parameters)
            self._begin(checkpoint.parameters, version=checkpoint.version)
        for index, tally in enumerate(checkpoint.tallies):
            self._tallies[index] = tally
        if self._state is not None:
            self._state.tallies = self._tallies

    @property
    def version(self) -> int:
        """Of the parameters; 0 where there are none yet."""
        return self._state.version if self._state else 0

    @property
    def plan(self) -> bytes | None:
        """The plan, once all of it is here."""
        return bytes(self._plan) if self._whole() else None

    @property
    def tallies(self) -> list[Tally]:
        """What became of each trainer's differences."""
        return self._tallies

    @property
    def standing(self) -> Standing:
        """What this server says of itself."""
        return Standing(self.epoch, self._life, self.version, self.durable)

    def pull(self) -> tuple[int, Array] | None:
        """Return version and parameters; None where there are none."""
        return self._state.pull() if self._state else None

    def hello(self, message: ExchangeMessage) -> int:
        """Take the first message of a connection, and return which trainer's it is.

        Args:
            message: Read, and not believed.

        Raises:
            RemoteProtocolError: `protocol.remote`: it is no greeting.
            TamperedError: The trainer has seen another server: see `Standing`.
        """
        if message.kind is not Kind.HELLO:
            raise RemoteProtocolError("a connection that does not greet", code="protocol.remote")
        self.standing.require_of(_seen(message))
        seat = self.seats[message.sender]
        seat.tick, seat.wish = min(seat.tick, self.tick), NO_WISH
        return message.sender

    def observe(self, tick: int) -> None:
        """Note that it is this tick by now, also where its work is not done yet."""
        self._present = max(self._present, tick)

    def take(self, index: int, message: ExchangeMessage) -> bool:
        """Take a later message of a trainer's connection.

        Args:
            index: Whose connection it is.
            message: Read, and not believed.

        Returns:
            Whether it counts: one that is too late does not, and is counted.

        Raises:
            RemoteProtocolError: `protocol.remote`: another trainer's, or of a tick that was or is
                not yet.
            TamperedError: The trainer has seen another server.
        """
        seat = self.seats[index]
        if message.sender != index:
            raise RemoteProtocolError("a message of another trainer's", code="protocol.remote")
        if message.kind is Kind.HELLO:
            raise RemoteProtocolError("a second greeting", code="protocol.remote")
        if not seat.tick < message.tick <= self._present + _AHEAD:
            raise RemoteProtocolError("a message of another tick", code="protocol.remote")
        self.standing.require_of(_seen(message))
        seat.tick = message.tick
        if message.tick < self.tick - _BEHIND:
            seat.late += 1
            return False
        seat.heard += 1
        seat.wish = message.wish
        self._note(seat, message)
        if message.kind in {Kind.PLAN, Kind.INITIAL} and index != 0:
            raise RemoteProtocolError("a plan that is not trainer 0's", code="protocol.remote")
        self._take_content(index, message)
        return True

    def advance(self, tick: int) -> list[Fate | None]:
        """Do the work of a tick: add what waits, and end rounds that are over.

        Args:
            tick: The present; never an earlier one.

        Returns:
            What became of each trainer's difference; empty where nothing was added.
        """
        if tick <= self.tick:
            raise RemoteProtocolError("a tick that is over", code="protocol.remote")
        self._before, self.tick = self.tick, tick
        self.observe(tick)
        if self._state is None and self._initial is not None:
            self._begin(self._initial, version=0)
            self._initial = None
        if self._state is None:
            return []
        if self._rules.mode == "bounded-stale":
            return self._state.settle()
        fates: list[Fate | None] = []
        while self._state.version < self._rules.schedule.closed(tick):
            fates = self._state.close_round()
        return fates

    def tell(self, index: int, *, welcome: bool) -> ExchangeMessage:
        """Return what a trainer is told at this tick.

        Args:
            index: Which one.
            welcome: Whether it is the first message of its connection.
        """
        seat = self.seats[index]
        kind, offset = Kind.IDLE, 0
        content: bytes | Array = b""
        if welcome:
            kind = Kind.WELCOME
        elif seat.wish != NO_WISH:
            plan = self.plan
            if plan is not None and seat.wish < len(plan):
                kind, offset = Kind.PLAN, seat.wish
                content = plan[offset : offset + self._rules.body_bytes]
        elif self._state is not None:
            kind, content = Kind.PARAMETERS, self._state.pull()[1]
        return ExchangeMessage(
            kind=kind,
            sender=SERVER,
            tick=self.tick,
            epoch=self.epoch,
            life=self._life,
            version=self.version,
            durable=self.durable,
            offset=offset,
            total=self._plan_bytes,
            held=len(self._plan),
            body=content,
        )

    def checkpoint_due(self) -> bool:
        """Whether one is due since the tick before: at rounds that the terms fix, whatever came."""
        schedule = self._rules.schedule
        every = self._rules.checkpoint_every
        before, now = (
            min(schedule.rounds, (tick - schedule.prepare_ticks) // schedule.round_ticks)
            for tick in (self._before, self.tick)
        )
        return any(
            n % every == 0 or n == schedule.rounds for n in range(max(0, before + 1), now + 1)
        )

    def snapshot(self) -> Checkpoint:
        """Return what the next life needs, copied."""
        pulled = self.pull()
        return Checkpoint(
            epoch=self.epoch,
            version=self.version,
            tick=max(0, self.tick),
            plan=(self.plan or b"") if pulled else b"",
            parameters=np.zeros(0, np.float32) if pulled is None else pulled[1].copy(),
            tallies=tuple(dataclasses.replace(tally) for tally in self._tallies),
        )

    def kept(self, checkpoint: Checkpoint) -> None:
        """Note that a checkpoint is safe: no later life may be behind it."""
        self.durable = max(self.durable, checkpoint.version)

    def outcome(self) -> Mapping[str, FieldValue]:
        """Return what happened, for the owners: counts by trainer, never to be printed."""
        return {
            "epoch": self.epoch,
            "version": self.version,
            "trainers": [
                {
                    "heard": seat.heard,
                    "late": seat.late,
                    "refused": seat.refused,
                    "added": tally.added,
                    "stale": tally.stale,
                    "rejected": tally.rejected,
                    "repeated": tally.repeated,
                    "missing": tally.missing,
                    "staleness_sum": tally.staleness_sum,
                    "staleness_max": tally.staleness_max,
                    "metrics": {
                        name: value
                        for name, value in zip(self._rules.metrics, seat.metrics, strict=False)
                        if value is not None
                    },
                }
                for seat, tally in zip(self.seats, self._tallies, strict=True)
            ],
        }

    def metric(self, name: str) -> float | None:
        """Return the mean of a metric over the trainers that reported it, in their order."""
        place = self._rules.metrics.index(name)
        found = [seat.metrics[place] for seat in self.seats if len(seat.metrics) > place]
        values = [value for value in found if value is not None]
        return sum(values) / len(values) if values else None

    def _begin(self, parameters: Array, *, version: int) -> None:
        self._state = ParameterState(self._rules, parameters, version=version)
        self._state.tallies = self._tallies

    def _note(self, seat: Seat, message: ExchangeMessage) -> None:
        if any(value is not None for value in message.metrics) and message.round >= seat.round:
            seat.round = message.round
            seat.metrics = message.metrics

    def _take_content(self, index: int, message: ExchangeMessage) -> None:
        """Take a body, or reject it: what is in it may be the data's doing, and shows nowhere."""
        try:
            if message.kind is Kind.PLAN:
                self._take_plan(message)
            elif message.kind is Kind.INITIAL:
                self._take_initial(message)
            elif message.kind is Kind.PUSH:
                self._take_push(index, message)
        except (MalformedError, RemoteProtocolError):
            self._tallies[index].rejected += 1

    def _take_plan(self, message: ExchangeMessage) -> None:
        """Take a part of the plan where it goes on; its beginning begins it anew."""
        if self._state is not None:
            return  # decided; what comes again is on its way since before that was known
        if message.offset == 0:
            self._plan, self._plan_bytes = bytearray(), message.total
            self._initial = None
        if self._whole():
            return
        if self._plan_bytes != message.total:
            raise RemoteProtocolError("a piece of another plan", code="protocol.remote")
        if message.offset == len(self._plan):
            self._plan += bytes(message.body)
        if self._whole():
            try:
                self._measure(bytes(self._plan))
            except MalformedError:
                self._plan, self._plan_bytes = bytearray(), 0
                raise

    def _take_initial(self, message: ExchangeMessage) -> None:
        plan = self.plan
        if self._state is None and self._initial is None and plan is not None:
            initial = np.array(message.body, np.float32)
            self._require_size(plan, initial)
            ParameterState(self._rules, initial)  # refuses what are no parameters
            self._initial = initial

    def _take_push(self, index: int, message: ExchangeMessage) -> None:
        if self._state is None:
            raise RemoteProtocolError("a difference to nothing", code="protocol.remote")
        if message.epoch != self.epoch:
            self._state.lose(index)
            return
        self._state.add(index, np.asarray(message.body), message.version)

    def _require_size(self, plan: bytes, parameters: Array) -> None:
        size = self._measure(plan)
        if size not in {None, parameters.size}:
            raise MalformedError("parameters of another model", code="message.malformed")

    def _whole(self) -> bool:
        return 0 < self._plan_bytes == len(self._plan)


def _seen(message: ExchangeMessage) -> Standing:
    """What a trainer says that it has seen; the version is the newest, of a difference its base."""
    return Standing(message.epoch, message.life, message.version, message.durable)
