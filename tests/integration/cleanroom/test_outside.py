"""What an operator sees of a trainer does not tell what it trains on, nor whether it trains at all.

Real trainers with real cells; the operator is on the wire and beside the processes.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.model_file import TrainedModel
from cloister.testing.traffic import Tap, bursts, intervals, likeness, same_sizes, shuffled
from integration.cleanroom.room import DIGITS, SmallRoom, make_room

pytestmark = [pytest.mark.frameworks("torch"), pytest.mark.jobs]

LEVEL = 1e-4
"""How often either test may say, by chance, that what cannot be told apart differs."""
COUNT = 300
TRAINING = {"prepare_ticks": 240, "round_ticks": 20, "closing_ticks": 20}
GENERATOR = np.random.default_rng(5)
PLAIN = GENERATOR.integers(0, 255, (COUNT, 8, 8), dtype=np.uint8)
LABELS = GENERATOR.integers(0, 10, COUNT)
# Few pixels that differ, one class: another architecture, other numbers, other gradients.
ODD = np.where(np.arange(64).reshape(8, 8) < 5, PLAIN, 0).astype(np.uint8)
FAILING = "def build(spec, x, y):\n    raise ValueError(x)\n"
# Busy on some records and idle on others, by what is in them.
SIGNALLING = """
import time
import numpy as np

def build(spec, x, y):
    return {"parameters": np.zeros(1000), "state": {}}

def train(state, parameters, x, y, round):
    if x[0, 0, 0] > 0.5:
        time.sleep(0.4)
        return np.full(1000, 1e9)
    return np.zeros(1000)
"""


class Watched:
    """A room, and what its operator saw."""

    def __init__(self, small: SmallRoom) -> None:
        self.small = small
        self.model: TrainedModel | None = None
        self.tap = Tap(("127.0.0.1", small.port))

    def run(self) -> None:
        """Run it; each trainer has to leave with status 0."""
        with self.tap:
            self.model = self.small.run(through=self.tap.port)


def watch(rooms: Mapping[str, SmallRoom]) -> dict[str, Watched]:
    """Run rooms beside each other, so that the machine's other work is the same for all."""
    watched = {name: Watched(small) for name, small in rooms.items()}
    threads = [threading.Thread(target=each.run) for each in watched.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return watched


def room(folder: Path, name: str, x: Any, y: Any, recipe: str | None, **training: Any) -> SmallRoom:
    """Make one of the rooms that are compared."""
    place = folder / name
    place.mkdir()
    source = DIGITS
    if recipe is not None:
        source = place / "recipe"
        source.mkdir()
        (source / "recipe.py").write_text(recipe)
    return make_room(
        place, [(x, y)], recipe=source, frameworks=["torch"], training=TRAINING | training
    )


def require_alike(one: Watched, other: Watched) -> None:
    """Sizes and counts exactly, times by two tests."""
    assert one.model is not None
    assert other.model is not None
    first, second = (bursts(each.tap.notes, gap_s=0.005) for each in (one, other))
    assert same_sizes(first, second)
    for direction in ("out", "in"):
        times = intervals(first, direction), intervals(second, direction)
        assert likeness(*times) > LEVEL
        assert shuffled(*times, seed=1) >= 1 / 2001


def test_neither_data_nor_failure_shows(tmp_path: Path) -> None:
    """Two very different sets of records, and a recipe that gives up at the first."""
    seen = watch(
        {
            "plain": room(tmp_path, "plain", PLAIN, LABELS, None),
            "odd": room(tmp_path, "odd", ODD, np.zeros(COUNT, np.int64), None),
            "failing": room(tmp_path, "failing", PLAIN, LABELS, FAILING),
        }
    )
    models = {name: each.model for name, each in seen.items()}
    assert models["plain"] is not None
    assert models["plain"].outcome["trainers"][0]["added"] > 0
    assert models["failing"] is not None
    assert models["failing"].outcome["trainers"][0]["added"] == 0
    require_alike(seen["plain"], seen["odd"])
    require_alike(seen["plain"], seen["failing"])


def test_a_recipe_cannot_signal_by_how_long_it_takes(tmp_path: Path) -> None:
    """It is late, or returns what is far too large; the wire shows the same."""
    bright, dark = (np.full_like(PLAIN, value) for value in (255, 0))
    seen = watch(
        {
            "bright": room(tmp_path, "bright", bright, LABELS, SIGNALLING, by="recipe"),
            "dark": room(tmp_path, "dark", dark, LABELS, SIGNALLING, by="recipe"),
        }
    )
    require_alike(seen["bright"], seen["dark"])
    assert seen["bright"].model is not None
    length = float(np.linalg.norm(seen["bright"].model.parameters))
    norm_max = float(seen["bright"].small.room.terms.training.norm_max)
    assert length <= norm_max * seen["bright"].small.room.terms.training.rounds * 1.001
