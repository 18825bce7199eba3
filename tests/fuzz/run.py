"""Give every target, or those that are named, to a fuzzer that sees which branches were reached.

    python tests/fuzz/run.py --seconds 8 [TARGET...]

Each target runs in a process of its own, bounded in time and memory, from its own good bytes and
from what earlier runs found, which is kept in build/fuzz. An input that raises anything but our
errors, or takes longer than five seconds, is left there, and the run fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FOUND: Final = ROOT / "build" / "fuzz"
MEMORY_MB: Final = 512
LONGEST_S: Final = 5
INSIDE: Final = "--inside"


def main(arguments: list[str]) -> int:
    """Run the fuzzers; 1 where one of them found something."""
    parser = argparse.ArgumentParser(description="Fuzz parsers, guided by coverage.")
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=8, help="for each target")
    parser.add_argument("--runs", type=int, default=-1, help="inputs for each target; -1: no limit")
    asked = parser.parse_args(arguments)
    failed = []
    for name in asked.targets or _names():
        began = time.monotonic()
        status = _outside(name, asked.seconds, asked.runs)
        took = time.monotonic() - began
        _say(f"{name}: {'ok' if status == 0 else 'FOUND SOMETHING'}, {took:.0f} s")
        if status:
            failed.append(name)
    if failed:
        _say(f"inputs are in {FOUND}: {', '.join(failed)}")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _names() -> list[str]:
    _put_paths()
    from fuzz.targets import TARGETS  # noqa: PLC0415  # not before the fuzzer, in its own process

    return list(TARGETS)


def _outside(name: str, seconds: int, runs: int) -> int:
    place = FOUND / name.replace(" ", "-")
    (place / "corpus").mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        __file__,
        INSIDE,
        name,
        str(place / "corpus"),
        f"-max_total_time={seconds}",
        f"-runs={runs}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-timeout={LONGEST_S}",
        "-max_len=32768",
        "-verbosity=0",
        f"-artifact_prefix={place}/",
    ]
    log = place / "log"
    with log.open("wb") as file:
        done = subprocess.run(command, check=False, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        _say(log.read_text("utf-8", "replace")[-4000:])
    return done.returncode


def _put_paths() -> None:
    for folder in ("src", "tests"):
        if str(ROOT / folder) not in sys.path:
            sys.path.insert(0, str(ROOT / folder))


def _inside(name: str, corpus: Path, options: list[str]) -> None:
    """Be the fuzzer's process; it never returns."""
    import atheris  # noqa: PLC0415  # where it is needed

    _put_paths()
    with atheris.instrument_imports(include=["cloister"], enable_loader_override=False):
        from fuzz.targets import TARGETS, one_input  # noqa: PLC0415  # instrumented

    if name not in TARGETS:
        sys.exit(f"no such target: {name}; there are {', '.join(TARGETS)}")
    target = TARGETS[name]
    for number, good in enumerate(target.corpus):
        (corpus / f"good-{number}").write_bytes(good)
    warnings.simplefilter("error")  # what only warns elsewhere raises where a caller says so

    def one(data: bytes) -> None:
        one_input(target, data)

    atheris.Setup([sys.argv[0], str(corpus), *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == [INSIDE]:
        _inside(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    else:
        sys.exit(main(sys.argv[1:]))
