"""What cells cost: steps in them beside the same steps natively, how soon there is one, and memory.

For each framework that is installed there are a warm parent that has loaded it, cells of that, and
a native process of the same interpreter. `programs/cell_steps.py` runs in all of them. Cell and
native process take turns: one waits for an order while the other works.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairs import Row, Spread

from cloister.cleanroom.cells import PRELOADED
from cloister.confinement.cell import Warm
from cloister.confinement.cell_spec import CellSpec
from cloister.errors import UnsupportedError

PART = "cleanroom cells"
PROGRAM = Path(__file__).resolve().parent / "programs" / "cell_steps.py"
ENTRY = "cell_steps:main"
MEMORY = 2 << 30
RESERVED = 1 << 29
# What the warm parent has loaded, as in a room whose recipe trains.
MODULES: dict[str, tuple[str, ...]] = {
    "numpy": (),
    "torch": PRELOADED["torch"],
    "keras": PRELOADED["tensorflow"],
    "jax": PRELOADED["jax"],
}
_SHORT = 20  # as many of NumPy's steps take as long as one of the others
MOST_TIMES = 1.05
MOST_RESET_S = 0.020
MOST_FIRST_S = 1.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in MiB; `proportional` is None where this user may not know.

    Attributes:
        resident: With everything that it shares.
        proportional: With its part of what it shares.
        private: What it alone has.
    """

    resident: float
    proportional: float | None
    private: float | None


class Program:
    """The other end of `cell_steps.py`."""

    def __init__(self, descriptor: int) -> None:
        """Talk over a descriptor that belongs to somebody else."""
        self._descriptor = descriptor

    def hear(self) -> dict[str, Any]:
        """Return the next line."""
        data = b""
        while not data.endswith(b"\n"):
            found = os.read(self._descriptor, 4096)
            if not found:
                raise SystemExit("cell_steps.py ended")
            data += found
        return dict(json.loads(data))

    def ask(self, **order: object) -> dict[str, Any]:
        """Give an order, and return what came of it."""
        os.write(self._descriptor, json.dumps(order).encode() + b"\n")
        return self.hear()


def rows(*, rounds: int, steps: int, forks: int) -> Iterator[Row]:
    """Measure every framework that is installed.

    Args:
        rounds: Pairs of turns.
        steps: How many steps a turn has.
        forks: How many cells are made to time that.
    """
    for framework, modules in MODULES.items():
        if all(importlib.util.find_spec(module.partition(".")[0]) for module in modules):
            yield from of_framework(framework, rounds=rounds, steps=steps, forks=forks)
        else:
            yield _left_out(framework, "not installed")


def of_framework(framework: str, *, rounds: int, steps: int, forks: int) -> Iterator[Row]:
    """Measure one framework."""
    with Warm(spec_for(framework)) as warm:
        began = time.perf_counter()
        try:
            warm.start()
        except UnsupportedError as e:
            yield _left_out(framework, e.public)
            return
        with cell_of(warm) as program:
            cold = time.perf_counter() - began
            parent, cell = memories()[:2]  # a third may be a spare
            first = program.ask(do="first", framework=framework)
            yield _reset_row(framework, cold, resets(warm, forks))
            began = time.perf_counter()
            with native() as other:
                natively = other.ask(do="first", framework=framework)
                yield _first_row(
                    framework, time.perf_counter() - began, firsts(warm, framework, forks)
                )
                yield _steps_row(
                    framework,
                    program,
                    other,
                    rounds=rounds,
                    steps=steps * _SHORT if framework == "numpy" else steps,
                    equal=first["loss"] == natively["loss"],
                )
            yield _memory_row(framework, parent, cell, memories()[1])
    with Warm(spec_for(framework, reserve=True)) as warm:
        warm.start()
        yield _reserved_row(framework, resets(warm, forks))


def spec_for(framework: str, *, reserve: bool = False) -> CellSpec:
    """Return what cells of a framework are like."""
    return CellSpec(
        memory_bytes=RESERVED if reserve else MEMORY,
        scratch_bytes=64 << 20,
        processor_s=3600,
        tasks=64,
        accept_missing=frozenset(("tasks",)),  # where root measures, nobody counts them
        preload=("numpy", *MODULES[framework]),
        reserve=reserve,
    )


