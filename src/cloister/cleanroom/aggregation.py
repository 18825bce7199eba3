"""The state of the parameters: pulled whole, changed by adding whole differences, in one order.

What a difference holds is untrusted: trainers are attested, and what they were given may be
poisoned. What touches memory here does not depend on it, nor on whether there is a difference:
every trainer's place is read and added in full, by index, with a weight that may be 0. No value
decides about a branch before the counters.

Invariants:
    1. A difference is added whole or not at all.
    2. Parameters are finite: nothing is added that is not, or that is longer than the terms allow.
    3. The version only grows: by one for each round (synchronous), or for each added difference.

No I/O, no clock. Spec: training-round-v1, clauses TR-20 to TR-29.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import numpy as np

from cloister.cleanroom.round_rules import MAX_NORM, RoundRules
from cloister.errors import MalformedError, RemoteProtocolError

__all__ = ["FLOAT", "Array", "Fate", "ParameterState", "Tally", "squared_norm"]

Array = np.ndarray[Any, np.dtype[np.float32]]

FLOAT: Final = np.dtype("<f4")
_BLOCK: Final = 1 << 16
_LARGEST: Final = float(np.finfo(np.float32).max)
_REMEMBERED: Final = 4096


class Fate(Enum):
    """What became of a difference."""

    ADDED = "added"
    STALE = "stale"
    REJECTED = "rejected"
    REPEATED = "repeated"


@dataclass(slots=True)
class Tally:
    """What became of one trainer's differences.

    Attributes:
        added: How many were added.
        stale: How many had missed too many updates, or came after their round.
        rejected: How many were not finite, or too long.
        repeated: How many came where one was waiting.
        missing: Rounds that ended without one (synchronous).
        staleness_sum: Of those that were added, how many updates of others they had missed.
        staleness_max: The largest of these.
    """

    added: int = 0
    stale: int = 0
    rejected: int = 0
    repeated: int = 0
    missing: int = 0
    staleness_sum: int = 0
    staleness_max: int = 0


@dataclass(slots=True)
class _Place:
    """Where one trainer's difference waits."""

    waiting: Array
    filled: bool = False
    based_on: int = 0
    own: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class ParameterState:
    """Parameters, their version, and what waits to be added.

    In synchronous mode differences wait for the end of their round, and their mean is added. In
    bounded-stale mode they are added at the next tick, each damped by its staleness.
    """

    def __init__(self, rules: RoundRules, initial: Array, *, version: int = 0) -> None:
        """Begin with these parameters, which are copied.

        Raises:
            MalformedError: `message.malformed`: they are none, not finite, or too large.
        """
        if initial.ndim != 1 or not 1 <= initial.size <= rules.parameters_max:
            raise MalformedError("not a list of parameters", code="message.malformed")
        if not squared_norm(initial) <= MAX_NORM**2:
            raise MalformedError("parameters are not finite", code="message.malformed")
        self._rules = rules
        self._parameters: Array = np.array(initial, dtype=FLOAT)
        self._version = version
        self._places = [_Place(np.zeros(initial.size, FLOAT)) for _ in range(rules.trainers)]
        self._scratch = np.zeros(initial.size, FLOAT)
        self._sum = np.zeros(initial.size, FLOAT)
        self.tallies = [Tally() for _ in range(rules.trainers)]

    @property
    def size(self) -> int:
        """How many parameters there are."""
        return self._parameters.size

    @property
    def version(self) -> int:
        """How often they have changed."""
        return self._version

    def pull(self) -> tuple[int, Array]:
        """Return the version and the parameters, as a view that cannot be written."""
        view = self._parameters.view()
        view.flags.writeable = False
        return self._version, view

    def add(self, trainer: int, difference: Array, based_on: int) -> Fate | None:
        """Put a trainer's difference where it waits.

        Args:
            trainer: Its index.
            difference: Untrusted; copied.
            based_on: The version of the parameters that it is to.

        Returns:
            What became of it at once; None where it waits.

        Raises:
            MalformedError: `message.malformed`: another number of parameters.
            RemoteProtocolError: `protocol.remote`: there is no such trainer, or version yet.
        """
        if not 0 <= trainer < self._rules.trainers:
            raise RemoteProtocolError("there is no such trainer", code="protocol.remote")
        if difference.shape != self._parameters.shape:
            raise MalformedError("a difference of another size", code="message.malformed")
        if not 0 <= based_on <= self._version:
            raise RemoteProtocolError(
                "a difference to parameters that do not exist yet", code="protocol.remote"
            )
        place = self._places[trainer]
        if place.filled:
            self.tallies[trainer].repeated += 1
            return Fate.REPEATED
        if self._staleness(place, based_on) > self._bound:
            self.tallies[trainer].stale += 1
            return Fate.STALE
        np.copyto(place.waiting, difference)
        place.filled, place.based_on = True, based_on
        return None

    def lose(self, trainer: int) -> None:
        """Count a difference to parameters of an earlier life of the server, which are gone."""
        self.tallies[trainer].stale += 1

    def settle(self) -> list[Fate | None]:
        """Add what waits, in the order of the trainers; the version tells how many (bounded-stale).

        Returns:
            What became of each trainer's difference; None where there was none.
        """
        return [self._added(index) for index in range(self._rules.trainers)]

    def close_round(self) -> list[Fate | None]:
        """Add the mean of what waits, and go on to the next version (synchronous).

        Returns:
            What became of each trainer's difference; None where there was none.
        """
        fates: list[Fate | None] = []
        self._sum.fill(0)
        taken = 0
        for index, place in enumerate(self._places):
            fate = self._judged(place)
            weight = float(fate is Fate.ADDED)
            self._weigh(place, weight)
            np.add(self._sum, self._scratch, out=self._sum)
            taken += int(weight)
            self._count(index, fate, 0)
            self.tallies[index].missing += fate is not Fate.ADDED
            fates.append(fate)
        np.multiply(self._sum, np.float32(1 / max(1, taken)), out=self._sum)
        np.add(self._parameters, self._sum, out=self._parameters)
        self._version += 1
        return fates

    @property
    def _bound(self) -> int:
        return 0 if self._rules.mode == "synchronous" else self._rules.max_staleness

    def _staleness(self, place: _Place, based_on: int) -> int:
        """Count the updates since then that were others'; one's own of long ago count too."""
        return self._version - based_on - sum(version > based_on for version in place.own)

    def _added(self, index: int) -> Fate | None:
        place = self._places[index]
        staleness = self._staleness(place, place.based_on)
        late = staleness > self._bound  # others came first, at this very tick
        fate = self._judged(place)
        if fate is Fate.ADDED and late:
            fate = Fate.STALE
        damped = 1 / (1 + staleness) if self._rules.damping == "inverse" else 1.0
        self._weigh(place, damped if fate is Fate.ADDED else 0.0)
        np.add(self._parameters, self._scratch, out=self._parameters)
        if fate is Fate.ADDED:
            self._version += 1
            place.own.append(self._version)
        self._count(index, fate, staleness)
        return fate

    def _judged(self, place: _Place) -> Fate | None:
        """Read all of a place, whatever is in it, and say what may become of it."""
        short = (
            squared_norm(place.waiting) <= self._rules.norm_max**2
        )  # false for what is no number
        if not place.filled:
            return None
        return Fate.ADDED if short else Fate.REJECTED

    def _weigh(self, place: _Place, weight: float) -> None:
        """Leave weight times a difference in the scratch; 0 times what is no number is 0 too."""
        with np.errstate(invalid="ignore"):
            np.fmin(place.waiting, np.float32(_LARGEST), out=self._scratch)
            np.fmax(self._scratch, np.float32(-_LARGEST), out=self._scratch)
        np.multiply(self._scratch, np.float32(weight), out=self._scratch)
        place.waiting.fill(0)
        place.filled = False

    def _count(self, index: int, fate: Fate | None, staleness: int) -> None:
        tally = self.tallies[index]
        if fate is Fate.ADDED:
            tally.added += 1
            tally.staleness_sum += staleness
            tally.staleness_max = max(tally.staleness_max, staleness)
        elif fate is Fate.REJECTED:
            tally.rejected += 1
        elif fate is Fate.STALE:
            tally.stale += 1


def squared_norm(values: Array) -> float:
    """Return the square of the L2 norm, in double precision; NaN or infinity for what has none.

    Blocks are read one after another in full, whatever they hold.
    """
    total = 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for begin in range(0, values.size, _BLOCK):
            block = values[begin : begin + _BLOCK].astype(np.float64)
            total += float(np.add.reduce(np.multiply(block, block, out=block)))
    return total if math.isfinite(total) else math.nan
