"""`python -m cloister.cleanroom.learner DESCRIPTOR`: the process of a trainer that learns.

A trainer starts it with one end of a pipe, tells it what to do, and kills it at the schedule's end,
finished or not. Frameworks are loaded here, models that a recipe described are built here, and the
recipe's cell is this process's child. Nobody reads what it prints, nor how it ends. This module is
the edge of a process.

Spec: training-round-v1, clauses TR-70 to TR-72.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cloister.cleanroom.agreement import Room, SignedTerms
from cloister.cleanroom.cells import recipe_in, warm_parent
from cloister.cleanroom.encoding import FieldValue, Limits, Message
from cloister.cleanroom.engine.backends import load_ahead
from cloister.cleanroom.exchange_pipe import (
    PIPE_FRAME_BYTES,
    Exchange,
    PipedExchange,
    pipe_limits,
)
from cloister.cleanroom.learning import Learner
from cloister.cleanroom.pipe import Pipe
from cloister.cleanroom.recipe import read_recipe, require_recipe
from cloister.cleanroom.records import load_records
from cloister.cleanroom.round_rules import RoundRules
from cloister.cleanroom.threads import THREAD_VARIABLES
from cloister.errors import CloisterError, MalformedError

__all__ = ["Task", "main"]

_LOG: Final = logging.getLogger("cloister.cleanroom")
_TASK_LIMITS: Final = Limits(message_bytes=16 << 20)


@dataclass(frozen=True, slots=True)
class Task:
    """What a learner is told.

    Attributes:
        room: The signed terms.
        index: Which trainer this is.
        data: The shard's folder.
        recipe: The recipe's folder.
        ready_by: Until when there has to be a plan, on the machine's clock that only goes on.
    """

    room: Room
    index: int
    data: Path
    recipe: Path
    ready_by: float

    def to_message(self) -> Message:
        """Write it down."""
        fields: dict[str, FieldValue] = {
            "index": self.index,
            "data": str(self.data),
            "recipe": str(self.recipe),
            "ready_by": float(self.ready_by),
        }
        terms = np.frombuffer(self.room.agreement.to_bytes(), np.uint8)
        return Message("learn", fields, {"terms": terms})

    @classmethod
    def from_message(cls, message: Message) -> Task:
        """Read it.

        Raises:
            MalformedError: It is none; `IdentityError` where the terms are not signed.
        """
        index, data, recipe, ready_by = (
            message.fields.get(name) for name in ("index", "data", "recipe", "ready_by")
        )
        if (
            type(index) is not int
            or not isinstance(data, str)
            or not isinstance(recipe, str)
            or not isinstance(ready_by, float)
            or set(message.arrays) != {"terms"}
        ):
            raise MalformedError("this is no task", code="message.malformed")
        room = Room(SignedTerms.from_bytes(message.arrays["terms"].tobytes()))
        return cls(room, index, Path(data), Path(recipe), ready_by)


def main(descriptor: int) -> None:
    """Learn, and say nothing about it."""
    pipe = Pipe(descriptor, PIPE_FRAME_BYTES, _TASK_LIMITS)
    try:
        task = Task.from_message(pipe.receive(None))
        talk = Pipe(descriptor, PIPE_FRAME_BYTES, pipe_limits(RoundRules.of(task.room)))
        _learn(task, PipedExchange(talk))
    except CloisterError as e:
        _LOG.debug("training ended: %s", e.code)
    except Exception as e:  # noqa: BLE001  # nobody outside may see that it failed, nor why
        _LOG.debug("training ended: %s", type(e).__name__)


def _learn(task: Task, exchange: Exchange) -> None:
    terms, schedule = task.room.terms, RoundRules.of(task.room).schedule

    def left() -> float:
        tick = exchange.tick
        if tick is None or tick < schedule.prepare_ticks:
            return max(0.0, task.ready_by - time.monotonic())
        number = schedule.round_at(tick)
        last = schedule.ticks if number is None else schedule.last_push(number)
        return max(0.0, (last - tick) * schedule.tick_s)

    if terms.training.by == "trainer":
        load_ahead(terms.training.frameworks[task.index])
    files = read_recipe(task.recipe)
    require_recipe(files, terms.recipe.digest)
    records = load_records(
        task.data,
        examples=terms.data.shards[task.index].examples,
        shape=terms.data.shape,
        classes=terms.data.classes,
    )
    # A recipe that trains itself computes with as many threads as this process would.
    threads = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    framework = terms.training.frameworks[task.index]
    with warm_parent(terms, framework, environment=threads) as warm:
        warm.start()
        with recipe_in(warm, files, deadline=left) as questions:
            Learner(
                terms=terms,
                room=task.room.digest,
                index=task.index,
                schedule=schedule,
                exchange=exchange,
                records=records,
                preparation_s=left,
            ).learn(questions)


if __name__ == "__main__":
    main(int(sys.argv[1]))
