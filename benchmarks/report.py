"""The table, the JSON and the plots of one run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import depth_plot
from pairs import Row

HEADER = ("what", "baseline", "Cloister", "result", "aim", "met")


def write(folder: Path, rows: Sequence[Row], facts: Mapping[str, object]) -> list[str]:
    """Write bench.md, bench.json and bench.png, and cut-depth.png for cuts; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.md").write_text("\n".join(_table(rows, facts)) + "\n")
    record = facts | {
        "rows": [
            {
                "part": row.part,
                "name": row.name,
                "result": row.result,
                "aim": row.aim,
                "met": row.met,
                **row.facts,
            }
            for row in rows
        ]
    }
    (folder / "bench.json").write_text(json.dumps(record, indent=1) + "\n")
    _plot(folder / "bench.png", rows, facts)
    names = ["bench.md", "bench.json", "bench.png"]
    if depth_plot.write(folder / "cut-depth.png", rows, facts):
        names.append("cut-depth.png")
    return names


def _table(rows: Sequence[Row], facts: Mapping[str, object]) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield (
        f"{facts['date']} · {facts['processor']}, {facts['cores']} cores, {facts['memory_gb']} GB "
        f"· Linux {facts['kernel']} · Python {facts['python']} · {facts['mode']} run of "
        f"{facts['seconds']} s · commit {facts['commit']}"
    )
    yield ""
    yield (
        f"Load of the machine: {facts['load_before']} before, {facts['load_after']} after; this "
        "run alone makes one to two. Where it was higher, something else was measured as well."
    )
    yield ""
    yield "Numbers are medians of pairs taken in turns, with (lowest to highest) behind them."
    part = ""
    for row in rows:
        if row.part != part:
            part = row.part
            yield from ("", f"## {part[0].upper()}{part[1:]}", "")
            yield "| " + " | ".join(HEADER) + " |"
            yield "|" + "---|" * len(HEADER)
        met = "" if row.met is None else "yes" if row.met else "**no**"
        cells = (row.name, row.left, row.right, row.result, row.aim, met)
        yield "| " + " | ".join(cells) + " |"


def _plot(path: Path, rows: Sequence[Row], facts: Mapping[str, object]) -> None:
    import matplotlib as mpl  # noqa: PLC0415  # slow to load

    mpl.use("agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415  # after the choice

    figure, ((left, right), (rates, paths), (verdicts, ratios)) = plt.subplots(
        3, 2, figsize=(13, 15), width_ratios=(3, 2), height_ratios=(3, 2, 3)
    )
    volumes = [row for row in rows if row.facts.get("speed_ratios")]
    for offset, (other, color) in enumerate((("plain", "#888888"), ("gocryptfs", "#2a7f9e"))):
        bars = [
            (place + 0.4 * offset, row.facts["speed_ratios"][other])
            for place, row in enumerate(volumes)
            if other in row.facts["speed_ratios"]
        ]
        middles = [ratio["median"] for _, ratio in bars]
        ends = [
            [ratio["median"] - ratio["min"] for _, ratio in bars],
            [ratio["max"] - ratio["median"] for _, ratio in bars],
        ]
        places = [place for place, _ in bars]
        left.barh(places, middles, 0.38, xerr=ends, color=color, label=f"against {other}")
    left.set_yticks([n + 0.2 for n in range(len(volumes))], [row.name for row in volumes])
    left.axvline(1, color="black", linewidth=0.8)
    left.set_xscale("log")
    left.invert_yaxis()
    left.set_title("a volume's speed, times that of (right is faster)")
    left.legend()
    _plot_stages(right, rows)
    _plot_rates(rates, rows)
    _plot_paths(paths, rows)
    _plot_verdicts(verdicts, rows)
    _plot_ratios(ratios, rows)
    figure.suptitle(f"{facts['processor']}, {facts['cores']} cores, {facts['date']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_stages(axes: object, rows: Sequence[Row]) -> None:
    """Draw where the time of `cloister run` goes."""
    found = [row for row in rows if row.facts.get("stages_s")]
    stages = list(found[0].facts["stages_s"]) if found else []
    starts = [0.0] * len(found)
    for stage in stages:
        values = [row.facts["stages_s"][stage] for row in found]
        axes.bar(range(len(found)), values, 0.5, bottom=starts, label=stage)
        starts = [a + b for a, b in zip(starts, values, strict=True)]
    names = [row.name.replace(" (", "\n(") for row in found]
    axes.set_xticks(range(len(found)), names)
    axes.set_title("`cloister run` of an empty script, seconds")
    if found:
        axes.legend(fontsize=8)


def _plot_rates(axes: object, rows: Sequence[Row]) -> None:
    """Draw how long a release takes with more clients, and how many there are a second."""
    found = [row for row in rows if row.facts.get("benchmark") == "key_release.release"]
    for place, row in enumerate(found):
        times = [row.facts["p50_ms"], row.facts["p99_ms"]]
        axes.plot([place, place], times, "o-", color="#2a7f9e")
        axes.annotate(
            f"{row.facts['per_second']} a second", (place, times[1]), fontsize=8, ha="center"
        )
    names = [f"{row.facts['clients']} at a time" for row in found]
    axes.set_xticks(range(len(found)), names)
    if found:
        axes.set_yscale("log")
    axes.set_title("attest and release a key: p50 and p99, ms")


def _plot_paths(axes: object, rows: Sequence[Row]) -> None:
    """Draw what distance does to a release."""
    found = [row for row in rows if row.facts.get("benchmark") == "key_release.path"]
    times = [row.facts["p50_ms"] for row in found]
    axes.barh(range(len(found)), times, color="#2a7f9e")
    names = [str(row.facts["path"]) for row in found]
    axes.set_yticks(range(len(found)), names)
    axes.invert_yaxis()
    axes.set_title("one release, by where things are: p50, ms")


def _plot_verdicts(axes: object, rows: Sequence[Row]) -> None:
    """Draw how long a verdict takes, for the first time and again."""
    found = [row for row in rows if row.facts.get("benchmark") == "evidence"]
    for offset, (name, label, color) in enumerate(
        (("first_ms", "seen for the first time", "#bbbbbb"), ("again_ms", "again", "#2a7f9e"))
    ):
        times = [row.facts[name]["median"] for row in found]
        places = [place + 0.4 * offset for place in range(len(found))]
        axes.barh(places, times, 0.38, color=color, label=label)
    axes.set_yticks([n + 0.2 for n in range(len(found))], [str(row.facts["kind"]) for row in found])
    axes.invert_yaxis()
    axes.set_title("a verdict about evidence: p50, ms")
    if found:
        axes.set_xscale("log")
        axes.legend(fontsize=8)


def _plot_ratios(axes: object, rows: Sequence[Row]) -> None:
    """Draw how much faster a verdict is than another implementation's, about the same bytes."""
    found = [row for row in rows if row.facts.get("ratio") and "other" in row.facts]
    for place, row in enumerate(found):
        ratio = row.facts["ratio"]
        axes.plot([place, place], [ratio["min"], ratio["max"]], "-", color="#888888")
        axes.plot([place], [ratio["median"]], "o", color="#2a7f9e")
    axes.set_xticks(
        range(len(found)), [f"{row.facts['kind']}\n{row.facts['other']}" for row in found]
    )
    axes.axhline(1, color="black", linewidth=0.8)
    if found:
        axes.set_yscale("log")
    axes.set_title("the other's time, times ours (higher is faster here)")