@contextlib.contextmanager
def cell_of(warm: Warm) -> Iterator[Program]:
    """Fork a cell; its program has said that it is ready."""
    with warm.fork({PROGRAM.name: PROGRAM.read_bytes()}, ENTRY) as cell:
        program = Program(cell.fileno())
        program.hear()
        yield program


@contextlib.contextmanager
def native() -> Iterator[Program]:
    """Start the same program without confinement, by the same interpreter."""
    near, far = socket.socketpair()
    with near:
        with far:
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(far.fileno())],
                pass_fds=(far.fileno(),),
                stderr=subprocess.DEVNULL,
            )
        try:
            program = Program(near.fileno())
            program.hear()
            yield program
        finally:
            process.kill()
            process.wait()


def resets(warm: Warm, forks: int) -> tuple[Spread, Spread]:
    """Return seconds to a program's first word, and the cell's processor time until it ended.

    The first cell of all is left out.
    """
    seconds, worked = [], []
    for _ in range(forks + 1):
        began = time.perf_counter()
        with warm.fork({PROGRAM.name: PROGRAM.read_bytes()}, ENTRY) as cell:
            Program(cell.fileno()).hear()
            seconds.append(time.perf_counter() - began)
            cell.kill()
            worked.append(cell.wait(10).processor_ms / 1e3)
    return Spread.of(seconds[1:]), Spread.of(worked[1:])


def firsts(warm: Warm, framework: str, forks: int) -> list[float]:
    """Return seconds from asking for a cell to its first step: network, compiler and all."""
    seconds = []
    for _ in range(min(forks, 5)):
        began = time.perf_counter()
        with cell_of(warm) as program:
            program.ask(do="first", framework=framework)
            seconds.append(time.perf_counter() - began)
    return seconds


def _steps_row(
    framework: str, cell: Program, other: Program, *, rounds: int, steps: int, equal: bool
) -> Row:
    """Let both do as many steps in turns; tell whether both learned the same."""
    found: dict[str, list[dict[str, Any]]] = {"native": [], "cell": []}
    sides = {"native": other, "cell": cell}
    for number in range(rounds + 1):
        for side in sorted(sides, reverse=bool(number % 2)):
            answer = sides[side].ask(do="steps", count=steps)
            if number:  # compilers and caches have seen everything after the first time
                found[side].append(answer)
    equal &= [each["loss"] for each in found["native"]] == [each["loss"] for each in found["cell"]]
    times = {
        clock: Spread.of(
            [b[clock] / a[clock] for a, b in zip(found["native"], found["cell"], strict=True)]
        )
        for clock in ("wall_s", "processor_s")
    }
    walls = {
        side: Spread.of([each["wall_s"] / steps for each in answers])
        for side, answers in found.items()
    }
    # On a busy machine a turn that nobody disturbed says more than the middle of those that were.
    fastest = walls["cell"].low / walls["native"].low
    return Row(
        part=PART,
        name=f"a training step, {framework}: natively, and in a cell",
        left=f"{walls['native'].text('.2f', 1e3)} ms",
        right=f"{walls['cell'].text('.2f', 1e3)} ms",
        result=(
            f"{times['wall_s'].text()} times; processor {times['processor_s'].text()} times; "
            f"the fastest turns {fastest:.2f} times"
        ),
        aim=f"at most {MOST_TIMES} times",
        met=times["wall_s"].middle <= MOST_TIMES,
        facts={
            "framework": framework,
            "native_s": walls["native"].record(),
            "cell_s": walls["cell"].record(),
            "times": times["wall_s"].record(),
            "processor_times": times["processor_s"].record(),
            "ratio_of_fastest": round(fastest, 3),
            "steps": steps,
            "equal_losses": equal,
        },
    )


