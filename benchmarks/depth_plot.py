"""The cost of a cut by its depth, as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairs import Row
from servers import AIM_CUT

PAPER = (1.64, 2.54)
COLORS = {1: "#2a7f9e", 32: "#c4622d"}
OTHERS = ("#7a5ea8", "#4f8a4b", "#888888")
GREY = "#888888"
Facts = Mapping[str, Any]


def write(path: Path, rows: Sequence[Row], facts: Mapping[str, object]) -> bool:
    """Write the plot; return False, and write nothing, where no cut was measured."""
    latency = [row.facts for row in rows if row.facts.get("benchmark") == "cut_depth.latency"]
    load = [row.facts for row in rows if row.facts.get("benchmark") == "cut_depth.load"]
    if not latency:
        return False
    import matplotlib as mpl  # noqa: PLC0415  # slow to load

    mpl.use("agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415  # after the choice

    figure = plt.figure(figsize=(13, 10), layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=(5, 3))
    _plot_ratios(figure.add_subplot(grid[0, :]), latency)
    _plot_bytes(figure.add_subplot(grid[1, 0]), latency)
    _plot_shares(figure.add_subplot(grid[1, 1]), load)
    _plot_memory(figure.add_subplot(grid[1, 2]), load)
    figure.suptitle(
        f"What a cut costs by its depth\n{facts['processor']}, {facts['cores']} cores, "
        f"{facts['date']}, {facts['mode']} run, load {facts['load_before']}",
        fontsize=11,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def _plot_ratios(axes: Any, latency: Sequence[Facts]) -> None:
    """Draw the time in parts as a multiple of the whole's, for each batch."""
    low, high = PAPER
    words = f"the paper's cut in SGX, beside everything outside: {low} to {high}"
    axes.axhspan(low, high, color="#e3b23c", alpha=0.22, linewidth=0)
    axes.text(
        0.995, (low + high) / 2, words, fontsize=9,
        color="#8a6a14", ha="right", va="center", transform=axes.get_yaxis_transform(),
    )  # fmt: skip
    axes.axhline(1, color="black", linewidth=0.8)
    axes.axhline(AIM_CUT, color="#b03a3a", linewidth=1.2, linestyle="--", label=f"aim: {AIM_CUT}")
    for batch in _batches(latency):
        color = COLORS.get(batch, GREY)
        found = [each for each in latency if each["batch"] == batch]
        at = [each["block"] for each in found]
        checked = [each["ratio"]["checked"] for each in found]
        middles = [each["median"] for each in checked]
        axes.fill_between(
            at, [each["low"] for each in checked], [each["high"] for each in checked],
            color=color, alpha=0.15, linewidth=0,
        )  # fmt: skip
        axes.plot(at, middles, "o-", color=color, linewidth=2, label=f"batch {batch}, checked")
        for way, style, words in (
            ("ahead", "--", "checked, vectors drawn ahead"),
            ("believed", ":", "unchecked"),
        ):
            values = [each["ratio"][way]["median"] for each in found]
            axes.plot(at, values, style, color=color, label=f"batch {batch}, {words}")
    axes.set_ylabel("latency in parts / latency of the whole")
    axes.set_ylim(bottom=min(0.8, axes.get_ylim()[0]), top=max(2.7, axes.get_ylim()[1]))
    axes.set_title(
        "medians of pairs taken in turns; shaded: their middle half", fontsize=9, color="#555555"
    )
    axes.legend(fontsize=9, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.05))
    _depths(axes, latency, shares=True)


def _plot_bytes(axes: Any, latency: Sequence[Facts]) -> None:
    """Draw what crosses for one example."""
    first = _batches(latency)[0]
    found = [each for each in latency if each["batch"] == first]
    at = [each["block"] for each in found]
    bottom = [0.0] * len(found)
    for name, words, color in (
        ("sent_bytes", "out: the front's features", OTHERS[0]),
        ("received_bytes", "back: every linear step's answer", OTHERS[1]),
    ):
        values = [each[name] / 1e3 for each in found]
        axes.bar(at, values, 0.7, bottom=bottom, color=color, label=words)
        bottom = [a + b for a, b in zip(bottom, values, strict=True)]
    axes.set_ylabel("crossing for one example, kB")
    axes.legend(fontsize=8)
    _depths(axes, latency)


def _plot_shares(axes: Any, load: Sequence[Facts]) -> None:
    """Draw how much of the work stays inside."""
    first = _batches(load)[0]
    for batch in _batches(load):
        found = [each for each in load if each["batch"] == batch]
        at = [each["block"] for each in found]
        if batch == first:
            values = [100 * each["work_inside"] for each in found]
            axes.plot(at, values, "o-", color=OTHERS[0], label="multiplications of front and head")
        values = [100 * each["processor_inside"] for each in found]
        words = f"processor time, checks too, batch {batch}"
        axes.plot(at, values, "s--", color=COLORS.get(batch, GREY), label=words)
    axes.axhline(100, color="black", linewidth=0.8)
    axes.set_ylabel("inside, % of the whole model's")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    _depths(axes, load)


def _plot_memory(axes: Any, load: Sequence[Facts]) -> None:
    """Draw what the processes hold."""
    for batch in _batches(load):
        found = [each for each in load if each["batch"] == batch]
        at = [each["block"] for each in found]
        for side, style, words in (("checked", "o-", "in parts"), ("whole", ":", "the whole")):
            values = [each["memory"][side]["resident_bytes"] / 2**20 for each in found]
            color = COLORS.get(batch, GREY)
            axes.plot(at, values, style, color=color, label=f"{words}, batch {batch}")
    axes.set_ylabel("resident memory inside, MiB")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    _depths(axes, load)


def _depths(axes: Any, facts: Sequence[Facts], *, shares: bool = False) -> None:
    """Label where cuts are, and how much of the work is in front of them."""
    inside = {each["block"]: each["work_inside"] for each in facts}
    words = [f"{block}\n{share:.0%}" for block, share in inside.items()]
    axes.set_xticks(list(inside), words if shares else [str(block) for block in inside])
    last = facts[0]["blocks"]
    axes.set_xlim(-0.6, last + 0.1)
    axes.set_xlabel(
        f"cut behind block, of {last}" + (" (multiplications inside)" if shares else "")
    )
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _batches(facts: Sequence[Facts]) -> list[int]:
    return list(dict.fromkeys(each["batch"] for each in facts))
