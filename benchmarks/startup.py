"""What `cloister run` adds to `python script` for a script that does nothing.

The key service runs, the measurement cache is warm. Two environments: one with nothing but what
Cloister itself needs, and the one that runs the benchmark, with all its tensor libraries: the
launcher looks at every file of an environment before each run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import domain as domains
from pairs import Row, Spread

AIM_S = 0.6
ROOT = Path(__file__).resolve().parents[1]


def rows(
    folder: Path, large: domains.Domain, *, pairs: int, small_python: str | None
) -> Iterator[Row]:
    """Measure both environments; the small one is made where none is named."""
    small = small_python or _make_small(folder / "small")
    if small is None:
        yield Row(
            part="start-up",
            name="environment with Cloister alone",
            result="skipped: it could not be installed (see above)",
            facts={"skipped": True},
        )
    else:
        with domains.founded(folder / "start-small", small) as domain:
            yield from _environment(domain, "Cloister alone", pairs)
    yield from _environment(large, "this environment", pairs)


def _environment(domain: domains.Domain, name: str, pairs: int) -> Iterator[Row]:
    code = domain.folder / "code"
    code.mkdir()
    (code / "nothing.py").write_text("print('nothing')\n")
    policy = domain.draft("start", command="python /code/nothing.py", code="code")
    for _ in range(2):
        domain.run(policy, "main", "--code", "code")
    natives, runs, stages = [], [], []
    for _ in range(pairs):
        natives.append(domain.native("code/nothing.py"))
        done, record = domain.run(policy, "main", "--code", "code")
        runs.append(done)
        stages.append(record["seconds"])
    added = Spread.of([b.wall_s - a.wall_s for a, b in zip(natives, runs, strict=True)])
    used = Spread.of([b.processor_s - a.processor_s for a, b in zip(natives, runs, strict=True)])
    parts = {stage: median([item[stage] for item in stages]) for stage in stages[0]}
    parts["imports, policy, exit"] = median([item.wall_s for item in runs]) - sum(parts.values())
    size, files = _size_of(Path(domain.python).parents[1])
    yield Row(
        part="start-up",
        name=f"{name} ({files} files, {size / 1e9:.1f} GB)",
        left=f"{Spread.of([item.wall_s for item in natives]).text('.3f')} s",
        right=f"{Spread.of([item.wall_s for item in runs]).text('.3f')} s",
        result=f"{added.text('.3f')} s added",
        aim=f"under {AIM_S} s",
        met=added.middle < AIM_S,
        facts={
            "added_s": added.record(),
            "added_processor_s": used.record(),
            "stages_s": {stage: round(value, 4) for stage, value in parts.items()},
            "files": files,
            "bytes": size,
        },
    )
    shown = ", ".join(
        f"{stage} {value * 1000:.0f}" for stage, value in parts.items() if value >= 0.0005
    )
    yield Row(
        part="start-up",
        name="... its stages, in ms; processor seconds added",
        right=shown,
        result=f"{used.text('.3f')} s",
        facts={},
    )


def _make_small(folder: Path) -> str | None:
    """Make an environment with Cloister's own requirements; None where that cannot be done."""
    python = folder / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    steps = [
        [sys.executable, "-m", "venv", str(folder)],
        [*pip, "--constraint", str(constraints), "--editable", str(ROOT)],
        [str(python), "-m", "compileall", "-q", str(ROOT / "src")],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            sys.stderr.write(f"no small environment: {done.stderr[-2000:]}\n")
            return None
    return str(python)


def _size_of(folder: Path) -> tuple[int, int]:
    size = files = 0
    for place, _, names in os.walk(folder):
        for name in names:
            size += os.lstat(Path(place) / name).st_size
            files += 1
    return size, files
