"""`python -m cloister.cleanroom.trainer TERMS`: one trainer of a clean room, as a workload.

This process takes part in the exchange to its end, and does nothing else. What learns is another,
which it starts and kills. So whatever happens inside, messages go at their times, nothing is said,
and the trainer lasts as long and ends with the same status: what went wrong shows in what the
server counted, which stays sealed with the model: a recipe could speak through it. This module is
the edge of a process.

Spec: cleanroom-terms-v1, training-round-v1, clauses TR-70 to TR-72.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cloister
from cloister.cleanroom.agreement import Room, load_room
from cloister.cleanroom.exchange import ExchangeClient
from cloister.cleanroom.exchange_pipe import PIPE_FRAME_BYTES, answer_learner, pipe_limits
from cloister.cleanroom.learner import Task
from cloister.cleanroom.pipe import Pipe
from cloister.cleanroom.room_policy import DATA, RECIPE, SERVER, TRAINER
from cloister.cleanroom.round_rules import RoundRules
from cloister.cleanroom.threads import thread_variables, threads_of
from cloister.errors import CloisterError
from cloister.training.federated.listening import instance_here

__all__ = ["main", "take_part"]

_LOG: Final = logging.getLogger("cloister.cleanroom")
_CONNECT_S: Final = 10.0
_LEARNER: Final = "cloister.cleanroom.learner"


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
    prepared_s = rules.join_s + rules.schedule.prepare_ticks * rules.schedule.tick_s
    task = Task(room, index, data, recipe, time.monotonic() + prepared_s)
    try:
        with _learning(task, rules, exchange):
            exchange.finish()
    except OSError as e:
        _LOG.debug("nothing learns: %s", e)
    finally:
        exchange.finish()


@contextlib.contextmanager
def _learning(task: Task, rules: RoundRules, exchange: ExchangeClient) -> Iterator[None]:
    """Have a task learned beside the block; at its end it is over, done or not."""
    given = len(os.sched_getaffinity(0))
    threads = threads_of(
        given=given, machine=os.cpu_count() or given, trainers=task.room.terms.trainers
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        process = subprocess.Popen(  # noqa: S603  # this interpreter, and a module of ours
            [sys.executable, "-P", "-s", "-m", _LEARNER, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what frameworks print depends on what they are given
            stderr=subprocess.DEVNULL,
            env={
                **thread_variables(threads, os.environ),
                "PYTHONPATH": str(Path(cloister.__file__).resolve().parent.parent),
            },
        )
        pipe = Pipe(ours.detach(), PIPE_FRAME_BYTES, pipe_limits(rules))

    def answer() -> None:
        try:
            pipe.send(task.to_message())
            answer_learner(pipe, exchange)
        except CloisterError as e:
            _LOG.debug("a learner is answered no more: %s", e.code)

    answering = threading.Thread(target=answer, name="learner", daemon=True)
    answering.start()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        answering.join()
        pipe.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
