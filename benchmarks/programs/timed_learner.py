"""Run first in a process that learns: writes down how long each of its steps took.

`FOLDER` and `INDEX` are given by whoever runs it (the tests' `room_trainer.py`). A line for each
step, at once, since the process is killed at the schedule's end.
"""

import time
from pathlib import Path

from cloister.cleanroom.engine import Engine

PLAIN = Engine.step_from
OUT = (Path(FOLDER) / f"steps-{INDEX}.txt").open("w", buffering=1)  # noqa: F821  # given; kept


def timed(engine, x, y):
    began = time.perf_counter()
    PLAIN(engine, x, y)
    OUT.write(f"{time.perf_counter() - began}\n")


Engine.step_from = timed