def _reset_row(framework: str, cold: float, found: tuple[Spread, Spread]) -> Row:
    reset, worked = found
    return Row(
        part=PART,
        name=f"a fresh cell, {framework}: with its parent, and from a warm one",
        left=f"{cold:.2f} s",
        right=f"{reset.text('.1f', 1e3)} ms",
        result=(
            f"{cold / reset.middle:.0f} times as fast; the cell's processor time "
            f"{worked.text('.0f', 1e3)} ms"
        ),
        aim=f"under {MOST_RESET_S * 1e3:.0f} ms",
        met=reset.middle < MOST_RESET_S,
        facts={
            "framework": framework,
            "cold_s": round(cold, 3),
            "reset_s": reset.record(),
            "processor_s": worked.record(),
        },
    )


def _reserved_row(framework: str, found: tuple[Spread, Spread]) -> Row:
    reset, worked = found
    return Row(
        part=PART,
        name=f"... that takes {RESERVED >> 20} MiB at once, as in a room, {framework}",
        right=f"{reset.text('.0f', 1e3)} ms",
        result=f"processor time {worked.middle * 1e3 * (1 << 30) / RESERVED:.0f} ms for each GiB",
        facts={
            "framework": framework,
            "reserved_mib": RESERVED >> 20,
            "reset_s": reset.record(),
            "processor_s": worked.record(),
        },
    )


def _first_row(framework: str, natively: float, seconds: list[float]) -> Row:
    first = Spread.of(seconds)
    return Row(
        part=PART,
        name=f"the first step, {framework}: of a native process, and of a cell of a warm parent",
        left=f"{natively:.2f} s",
        right=f"{first.text()} s",
        result=f"{natively / first.middle:.1f} times as fast",
        aim=f"under {MOST_FIRST_S:.0f} s",
        met=first.middle < MOST_FIRST_S,
        facts={
            "framework": framework,
            "native_s": round(natively, 3),
            "first_s": first.record(),
        },
    )


def _memory_row(framework: str, parent: Memory, cell: Memory, worked: Memory) -> Row:
    def text(memory: Memory) -> str:
        if memory.private is None:
            return f"{memory.resident:.0f} MiB resident"
        return f"{memory.resident:.0f} MiB resident, {memory.private:.0f} its own"

    return Row(
        part=PART,
        name=f"memory, {framework}: the warm parent, and a cell after its steps",
        left=text(parent),
        right=text(worked),
        result=f"a cell that has done nothing: {text(cell)}",
        facts={
            "framework": framework,
            **{
                f"{name}_{what}_mib": value
                for name, memory in (("parent", parent), ("cell", cell), ("worked", worked))
                for what, value in (
                    ("resident", memory.resident),
                    ("proportional", memory.proportional),
                    ("private", memory.private),
                )
            },
        },
    )


def _left_out(framework: str, why: str) -> Row:
    return Row(
        part=PART, name=f"cells, {framework}", result=f"left out: {why}", facts={"left_out": why}
    )


def memories() -> list[Memory]:
    """Return memory of pid 1 of this process's cells, and of each cell, oldest first."""
    started = _children(os.getpid())
    parents = [child for each in started for child in _children(each) if _is_warm(child)]
    if not parents:
        raise SystemExit("there is no warm parent")
    return [_memory(each) for each in (parents[-1], *_children(parents[-1]))]


def _is_warm(number: int) -> bool:
    """Tell a parent of cells from whatever else this process has started."""
    return b"cell_parent" in Path(f"/proc/{number}/cmdline").read_bytes()


def _children(number: int) -> list[int]:
    found = []
    for place in Path(f"/proc/{number}/task").iterdir():
        found += [int(each) for each in (place / "children").read_text().split()]
    return sorted(found)


def _memory(number: int) -> Memory:
    place = Path(f"/proc/{number}")
    resident = int((place / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    try:
        lines = (place / "smaps_rollup").read_text().splitlines()[1:]
    except OSError:  # of a process that may not be read, by a user who is not root
        return Memory(round(resident, 1), None, None)
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    private = kib["Private_Clean"] + kib["Private_Dirty"]
    return Memory(round(resident, 1), round(kib["Pss"] / 1024, 1), round(private / 1024, 1))
