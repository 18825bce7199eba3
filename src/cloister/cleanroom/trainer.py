"""`python -m cloister.cleanroom.trainer TERMS`: one trainer of a clean room, as a workload.

Reads its shard whole, starts a cell for the recipe, and takes part in the exchange to its end.
Whatever happens inside, it says nothing, lasts as long, and ends with the same status: what went
wrong shows in what the server counted, which stays sealed with the model: a recipe could speak
through it. This module is the edge of a process.

Spec: cleanroom-terms-v1, training-round-v1.
"""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cloister.cleanroom.agreement import Room, load_room
from cloister.cleanroom.cells import recipe_in, warm_parent
from cloister.cleanroom.engine.backends import load_ahead
from cloister.cleanroom.exchange import ExchangeClient
from cloister.cleanroom.learning import Learner
from cloister.cleanroom.recipe import read_recipe, require_recipe
from cloister.cleanroom.records import load_records
from cloister.cleanroom.room_policy import DATA, RECIPE, SERVER, TRAINER
from cloister.cleanroom.round_rules import RoundRules
from cloister.errors import CloisterError
from cloister.training.federated.listening import instance_here

__all__ = ["main", "take_part"]

_LOG: Final = logging.getLogger("cloister.cleanroom")
_CONNECT_S: Final = 10.0


def main(arguments: Sequence[str]) -> int:
    """Take part to the end; return the exit status, always the same."""
    room = load_room(Path(arguments[0]))
    take_part(
        room,
        index=instance_here(TRAINER),
        server=(f"{SERVER}-0", room.terms.training.port),
        data=Path(DATA),
        recipe=Path(RECIPE),
    )
    return 0


def take_part(room: Room, *, index: int, server: tuple[str, int], data: Path, recipe: Path) -> None:
    """Be a trainer until the schedule's end.

    Args:
        room: Its signed terms.
        index: Which trainer.
        server: Where the parameter server answers.
        data: The shard's folder.
        recipe: The recipe's folder.
    """
    rules = RoundRules.of(room)
    exchange = ExchangeClient(
        lambda: socket.create_connection(server, timeout=_CONNECT_S), rules, index=index
    )
    exchange.start()
    try:
        _learn(room, rules, exchange, index=index, data=data, recipe=recipe)
    except CloisterError as e:
        _LOG.debug("training ended: %s", e.code)
    except Exception as e:  # noqa: BLE001  # nobody outside may see that it failed, nor why
        _LOG.debug("training ended: %s", type(e).__name__)
    finally:
        exchange.finish()


def _learn(
    room: Room,
    rules: RoundRules,
    exchange: ExchangeClient,
    *,
    index: int,
    data: Path,
    recipe: Path,
) -> None:
    terms, schedule = room.terms, rules.schedule
    ready_by = time.monotonic() + rules.join_s + schedule.prepare_ticks * schedule.tick_s

    def left() -> float:
        tick = exchange.tick
        if tick is None or tick < schedule.prepare_ticks:
            return max(0.0, ready_by - time.monotonic())
        number = schedule.round_at(tick)
        last = schedule.ticks if number is None else schedule.last_push(number)
        return max(0.0, (last - tick) * schedule.tick_s)

    if terms.training.by == "trainer":
        load_ahead(terms.training.frameworks[index])
    files = read_recipe(recipe)
    require_recipe(files, terms.recipe.digest)
    records = load_records(
        data,
        examples=terms.data.shards[index].examples,
        shape=terms.data.shape,
        classes=terms.data.classes,
    )
    with warm_parent(terms, terms.training.frameworks[index]) as warm:
        warm.start()
        with recipe_in(warm, files, deadline=left) as questions:
            Learner(
                terms=terms,
                room=room.digest,
                index=index,
                schedule=schedule,
                exchange=exchange,
                records=records,
                preparation_s=left,
            ).learn(questions)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
