"""What an operator sees of a room's trainers, and whether two rooms can be told apart by it.

He is on the wire and beside the processes: sizes, numbers and times of messages, lines that are
printed, exit status, and when a trainer leaves. Processor time is noted
too, and hidden from nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cloister.cleanroom.exchange_message import message_bytes
from cloister.cleanroom.model_file import TrainedModel
from cloister.cleanroom.round_rules import RoundRules
from cloister.testing.traffic import Burst, Tap, intervals, likeness, messages, shuffled
from integration.cleanroom.room import DIGITS, End, SmallRoom, make_room

LEVEL = 1e-4
"""How often either test may say, by chance, that what cannot be told apart differs."""
LEAVING_S = 2.0
"""After its last message a trainer leaves within this; a machine that is busy needs some of it."""
_LATE_TICKS = 12
_LEAST_S = 0.001
_DIRECTIONS: tuple[Literal["out", "in"], ...] = ("out", "in")


class Watched:
    """A room of one trainer, and what its operator saw."""

    def __init__(self, small: SmallRoom) -> None:
        self.small = small
        self.rules = RoundRules.of(small.room)
        self.tap = Tap(("127.0.0.1", small.port))
        self._model: TrainedModel | None = None
        self._ends: list[End] = []

    def run(self) -> None:
        """Run it to the end."""
        with self.tap:
            self._model, self._ends = self.small.watched(through=self.tap.port)

    @property
    def model(self) -> TrainedModel:
        """What came of it, which the operator does not see."""
        assert self._model is not None, "the room did not end"
        return self._model

    @property
    def end(self) -> End:
        """How the trainer ended."""
        (end,) = self._ends
        return end

    @property
    def record(self) -> list[Burst]:
        """The messages on the wire."""
        return messages(self.tap.notes, size=message_bytes(self.rules))

    @property
    def added(self) -> int:
        """How many differences were added, which the operator does not see."""
        return int(self.model.outcome["trainers"][0]["added"])  # type: ignore[index,call-overload,arg-type]  # of any form

    def require_as_the_terms_say(self, *, missed: float) -> None:
        """Sizes, lines and status exactly; numbers and the end within what the machine needs.

        Args:
            missed: Which share of the ticks a busy machine may have missed.
        """
        size, schedule = message_bytes(self.rules), self.rules.schedule
        record = self.record
        # The server's last message may be on its way still when the trainer leaves.
        odd = [each for each in record[:-1] if each.size != size]
        assert odd == []
        assert record[-1].direction == "in"
        for direction in _DIRECTIONS:
            at = [each.at for each in record if each.direction == direction]
            # Every tick has a message, but those that a busy machine missed, and the greeting one.
            assert (1 - missed) * schedule.ticks <= len(at) <= schedule.ticks + 1
            ticks = (at[-1] - at[1]) / schedule.tick_s
            assert abs(ticks - schedule.ticks) <= _LATE_TICKS
        assert self.end.status == 0
        assert self.end.printed == b""
        last = max(each.at for each in record if each.direction == "out")
        assert 0 <= self.end.at - last < LEAVING_S


def watch(rooms: Mapping[str, SmallRoom]) -> dict[str, Watched]:
    """Run rooms beside each other, so that the machine's other work is the same for all."""
    watched = {name: Watched(small) for name, small in rooms.items()}
    threads = [threading.Thread(target=each.run) for each in watched.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return watched


def room(
    folder: Path,
    name: str,
    records: tuple[Any, Any],
    recipe: str | None,
    **changes: Any,
) -> SmallRoom:
    """Make one of the rooms that are compared, in a folder of its own."""
    place = folder / name
    place.mkdir()
    source = DIGITS
    if recipe is not None:
        source = place / "recipe"
        source.mkdir()
        (source / "recipe.py").write_text(recipe)
    return make_room(place, [records], recipe=source, frameworks=["torch"], **changes)


def spread(one: Watched) -> float:
    """Return the seconds by which nine in ten intervals are within a tick's length."""
    off = np.abs(np.array(intervals(one.record, "out")[1:]) - one.rules.schedule.tick_s)
    return float(np.quantile(off, 0.9))


def rate_differs(one: Watched, other: Watched) -> str | None:
    """Return by which rate, or by which spread of times, two rooms differ, if they do.

    For rooms of which one is busy: its load makes times a little later or sooner, which
    `told_apart` may see. What is required is the rate, at `LEVEL`, and a spread within three times
    the other's.
    """
    chance = shuffled(*(intervals(each.record, "out")[1:] for each in (one, other)), seed=1)
    wide = sorted((spread(one), spread(other)))
    return f"{chance}, {wide}" if chance < LEVEL or wide[1] > 3 * wide[0] + _LEAST_S else None


def told_apart(one: Watched, other: Watched) -> str | None:
    """Return by which times two rooms differ, if they do.

    Two tests, at `LEVEL`, of what a trainer sends: servers share a process here, and hold up each
    other. Both take every message for a draw of its own, which it is not on a busy machine: what
    differs once may be chance, and is looked at again.
    """
    times = intervals(one.record, "out")[1:], intervals(other.record, "out")[1:]
    found = likeness(*times), shuffled(*times, seed=1)
    return f"{found}" if min(found) < LEVEL else None
