"""Verdicts about evidence: `evidence.py` in a process of its own, as rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import domain as domains
from pairs import Row

PART = "evidence"


def rows(*, rounds: int) -> Iterator[Row]:
    """Measure each kind, one after the other, beside other implementations where there are some."""
    command = [sys.executable, str(Path(__file__).with_name("evidence.py"))]
    environment = os.environ | {"PYTHONPATH": str(domains.SOURCES)}
    done = subprocess.run(
        [*command, "--rounds", str(rounds)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=900,
    )
    for line in done.stdout.splitlines():
        facts = json.loads(line)
        yield kind_row(facts) if facts["benchmark"] == "evidence" else process_row(facts)


def kind_row(facts: Mapping[str, Any]) -> Row:
    """Return the row of one kind."""
    again, first = facts["again_ms"], facts["first_ms"]
    other = ""
    result = f"{facts['per_second']} a second, {facts['per_processor_second']} of processor time"
    if "ratio" in facts:
        ratio, theirs = facts["ratio"], facts["other_ms"]
        other = f"{facts['other']} p50 {_ms(theirs)}, processor {_processor(facts, 'other')}"
        result += (
            f"; {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}) x as fast as "
            f"{facts['other']}, by processor time {facts['processor_ratio']['median']:.2f} x, "
            f"the first time {facts['first_processor_ratio']['median']:.2f} x"
        )
    aim = facts["aim_ms"]
    return Row(
        part=PART,
        name=f"a verdict about {facts['kind']}",
        left=other,
        right=f"p50 {_ms(again)}, processor {_processor(facts, 'again')}; seen for the first time "
        f"{first['median']:.2f} ms, processor {_processor(facts, 'first')}; {_memory(facts)}",
        result=result,
        aim="" if aim is None else f"p50 under {aim:g} ms",
        met=facts["met"],
        facts=facts,
    )


def process_row(facts: Mapping[str, Any]) -> Row:
    """Return the row of the process that judged and minted all of them."""
    return Row(
        part=PART,
        name="... the process that minted and judged all of these",
        result=f"{facts['peak_kib'] / 1024:.0f} MiB at its peak",
        facts=facts,
    )


def _ms(spread: Mapping[str, float]) -> str:
    return f"{spread['median']:.2f} ({spread['min']:.2f} to {spread['max']:.2f}) ms"


def _processor(facts: Mapping[str, Any], name: str) -> str:
    return f"{facts[f'{name}_processor_ms']['median']:.2f} ms"


def _memory(facts: Mapping[str, Any]) -> str:
    growth = facts["growth_kib"]
    more = "growth not told" if growth is None else f"grown by {growth} KiB"
    return f"{facts['python_peak_kib']} KiB of Python's memory, {more}"
