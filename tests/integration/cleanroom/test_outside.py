"""What an operator sees of a trainer does not tell what it trains on, nor whether it trains at all.

Real trainers with real cells. Sizes, numbers, lines and status are the same exactly; times by two
tests at 1 in 10 000 each, and what differs has to differ in three runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from integration.cleanroom.room import SmallRoom
from integration.cleanroom.watching import Watched, rate_differs, room, told_apart, watch

pytestmark = [pytest.mark.frameworks("torch"), pytest.mark.jobs]

COUNT = 300
TRAINING = {"prepare_ticks": 400, "round_ticks": 50, "closing_ticks": 20}
GENERATOR = np.random.default_rng(5)
PLAIN = GENERATOR.integers(0, 255, (COUNT, 8, 8), dtype=np.uint8)
LABELS = GENERATOR.integers(0, 10, COUNT)
# Few pixels that differ, one class: another architecture, other numbers, other gradients.
ODD = np.where(np.arange(64).reshape(8, 8) < 5, PLAIN, 0).astype(np.uint8)
FAILING = "def build(spec, x, y):\n    raise ValueError(x)\n"
# Busy on some records and idle on others, by what is in them.
SIGNALLING = """
import sys
import time
import numpy as np

def build(spec, x, y):
    return {"parameters": np.zeros(1000), "state": {}}

def train(state, parameters, x, y, round):
    if x[0, 0, 0] > 0.5:
        until = time.monotonic() + 0.4
        while time.monotonic() < until:
            sum(range(1000))
        print("bright", file=sys.stderr, flush=True)
        return np.full(1000, 1e9)
    return np.zeros(1000)
"""
# A model whose every step takes seconds, and whose last would end long after the room.
ENDLESS = """
def build(spec, x, y):
    pad = {"kind": "zero_pad2d", "name": "pad", "inputs": ["rows"],
           "rows": [0, 184], "columns": [0, 184]}
    return {"model": {
        "version": 1, "input_shape": list(x.shape[1:]), "classes": spec["classes"],
        "batch": spec["batch"], "optimizer": {"kind": "sgd", "rate": 0.1},
        "layers": [
            {"kind": "reshape", "name": "rows", "inputs": ["input"], "shape": [8, 8, 1]}, pad,
            {"kind": "conv2d", "name": "wide", "inputs": ["pad"], "filters": 32, "kernel": [3, 3]},
            {"kind": "conv2d", "name": "more", "inputs": ["wide"], "filters": 32, "kernel": [3, 3]},
            {"kind": "global_average_pool2d", "name": "all", "inputs": ["more"]},
            {"kind": "dense", "name": "out", "inputs": ["all"], "units": spec["classes"]},
        ],
    }}
"""


def require_alike(
    rooms: Callable[[Path], dict[str, SmallRoom]],
    folder: Path,
    pairs: list[tuple[str, str]],
    differs: Callable[[Watched, Watched], str | None] = told_apart,
) -> dict[str, Watched]:
    """Run rooms, and again where times of a pair differ; return the first run."""
    runs = []
    for turn in ("first", "second", "third"):
        place = folder / turn
        place.mkdir()
        seen = watch(rooms(place))
        for each in seen.values():
            each.require_as_the_terms_say(missed=0.2)
        runs.append(seen)
        found = {pair: differs(seen[pair[0]], seen[pair[1]]) for pair in pairs}
        differing = [pair for pair in pairs if found[pair] is not None]
        if not differing:
            return runs[0]
        pairs = differing
    pytest.fail(f"told apart three times: {found}")


@pytest.mark.spec("TR-70")
def test_neither_data_nor_failure_shows(tmp_path: Path) -> None:
    """Two very different sets of records, and a recipe that gives up at the first."""

    def rooms(folder: Path) -> dict[str, SmallRoom]:
        none = np.zeros(COUNT, np.int64)
        return {
            "plain": room(folder, "plain", (PLAIN, LABELS), None, training=TRAINING),
            "odd": room(folder, "odd", (ODD, none), None, training=TRAINING),
            "failing": room(folder, "failing", (PLAIN, LABELS), FAILING, training=TRAINING),
        }

    seen = require_alike(rooms, tmp_path, [("plain", "odd"), ("plain", "failing")])
    assert seen["plain"].added > 0, seen["plain"].small.learned(0)
    assert seen["odd"].added > 0
    assert seen["failing"].added == 0
    assert "recipe.failed" in seen["failing"].small.learned(0)


def test_a_recipe_cannot_signal_by_how_long_it_takes(tmp_path: Path) -> None:
    """It is busy, speaks, and returns what is far too large; the wire shows the same rate.

    Its load shows in how exactly times are kept, by less than three times; LIMITATIONS says so.
    """
    bright, dark = (np.full_like(PLAIN, value) for value in (255, 0))
    training = TRAINING | {"by": "recipe"}

    def rooms(folder: Path) -> dict[str, SmallRoom]:
        return {
            name: room(folder, name, (x, LABELS), SIGNALLING, training=training)
            for name, x in (("bright", bright), ("dark", dark))
        }

    seen = require_alike(rooms, tmp_path, [("bright", "dark")], rate_differs)
    assert seen["bright"].added > 0
    length = float(np.linalg.norm(seen["bright"].model.parameters))
    rules = seen["bright"].rules
    assert length <= rules.norm_max * rules.schedule.rounds * 1.001
    # What is not promised: the host sees who computes. LIMITATIONS says so.
    assert seen["bright"].end.processor_s > 0


@pytest.mark.spec("TR-72")
def test_a_model_that_takes_too_long_does_not_make_a_trainer_stay(tmp_path: Path) -> None:
    """The trusted engine would be at it for minutes; the trainer leaves at the schedule's end."""
    training = {"prepare_ticks": 160, "round_ticks": 8, "closing_ticks": 8}
    seen = watch({"endless": room(tmp_path, "e", (PLAIN, LABELS), ENDLESS, training=training)})
    seen["endless"].require_as_the_terms_say(missed=0.3)
    assert seen["endless"].added == 0
    assert "ended" not in seen["endless"].small.learned(0)
