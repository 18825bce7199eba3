"""Numbers taken in turns, so that whatever else the machine does hits both sides alike."""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Spread:
    """Smallest, middle and largest of several measurements."""

    low: float
    middle: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize at least one value."""
        return cls(min(values), statistics.median(values), max(values), len(values))

    def text(self, form: str = ".2f", scale: float = 1.0) -> str:
        """Return `middle (low to high)`; the middle alone where nothing varied or once measured."""
        shown = [format(value * scale, form) for value in (self.middle, self.low, self.high)]
        return shown[0] if self.count == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"

    def record(self) -> dict[str, float | int]:
        """Return it for JSON."""
        return {
            "min": round(self.low, 5),
            "median": round(self.middle, 5),
            "max": round(self.high, 5),
            "count": self.count,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        part: The section it stands in.
        name: What was measured.
        left: What the baseline gave, as text.
        right: What Cloister gave, as text.
        result: The ratio or difference that counts, as text.
        aim: What was aimed at, or empty.
        met: Whether it was reached; None where there is no aim or no measurement.
        facts: All of it for JSON.
    """

    part: str
    name: str
    left: str = ""
    right: str = ""
    result: str
    aim: str = ""
    met: bool | None = None
    facts: Mapping[str, object]


def not_installed(*modules: str) -> list[str]:
    """Return which of these modules cannot be imported."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def left_out(part: str, name: str, missing: Sequence[str]) -> Row:
    """Say in the table what was not measured, and what it takes."""
    return Row(
        part=part,
        name=name,
        result=f"left out: not installed: {', '.join(missing)}",
        facts={"left_out": "not installed", "missing": list(missing)},
    )


@dataclass(frozen=True, slots=True)
class Timed:
    """A finished command: wall and processor seconds, and what it printed."""

    wall_s: float
    processor_s: float
    stdout: str


def timed(command: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> Timed:
    """Run a command to its end and time it; stop the benchmark if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Timed(wall, used, done.stdout)


def machine() -> dict[str, object]:
    """Say what this ran on; the load tells how quiet it was."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def load() -> float:
    """Return the load average of the last minute."""
    return round(os.getloadavg()[0], 2)
