"""Everything that is promised about speed, in one run, as a table, JSON and plots.

    python benchmarks/run.py [--quick] [--output FOLDER]

Takes under fourteen minutes on two cores, `--quick` under four. Each comparison alternates between
its sides within the same minutes; nothing here fails because something is slow.
"""

from __future__ import annotations

import argparse
import datetime as dt
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

import cleanroom  # noqa: E402  # behind the path
import cleanroom_cells  # noqa: E402  # behind the path
import cleanroom_query  # noqa: E402  # behind the path
import cleanroom_room  # noqa: E402  # behind the path
import cleanroom_rounds  # noqa: E402  # behind the path
import depth  # noqa: E402  # behind the path
import domain as domains  # noqa: E402  # behind the path
import jobs  # noqa: E402  # behind the path
import middle  # noqa: E402  # behind the path
import pairs  # noqa: E402  # behind the path
import privacy  # noqa: E402  # behind the path
import private_queries  # noqa: E402  # behind the path
import relays  # noqa: E402  # behind the path
import releases  # noqa: E402  # behind the path
import report  # noqa: E402  # behind the path
import serving  # noqa: E402  # behind the path
import startup  # noqa: E402  # behind the path
import verdicts  # noqa: E402  # behind the path
import volumes  # noqa: E402  # behind the path

PARTS = (
    "training", "volumes", "start-up", "evidence", "key service", "privacy", "relay", "jobs",
    "cleanroom", "cleanroom rounds", "cleanroom cells", "cleanroom room", "cleanroom queries",
    "middle", "cut depth", "serving", "private queries", "memory",
)  # fmt: skip


def main() -> None:
    """Run the chosen parts and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller files")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; repeatable")
    parser.add_argument("--output", type=Path, default=HERE / "out")
    parser.add_argument("--small-python", help="an interpreter with Cloister's requirements alone")
    parser.add_argument(
        "--directory", type=Path, default=HERE / "out", help="where volumes lie; a disk"
    )
    chosen = parser.parse_args()
    chosen.directory.mkdir(parents=True, exist_ok=True)
    began, before = time.monotonic(), pairs.load()
    with (
        tempfile.TemporaryDirectory(prefix="run-", dir=chosen.directory) as folder,
        domains.founded(Path(folder) / "large") as domain,
    ):
        rows = list(_rows(chosen, Path(folder), domain))
    facts = pairs.machine() | {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),  # noqa: TID251  # an edge
        "mode": "quick" if chosen.quick else "full",
        "seconds": round(time.monotonic() - began),
        "commit": _commit(),
        "load_before": before,
        "load_after": pairs.load(),
    }
    written = report.write(chosen.output, rows, facts)
    print((chosen.output / "bench.md").read_text())
    print(f"written: {chosen.output}/{', '.join(written)}")


def _rows(chosen: argparse.Namespace, folder: Path, domain: domains.Domain) -> Iterator[pairs.Row]:
    quick = chosen.quick

    def training() -> Iterator[pairs.Row]:
        import training  # noqa: PLC0415  # needs what only `.[bench]` installs

        return training.rows(domain, pairs=1 if quick else 3)

    parts: dict[str, Callable[[], Iterator[pairs.Row]]] = {
        "training": training,
        "volumes": lambda: volumes.rows(
            folder / "volumes",
            rounds=1 if quick else 3,
            megabytes=64 if quick else 256,
            files=300 if quick else 1000,
        ),
        "start-up": lambda: startup.rows(
            folder, domain, pairs=3 if quick else 11, small_python=chosen.small_python
        ),
        "evidence": lambda: verdicts.rows(rounds=20 if quick else 200),
        "key service": lambda: releases.rows(
            seconds=1 if quick else 5, clients=(1, 16) if quick else (1, 16, 128)
        ),
        "privacy": lambda: privacy.rows(rounds=3 if quick else 20),
        "jobs": lambda: jobs.rows(domain, pairs=1 if quick else 3, steps=100 if quick else 300),
        "cleanroom rounds": lambda: cleanroom_rounds.rows(rounds=3 if quick else 15),
        "cleanroom queries": lambda: cleanroom_query.rows(rounds=3 if quick else 15),
        "relay": lambda: relays.rows(rounds=2 if quick else 5, megabytes=64 if quick else 256),
        "cleanroom": lambda: cleanroom.rows(
            rounds=3 if quick else 11, megabytes=16 if quick else 64
        ),
        "cleanroom cells": lambda: cleanroom_cells.rows(
            rounds=15 if quick else 61, steps=3 if quick else 7, forks=5 if quick else 21
        ),
        "cleanroom room": lambda: cleanroom_room.rows(
            trainers=(1, 2, 4),
            rounds=3 if quick else 10,
            steps=5 if quick else 10,
            prepare_s=15 if quick else 30,
            round_s=3 if quick else 4,
        ),
        "middle": lambda: middle.rows(rounds=5 if quick else 21),
        "cut depth": lambda: depth.rows(
            blocks=(0, 4, 8, 11) if quick else (0, 2, 4, 6, 8, 10, 11),
            plan=depth.Plan(turns={1: 20}, seconds=0.5)
            if quick
            else depth.Plan(turns={1: 60, 32: 5}, seconds=1),
        ),
        "serving": lambda: serving.rows(rounds=1 if quick else 5),
        "private queries": lambda: private_queries.rows(
            rounds=50 if quick else 300, seconds=1 if quick else 3
        ),
        "memory": lambda: releases.soak_rows(output=chosen.output, quick=quick),
    }
    for name in chosen.only or PARTS:
        began = time.monotonic()
        for row in parts[name]():
            sys.stderr.write(f"{row.part}: {row.name}: {row.result}\n")
            yield row
        sys.stderr.write(f"{name} took {time.monotonic() - began:.0f} s\n")


def _commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
