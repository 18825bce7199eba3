"""What a room costs by its number of trainers: small rooms, with cells and without the shield.

Times of rounds are in the terms: what a room costs is processor time, and how long a step takes
where trainers, their cells and the server share this machine. Beside it stand the same steps in one
process without any of them. Each process has one thread for its arithmetic.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pairs import Row, Spread

from cloister.cleanroom.description import ModelDescription
from cloister.cleanroom.engine import build_engine
from cloister.cleanroom.plan import read_plan

ROOT = Path(__file__).resolve().parents[1]
TIMED = ROOT / "benchmarks" / "programs" / "timed_learner.py"
RECIPE = ROOT / "examples" / "cleanroom" / "colours"
EXAMPLES = 256
CLASSES = 10
PLAN_BYTES = 65536


def rows(
    *, trainers: tuple[int, ...], rounds: int, steps: int, prepare_s: int, round_s: int
) -> Iterator[Row]:
    """Measure a room with each number of trainers.

    Args:
        trainers: How many.
        rounds: Of each room.
        steps: Of each round.
        prepare_s: How long trainers have to be ready.
        round_s: How long a round is.
    """
    # The tests' room: a benchmark of another one would measure something that nothing tests.
    sys.path.append(str(ROOT / "tests"))
    training: dict[str, Any] = {
        "rounds": rounds,
        "checkpoint_every": 1,
        "steps_per_round": steps,
        "prepare_ticks": prepare_s * 20,
        "round_ticks": round_s * 20,
        "closing_ticks": 20,
    }
    # Threads that wait for each other, where processors are fewer than trainers, measure waiting.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        for count in trainers:
            yield _room(count, training)
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def _room(count: int, training: dict[str, Any]) -> Row:
    from integration.cleanroom.room import make_room  # noqa: PLC0415  # behind its path

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        x, y = records()
        small = make_room(
            folder,
            [(x[index::count], y[index::count]) for index in range(count)],
            recipe=RECIPE,
            frameworks=["torch"] * count,
            training=training | {"parameters_max": 200_000},
        )
        before = _processor()
        model = small.run(beside=TIMED)
        trainers_s, server_s = (b - a for a, b in zip(before, _processor(), strict=True))
        if not model.plan:
            return _too_slow(count, trainers_s)
        told = [_seconds(folder / f"steps-{index}.txt") for index in range(count)]
        plan = read_plan(model.plan, by_recipe=False, most=PLAN_BYTES)
    taken = [seconds for each in told for seconds in each]
    if plan.model is None or not taken:
        return _too_slow(count, trainers_s)
    added = sum(int(each["added"]) for each in model.outcome["trainers"])
    walls, alone = Spread.of(taken), alone_of(plan.model, steps=len(taken))
    alone_s = Spread.of(alone["wall_s"])
    return Row(
        part="cleanroom room",
        name=f"a step of {training['steps_per_round'] * training['rounds']}, trainers: {count}",
        left=f"{alone_s.text('.1f', 1e3)} ms",
        right=f"{walls.text('.1f', 1e3)} ms",
        result=(
            f"{added} of {count * training['rounds']} differences added; processor: trainers "
            f"{trainers_s:.1f} s, the server {server_s:.1f} s, their steps alone "
            f"{alone['processor_s']:.1f} s"
        ),
        facts={
            "trainers": count,
            "alone_s": alone_s.record(),
            "step_s": walls.record(),
            "added": added,
            "rounds": training["rounds"],
            "parameters": int(model.parameters.size),
            "trainers_processor_s": round(trainers_s, 3),
            "server_processor_s": round(server_s, 3),
            "alone_processor_s": round(alone["processor_s"], 3),
        },
    )


def _too_slow(count: int, processor_s: float) -> Row:
    """Say that no trainer was ready in time: a room does not wait."""
    return Row(
        part="cleanroom room",
        name=f"a room, trainers: {count}",
        result=f"none was ready in time, with {processor_s:.1f} s of processor time",
        facts={"trainers": count, "trainers_processor_s": round(processor_s, 3), "late": True},
    )


def _seconds(path: Path) -> list[float]:
    """Return how long each step took, as `programs/timed_learner.py` wrote it down."""
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def records() -> tuple[Any, Any]:
    """Return images like CIFAR's in shape, and labels."""
    generator = np.random.default_rng(1)
    x = generator.integers(0, 255, (EXAMPLES, 32, 32, 3), dtype=np.uint8)
    return x, generator.integers(0, CLASSES, EXAMPLES)


def alone_of(model: ModelDescription, *, steps: int) -> dict[str, Any]:
    """Do as many steps in this process: seconds of each, and processor time of all."""
    import torch  # noqa: PLC0415  # needs what only `.[bench]` installs

    torch.set_num_threads(1)
    x, y = records()
    seen = x.astype(np.float32) / 255
    engine = build_engine(model, framework="torch", seed=1, privacy=None)
    engine.warm_up()
    seconds, worked = [], time.process_time()
    for _ in range(steps):
        began = time.perf_counter()
        engine.step_from(seen, y)
        seconds.append(time.perf_counter() - began)
    return {"wall_s": seconds, "processor_s": time.process_time() - worked}


def _processor() -> tuple[float, float]:
    """Return processor seconds of ended children and theirs, and of this process: the server."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime, time.process_time()
