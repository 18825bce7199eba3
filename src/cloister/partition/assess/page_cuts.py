"""Each cut: a table of all, and what was seen and measured at one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cloister.partition.assess.attack import Examples
from cloister.partition.assess.page_curves import RECONSTRUCTING, strongest
from cloister.partition.assess.page_parts import escaped, mark, measures_table, picture, strips
from cloister.partition.report import CutReport, LeakageReport

__all__ = ["cuts_of"]

# Of a network with hundreds of cuts, pictures of a few: the file would grow beyond what opens.
_PICTURED: Final = 24
_NAMES: Final = 3


def cuts_of(
    report: LeakageReport,
    pictures: Mapping[str, Examples],
    remarks: Mapping[str, Sequence[str]],
    skipped: Mapping[str, str],
) -> str:
    """Return one box for each cut that was assessed."""
    if not report.cuts:
        return '<p class="quiet">None was assessed.</p>'
    pictured = _pictured(report)
    opened = report.recommended if report.recommended is not None else report.cuts[0].position
    boxes = "".join(
        _box(
            cut,
            pictures if cut.position in pictured else {},
            remarks.get(f"cut/{cut.position}", ()),
            opened=cut.position == opened,
        )
        for cut in report.cuts
    )
    left = f", pictures of {len(pictured)}" if len(pictured) < len(report.cuts) else ""
    no = "".join(
        f"<li>{escaped(name.removeprefix('cut/'))}: {escaped(why)}</li>"
        for name, why in skipped.items()
    )
    return (
        f'<p class="quiet">{len(report.cuts)} cuts{left}. All tensors that cross one are judged '
        "together; the images are the worst of those that were held out.</p>"
        + boxes
        + (f"<h3>No place to cut</h3><ul>{no}</ul>" if no else "")
    )


def _box(
    cut: CutReport,
    pictures: Mapping[str, Examples],
    remarks: Sequence[str],
    *,
    opened: bool,
) -> str:
    got = strongest(cut)
    names = ", ".join(cut.tensors[:_NAMES])
    if len(cut.tensors) > _NAMES:
        names += f" and {len(cut.tensors) - _NAMES} more"
    best = "" if got is None else f"<span>{got[0]:.2f} by {escaped(got[1])}</span>"
    name = f"cut/{cut.position}"
    maps = pictures.get(f"{name}/maps")
    seen = ""
    if maps is not None:
        seen = (
            "<h3>What crosses, drawn</h3>"
            '<div class="strips"><span class="name">one image</span>'
            + picture(maps.originals, "a held-out image", f"cut at {cut.position}")
            + '<span class="name">its feature maps</span>'
            + picture(maps.reconstructions, "projected feature maps", f"cut at {cut.position}")
            + "</div>"
        )
    for (attack, knows), (words, _) in RECONSTRUCTING.items():
        examples = pictures.get(f"{name}/{attack}/{knows}")
        if examples is not None:
            seen += f"<h3>{escaped(words[0].upper() + words[1:])}</h3>" + strips(
                examples, about=f"{words}, cut at {cut.position}"
            )
    said = "".join(f"<li>{escaped(each)}</li>" for each in remarks)
    return (
        f'<details id="cut-{cut.position}"{" open" if opened else ""}><summary>'
        f"<b>Cut at {cut.position}</b>{mark(cut.verdict, cut.verdict)}"
        f'<span class="where">{escaped(names)}</span>{best}</summary><div class="inside">'
        f"<p>{escaped(cut.because)}</p>"
        f'<p class="quiet">{cut.values:,} numbers cross; the front takes {cut.front_ms:.3g} ms of '
        f"{cut.whole_ms:.3g} ms.</p>"
        f"{seen}{measures_table(cut.measures, f'Everything measured at {cut.position}')}"
        + (f'<ul class="notes quiet">{said}</ul>' if said else "")
        + "</div></details>"
    )


def _pictured(report: LeakageReport) -> set[int]:
    """Return the positions that get pictures: around the recommended one, and spread evenly."""
    positions = [cut.position for cut in report.cuts]
    if len(positions) <= _PICTURED:
        return set(positions)
    middle = report.recommended if report.recommended is not None else positions[-1]
    near = sorted(positions, key=lambda p: abs(p - middle))[: _PICTURED // 3]
    count = _PICTURED - len(near)
    spread = {positions[round(i * (len(positions) - 1) / (count - 1))] for i in range(count)}
    return spread | set(near)
