"""What a query of a clean room costs inside: an answer in a fresh cell, and the next cell.

The recipe is the digits example's; its model has one hidden layer, and is not trained. Budgets and
the network are not in it: `key service` and `relay` have them.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pairs import Row, Spread

from cloister.cleanroom.cells import warm_parent
from cloister.cleanroom.description import ModelDescription
from cloister.cleanroom.engine import build_engine
from cloister.cleanroom.model_file import TrainedModel
from cloister.cleanroom.plan import plan_bytes
from cloister.cleanroom.query_cells import FreshCells
from cloister.cleanroom.query_model import RoomModel, cells_of
from cloister.cleanroom.query_signal import Watch
from cloister.cleanroom.questions import Plan
from cloister.testing.cleanroom import sample_terms

RECIPE = Path(__file__).resolve().parents[1] / "examples" / "cleanroom" / "digits" / "recipe.py"
WAIT_S = 60.0
FRAMEWORK = "jax"


def rows(*, rounds: int) -> Iterator[Row]:
    """Measure an answer and what follows it, then the signal."""
    yield from _cells(rounds=rounds)
    yield _signal(rounds=rounds)


def _cells(*, rounds: int) -> Iterator[Row]:
    base = sample_terms(privacy="none")
    records = np.random.default_rng(1).random((300, 8, 8), np.float32)
    recipe = _recipe()
    spec = {"shape": [8, 8], "classes": 10, "batch": 32}
    made = recipe.build(spec, records, np.zeros(300, np.int64))
    model = ModelDescription.from_fields(made["model"])
    state = {name: np.asarray(each) for name, each in made["state"].items()}
    engine = build_engine(model, framework=FRAMEWORK, seed=1, privacy=None)
    terms = dataclasses.replace(
        base,
        training=dataclasses.replace(base.training, frameworks=(FRAMEWORK, FRAMEWORK)),
        cell=dataclasses.replace(base.cell, memory_bytes=256 << 20, scratch_bytes=1 << 20),
    )
    trained = TrainedModel(plan_bytes(Plan(model, None, state)), engine.get(), 1, {})
    files = {"recipe.py": RECIPE.read_bytes()}

    def bare(record: Any) -> None:
        engine.predict(np.asarray(recipe.features(state, record[None]), np.float32))

    with (
        warm_parent(terms, FRAMEWORK) as warm,
        FreshCells(_started(warm, files)) as cells,
    ):
        room = RoomModel(terms, trained, cells)
        plain: list[float] = []
        answered: list[float] = []
        ready: list[float] = []
        for number in range(rounds + 1):
            record = records[number]
            room.prepare(deadline=time.monotonic() + WAIT_S)
            steps = (
                (plain, lambda record=record: bare(record)),
                (answered, lambda record=record: _predict(room, record)),
                (ready, lambda: room.prepare(deadline=time.monotonic() + WAIT_S)),
            )
            for seconds, work in steps:
                began = time.perf_counter()
                work()
                if number:  # the first time compiles
                    seconds.append(time.perf_counter() - began)
    bare_s, ours_s, ready_s = Spread.of(plain), Spread.of(answered), Spread.of(ready)
    yield Row(
        part="cleanroom queries",
        name="scores of a record, by a recipe in a cell that stands by, and in one process",
        left=f"{bare_s.text('.1f', 1e3)} ms",
        right=f"{ours_s.text('.1f', 1e3)} ms",
        result=f"{(ours_s.middle - bare_s.middle) * 1e3:+.1f} ms",
        facts={"bare_s": bare_s.record(), "ours_s": ours_s.record()},
    )
    yield Row(
        part="cleanroom queries",
        name="from one query's end until the next cell stands by, with 256 MiB cleared and taken",
        left="",
        right=f"{ready_s.text('.0f', 1e3)} ms",
        result=f"{ready_s.middle * 1e3:.0f} ms between answers, none of it in one",
        facts={"ready_s": ready_s.record()},
    )


def _signal(*, rounds: int) -> Row:
    """A query of 3 072 numbers from a principal of whom 1 000 are kept."""
    generator = np.random.default_rng(2)
    watch = Watch(numbers=3072, seed=1)
    seconds: list[float] = []
    for number in range(1000 + rounds):
        # Further and further away, so that each is kept.
        record = generator.normal(size=3072) * (1 + number / 100)
        began = time.perf_counter()
        watch.see(record, 0)
        if number >= 1000:  # as many as are kept
            seconds.append(time.perf_counter() - began)
    took = Spread.of(seconds)
    return Row(
        part="cleanroom queries",
        name="the signal of copying after a query, for records of a colour image of 32 by 32",
        left="",
        right=f"{took.text('.1f', 1e3)} ms",
        result=f"{took.middle * 1e3:.1f} ms",
        facts={"signal_s": took.record()},
    )


def _started(warm: Any, files: dict[str, bytes]) -> Callable[..., Any]:
    warm.start()
    return cells_of(warm, files)


def _predict(room: RoomModel, record: Any) -> None:
    room.predict(record, deadline=time.monotonic() + WAIT_S)


def _recipe() -> Any:
    spec = importlib.util.spec_from_file_location("digits_recipe", RECIPE)
    if spec is None or spec.loader is None:
        raise ImportError("no recipe")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    return recipe
