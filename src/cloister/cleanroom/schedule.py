"""When a clean room's exchanges happen: ticks from an agreed start, rounds of ticks, an end. Pure.

All of it follows from the terms, before any record was read. A tick is an instant at which each
side sends one message. A tick that was missed is missed: what is late waits for the next one, and
two messages never leave for one tick.

Spec: training-round-v1, clauses TR-1 to TR-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.errors import ConfigError

__all__ = ["MAX_TICKS", "Pace", "Schedule", "Ticker"]

MAX_TICKS: Final = 2**32 - 2
_MIN_TICK_MS: Final = 10
_MAX_TICK_MS: Final = 3_600_000
_MIN_ROUND_TICKS: Final = 3
_HEARD: Final = 32


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times of a training, in ticks.

    Attributes:
        tick_ms: Milliseconds from one tick to the next.
        prepare_ticks: Ticks before the first round, for the plan and the first parameters.
        round_ticks: Ticks of a round.
        rounds: How many there are.
        closing_ticks: Ticks after the last round, in which its result is told.
    """

    tick_ms: int
    prepare_ticks: int
    round_ticks: int
    rounds: int
    closing_ticks: int

    def __post_init__(self) -> None:
        """Refuse what has no meaning.

        Raises:
            ConfigError: `config.value`.
        """
        if not _MIN_TICK_MS <= self.tick_ms <= _MAX_TICK_MS:
            raise _wrong(f"a tick of {self.tick_ms} ms is not {_MIN_TICK_MS} to {_MAX_TICK_MS} ms")
        if self.round_ticks < _MIN_ROUND_TICKS:
            raise _wrong(f"a round has {self.round_ticks} ticks, and needs {_MIN_ROUND_TICKS}")
        if min(self.prepare_ticks, self.closing_ticks, self.rounds) < 1:
            raise _wrong("preparation, rounds and closing take a tick at least")
        if self.ticks > MAX_TICKS:
            raise _wrong("the schedule has too many ticks")

    @classmethod
    def within(
        cls, seconds: int, *, tick_ms: int, rounds: int, prepare_ticks: int, closing_ticks: int
    ) -> Schedule:
        """Return the schedule that ends within `seconds`, its rounds as long as that allows.

        Raises:
            ConfigError: `config.value`: they do not fit.
        """
        if tick_ms < 1 or rounds < 1:
            raise _wrong("ticks and rounds are positive numbers")
        left = seconds * 1000 // tick_ms - prepare_ticks - closing_ticks
        return cls(
            tick_ms=tick_ms,
            prepare_ticks=prepare_ticks,
            round_ticks=max(0, left) // rounds,
            rounds=rounds,
            closing_ticks=closing_ticks,
        )

    @property
    def ticks(self) -> int:
        """How many ticks there are; the last one is this less one."""
        return self.prepare_ticks + self.rounds * self.round_ticks + self.closing_ticks

    @property
    def tick_s(self) -> float:
        """A tick in seconds."""
        return self.tick_ms / 1000

    def closed(self, tick: int) -> int:
        """Return how many rounds have ended when the server's work of `tick` begins."""
        return max(0, min(self.rounds, (tick - self.prepare_ticks) // self.round_ticks))

    def round_at(self, tick: int) -> int | None:
        """Return the round that `tick` lies in, from 0; None before and after all rounds."""
        number, _ = divmod(tick - self.prepare_ticks, self.round_ticks)
        return number if 0 <= number < self.rounds else None

    def first_tick(self, number: int) -> int:
        """Return the tick at which a round's parameters are told; of `rounds`, the result."""
        return self.prepare_ticks + number * self.round_ticks

    def last_push(self, number: int) -> int:
        """Return the last tick at which a trainer may send its difference of a round."""
        return self.first_tick(number + 1) - 1

    def instant(self, start: float, tick: int) -> float:
        """Return when a tick is, where tick 0 is at `start`."""
        return start + tick * self.tick_ms / 1000

    def tick_after(self, start: float, at: float) -> int:
        """Return the first tick that is not before `at`."""
        elapsed_us = round((at - start) * 1_000_000)
        return max(0, -(-elapsed_us // (self.tick_ms * 1000)))


class Ticker:
    """Which tick comes next, and how many were missed. Reads no clock.

    Invariants:
        1. Ticks only grow; none is given out twice.
        2. A tick whose instant is over by more than half a tick is not given out, but counted.
    """

    def __init__(self, schedule: Schedule, *, start: float, first: int = 0) -> None:
        """Take the instant of tick 0, and the first tick that may be given out."""
        self._schedule = schedule
        self._next = first
        self.start = start
        self.missed = 0

    def next(self, at: float) -> int | None:
        """Give out the next tick; None after the last.

        Args:
            at: The present.
        """
        self._pass(self._schedule.tick_after(self.start, at - self._schedule.tick_s / 2))
        if self._next >= self._schedule.ticks:
            return None
        self._next += 1
        return self._next - 1

    def present(self, at: float) -> int:
        """Return the tick that is, or was last; -1 before the first."""
        return self._schedule.tick_after(self.start, at + self._schedule.tick_s / 1000) - 1

    def instant(self, tick: int) -> float:
        """Return when a tick is."""
        return self._schedule.instant(self.start, tick)

    def over(self, at: float) -> bool:
        """Whether the last tick has been."""
        return self._next >= self._schedule.ticks or self.present(at) >= self._schedule.ticks

    def end(self) -> None:
        """Count what is left as missed."""
        self._pass(self._schedule.ticks)

    def _pass(self, due: int) -> None:
        due = min(due, self._schedule.ticks)
        if due > self._next:
            self.missed += due - self._next
            self._next = due


class Pace:
    """Follows another's ticks by when its messages arrive. Reads no clock.

    What a message needs on its way is never negative, so the earliest of many arrivals tells the
    other's time best. Clocks that run apart are followed; one message that was held up is not.
    """

    def __init__(self, schedule: Schedule) -> None:
        """Begin with nothing heard."""
        self._schedule = schedule
        self._starts: list[float] = []

    def heard(self, tick: int, at: float, *, start: float) -> float:
        """Take a message's tick and when it arrived; return when tick 0 was, as far as is known.

        Args:
            tick: The other's.
            at: When the message began to arrive.
            start: When tick 0 was, as far as was known.
        """
        told = at - tick * self._schedule.tick_s
        self._starts.append(told)
        earliest = min(self._starts)
        if len(self._starts) >= _HEARD:
            self._starts.clear()
            if abs(earliest - start) > self._schedule.tick_s / 8:
                return earliest
        return told if told < start - self._schedule.tick_s / 2 else start


def _wrong(problem: str) -> ConfigError:
    return ConfigError(problem, code="config.value")
