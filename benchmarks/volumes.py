"""Volumes against plain files and gocryptfs: `volume_io.py` on each in turns, in private mounts.

`authenticated` is a volume whose files are authenticated and not encrypted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import volume_io
from pairs import Row, Spread

OURS = "cloister"
COLD, WARM = "cold read 1M", "warm read 1M"
COLD_AIM, WARM_AIM = 2.0, 0.9  # nine tenths of plain files count as equal: page cache is noisy
SMALLER_IS_BETTER = ("us p50", "ms/GiB")


def rows(folder: Path, *, rounds: int, megabytes: int, files: int) -> Iterator[Row]:
    """Measure every system `rounds` times in turns."""
    folder.mkdir()
    systems = [item for item in volume_io.systems([]) if item[0] != "memory"]
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    units: dict[str, str] = {}
    for _ in range(rounds):
        for name, prefix in systems:
            for row in _run(name, prefix, folder, megabytes=megabytes, files=files):
                found[row["test"]][name].append(row["value"])
                units[row["test"]] = row["unit"]
    if shutil.which("gocryptfs") is None:
        yield Row(
            part="volumes",
            name="gocryptfs",
            result="skipped: not installed (Debian package gocryptfs)",
            facts={"skipped": True},
        )
    for test, values in found.items():
        yield _row(test, values, units[test])


def _run(
    name: str, prefix: str, folder: Path, *, megabytes: int, files: int
) -> list[dict[str, object]]:
    chosen = argparse.Namespace(directory=folder, megabytes=megabytes, files=files, rounds=2)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        volume_io.run_system(name, prefix, chosen)
    found = [json.loads(line) for line in output.getvalue().splitlines()]
    if any("failed" in row for row in found):
        sys.stderr.write(f"{name} failed: {found[-1]}\n")
    return [row for row in found if "test" in row]


def _row(test: str, values: dict[str, list[float]], unit: str) -> Row:
    form = {"us p50": ".1f", "GB/s": ".2f"}.get(unit, ".0f")
    spreads = {name: Spread.of(numbers) for name, numbers in values.items()}
    ratios = {
        other: Spread.of(
            [
                theirs / ours if unit in SMALLER_IS_BETTER else ours / theirs
                for ours, theirs in zip(values[OURS], values[other], strict=False)
            ]
        )
        for other in ("plain", "gocryptfs", "authenticated")
        if other in values and OURS in values
    }
    aim, met = "", None
    if test == COLD and "gocryptfs" in ratios:
        aim, met = f"at least {COLD_AIM:g} x gocryptfs", ratios["gocryptfs"].middle >= COLD_AIM
    elif test == WARM and "plain" in ratios:
        aim, met = f"as plain (at least {WARM_AIM:g})", ratios["plain"].middle >= WARM_AIM
    shown = [f"{name} {spread.text(form)}" for name, spread in spreads.items() if name != OURS]
    volume = spreads[OURS].text(form) if OURS in spreads else "failed"
    return Row(
        part="volumes",
        name=f"{test} [{unit}]",
        left="; ".join(shown),
        right=volume,
        result="; ".join(f"{ratio.text()} x {other}" for other, ratio in ratios.items()),
        aim=aim,
        met=met,
        facts={
            "unit": unit,
            "values": {name: spread.record() for name, spread in spreads.items()},
            "speed_ratios": {name: ratio.record() for name, ratio in ratios.items()},
        },
    )
