"""What a cut costs by its depth: a residual network, cut behind more and more of its blocks.

The front and the head run in one process, which stands for the enclave; the blocks between run in
another, on the same processor, over shared memory, and their answers are checked as `cloister
serve` does by default. A third process has the whole model. They are asked in turns, with one
thread each.

    python benchmarks/run.py --only "cut depth"
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pairs import Row, Spread, left_out, not_installed
from servers import AIM_CUT, SOURCE, middle_process, resident
from setting import first_line, tell

HERE = Path(__file__).resolve().parent
PART = "cut depth"
CALLERS = 2
# One thread each, NumPy's included: what is compared is work, and not who gets more processors.
THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
WAYS = ("whole", "checked", "believed")
MOST_APART = 1e-3


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        turns: How often each side answers, by the batch.
        seconds: How long several callers ask.
    """

    turns: dict[int, int]
    seconds: float


class Child:
    """A process of `depth_process.py`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Take one that was told what to load."""
        self._process = process

    def wait(self) -> None:
        """Wait until it has loaded that."""
        first_line(self._process)

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Have it do something."""
        tell(self._process, json.dumps({"do": do, **more}))
        found: dict[str, Any] = json.loads(first_line(self._process))
        return found


def rows(
    *, blocks: Sequence[int], plan: Plan, size: int | None = None, each: int | None = None
) -> Iterator[Row]:
    """Measure a cut behind each of these blocks, at each batch of the plan."""
    missing = not_installed("onnx", "onnxruntime")
    if missing:
        yield left_out(PART, "a residual network, cut", missing)
        return
    import residual  # noqa: PLC0415  # needs ONNX

    data = residual.residual_net(size=size or residual.SIZE, each=each or residual.EACH)
    depth = len(residual.STAGES) * (each or residual.EACH)
    with tempfile.TemporaryDirectory(prefix="depth-") as folder:
        model = Path(folder) / "whole.onnx"
        model.write_bytes(data)
        for block in blocks:
            yield from _cut(model, block=block, depth=depth, plan=plan)


def _cut(model: Path, *, block: int, depth: int, plan: Plan) -> Iterator[Row]:
    import residual  # noqa: PLC0415  # needs ONNX

    from cloister.partition.onnx_source import ONNXSource  # noqa: PLC0415  # likewise

    front, middle, back = residual.parts(ONNXSource(model.read_bytes()), block)
    inside = residual.multiplications(front) + residual.multiplications(back)
    share = inside / (inside + residual.multiplications(middle))
    outside = model.parent / f"middle-{block}.onnx"
    outside.write_bytes(middle.data)
    address = f"unix:{model.parent}/s{block}"
    order = {"model": str(model), "block": block, "address": address}
    with middle_process(outside, address, threads=1) as pid, contextlib.ExitStack() as stack:
        sides = {way: stack.enter_context(_child({**order, "way": way})) for way in WAYS}
        for side in sides.values():
            side.wait()
        for batch, turns in plan.turns.items():
            name = f"cut behind block {block} of {depth}, batch {batch}"
            found = _measured(sides, batch=batch, turns=turns)
            facts = {"block": block, "blocks": depth, "batch": batch, "work_inside": share}
            yield _latency_row(name, facts | found)
            held = {way: sides[way].ask("held") for way in ("whole", "checked")}
            rates = {
                way: sides[way].ask("many", batch=batch, callers=CALLERS, seconds=plan.seconds)
                for way in ("whole", "checked")
            }
            held["outside"] = {"resident_bytes": resident(pid)}
            yield _load_row(name, facts | found, held, rates)


def _measured(sides: dict[str, Child], *, batch: int, turns: int) -> dict[str, Any]:
    """Have all answer in turns; return seconds, processor seconds and bytes of one example."""
    asked = [(way, way, False) for way in sides] + [("ahead", "checked", True)]
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in asked}
    processor: dict[str, list[float]] = {name: [] for name, _, _ in asked}
    before = sides["checked"].ask("held")
    scores: dict[str, Any] = {}
    for turn in range(turns + 1):
        for name, way, ahead in asked:
            took = sides[way].ask("once", batch=batch, ahead=ahead)
            scores[name] = took["scores"]
            if turn:  # the first time allocates
                seconds[name].append(took["wall_s"])
                processor[name].append(took["processor_s"])
    if any(
        np.abs(np.subtract(scores["whole"], each)).max() > MOST_APART for each in scores.values()
    ):
        raise SystemExit("the parts and the whole do not agree")
    after = sides["checked"].ask("held")
    examples = 2 * (turns + 1) * batch  # drawn ahead or not, the same side answers
    ratios = {
        name: [a / b for a, b in zip(seconds[name], seconds["whole"], strict=True)]
        for name in seconds
        if name != "whole"
    }
    return {
        "turns": turns,
        "p50_ms": {name: float(np.percentile(each, 50)) * 1e3 for name, each in seconds.items()},
        "p99_ms": {name: float(np.percentile(each, 99)) * 1e3 for name, each in seconds.items()},
        "ratio": {name: _quarters(found) for name, found in ratios.items()},
        "processor_ms": {name: Spread.of(each).middle * 1e3 for name, each in processor.items()},
        "sent_bytes": (after["sent_bytes"] - before["sent_bytes"]) // examples,
        "received_bytes": (after["received_bytes"] - before["received_bytes"]) // examples,
    }


def _quarters(found: Sequence[float]) -> dict[str, float]:
    """Return the median, and between what the middle half lies."""
    low, middle, high = (float(each) for each in np.percentile(found, (25, 50, 75)))
    return {"low": low, "median": middle, "high": high}


def _latency_row(name: str, facts: dict[str, Any]) -> Row:
    """Show how long an answer takes, and what crosses for it."""
    shown = {
        way: f"{facts['p50_ms'][way]:.1f} / {facts['p99_ms'][way]:.1f} ms"
        for way in facts["p50_ms"]
    }
    ratio = {way: each["median"] for way, each in facts["ratio"].items()}
    return Row(
        part=PART,
        name=f"{name}: latency p50 / p99, the whole inside, and in parts with a checked middle",
        left=shown["whole"],
        right=shown["checked"],
        result=f"{ratio['checked']:.2f} times; {ratio['ahead']:.2f} with secret vectors drawn "
        f"ahead, {ratio['believed']:.2f} unchecked; {facts['sent_bytes'] / 1e3:.0f} kB out, "
        f"{facts['received_bytes'] / 1e3:.0f} kB back for each example",
        aim=f"at most {AIM_CUT} times",
        met=ratio["checked"] <= AIM_CUT,
        facts={"benchmark": "cut_depth.latency", **facts},
    )


def _load_row(name: str, facts: dict[str, Any], held: dict[str, Any], rates: dict[str, Any]) -> Row:
    shown = {
        way: f"{rates[way]['per_s']:.1f} a second, {held[way]['resident_bytes'] >> 20} MiB"
        for way in rates
    }
    used = facts["processor_ms"]["checked"] / facts["processor_ms"]["whole"]
    times = rates["checked"]["per_s"] / rates["whole"]["per_s"]
    return Row(
        part=PART,
        name=f"{name}: examples a second of {CALLERS} callers, and memory inside",
        left=shown["whole"],
        right=shown["checked"],
        result=f"{times:.2f} times; inside are {facts['work_inside']:.0%} of the multiplications, "
        f"and with checks {used:.0%} of the whole's processor time",
        facts={
            "benchmark": "cut_depth.load",
            **{each: facts[each] for each in ("block", "blocks", "batch", "work_inside")},
            "processor_inside": used,
            "callers": CALLERS,
            "per_s": {way: rate["per_s"] for way, rate in rates.items()},
            "memory": held,
        },
    )


@contextlib.contextmanager
def _child(order: dict[str, Any]) -> Iterator[Child]:
    with subprocess.Popen(
        [sys.executable, str(HERE / "depth_process.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **THREADS, "PYTHONPATH": f"{SOURCE}{os.pathsep}{HERE}"},
    ) as process:
        try:
            tell(process, json.dumps(order))
            yield Child(process)
        finally:
            process.terminate()
