"""Curves by depth, and latency against leakage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cloister.partition.assess.charts import Curve, Point, curves, scatter
from cloister.partition.report import CutReport, LeakageReport, Measure

__all__ = ["curves_of", "strongest"]

RECONSTRUCTING: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("decoder", "queries"): ("decoder, with queries", "a"),
    ("decoder", "representation"): ("decoder, without queries", "b"),
    ("optimisation", "weights"): ("search, with the front's weights", "c"),
    ("optimisation-blind", "representation"): ("search, without", "d"),
}


def strongest(cut: CutReport) -> tuple[float, str] | None:
    """Return how far the best reconstruction came, from 0 to 1, and whose it was."""
    found = [
        (m.worst_decile, f"{m.attack} by {m.knows}")
        for m in cut.measures
        if m.metric == "ssim-gain"
    ]
    return max(found, default=None)


def curves_of(report: LeakageReport) -> str:
    """Return the charts, each with a caption and a key."""
    if not report.cuts:
        return '<p class="quiet">No cut was assessed.</p>'
    verdicts = {cut.position: cut.verdict for cut in report.cuts}
    gains = _reconstructing(report, "ssim-gain", lambda m: (m.worst_decile, m.low, m.high))
    found = _reconstructing(report, "reidentified", lambda m: (m.mean, m.mean, m.mean))
    others = [
        Curve(name, _points(report, attack, metric, value), style)
        for name, attack, metric, value, style in (
            ("distance correlation", "distance-correlation", "correlation", _worst, "a"),
            ("property told rightly", "property", "accuracy", _mean, "b"),
            ("membership told rightly", "membership", "accuracy", _mean, "c"),
        )
    ]
    ratio = Curve("the papers' ratio", _points(report, "projection-kl", "kl-ratio", _worst), "e")
    top = max([2.0, *(min(point[1], 6.0) for point in ratio.points)])
    return "".join(
        (
            _chart(
                "How far each reconstruction comes",
                "Of the way from the mean image (0) to the original (1), in SSIM of the worst "
                "tenth of held-out images, with 95 % intervals.",
                gains,
                bottom=0.0,
                top=1.0,
                ends={
                    "identity": report.identity.get("ssim-gain", 1.0),
                    "white noise": report.noise.get("ssim-gain", 0.0),
                },
                verdicts=verdicts,
            ),
            '<div class="pair">',
            _chart(
                "How often the original is found by its reconstruction",
                "Share of held-out images that are found among the others.",
                found,
                bottom=0.0,
                top=1.0,
                ends={"identity": report.identity.get("reidentified", 1.0)},
                verdicts=verdicts,
            ),
            _latency(report),
            _chart(
                "What is told without a picture",
                "0.5 is chance for a property or a membership of two kinds.",
                [curve for curve in others if curve.points],
                bottom=0.0,
                top=1.0,
                ends={},
                verdicts=verdicts,
            ),
            _chart(
                "The papers' measure, for comparison",
                "Least divergence of the judge over the uniform guess, worst tenth. 1 and more was "
                "called safe; nothing is decided by it here.",
                [ratio] if ratio.points else [],
                bottom=0.0,
                top=top,
                ends={"uniform": 1.0},
                verdicts=verdicts,
            ),
            "</div>",
        )
    )


def _latency(report: LeakageReport) -> str:
    points = [
        Point(
            cut.front_ms / cut.whole_ms if cut.whole_ms else 0.0,
            got[0],
            f"cut {cut.position}",
            cut.verdict,
        )
        for cut in report.cuts
        if (got := strongest(cut)) is not None
    ]
    if not points:
        return ""
    key = "".join(
        f'<li><span class="{verdict}"></span>{verdict}</li>'
        for verdict in ("safe", "undecided", "unsafe")
    )
    drawn = scatter(
        "Latency against leakage", points, described="Every cut by its cost and its worst attack"
    )
    return (
        f'<figure class="card"><h3>Latency against leakage</h3>{drawn}<ul class="key">{key}</ul>'
        "<figcaption>Across, the front's time; up, how far the strongest attack came. Good cuts "
        "lie at the lower left.</figcaption></figure>"
    )


def _chart(
    title: str,
    caption: str,
    drawn: Sequence[Curve],
    *,
    bottom: float,
    top: float,
    ends: Mapping[str, float],
    verdicts: Mapping[int, str],
) -> str:
    if not drawn:
        return ""
    svg = curves(
        title,
        drawn,
        bottom=bottom,
        top=top,
        ends=ends,
        verdicts=verdicts,
        described=caption,
    )
    key = "".join(f'<li><span class="{c.style}"></span>{c.name}</li>' for c in drawn)
    return (
        f'<figure class="card"><h3>{title}</h3>{svg}<ul class="key">{key}</ul>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _reconstructing(
    report: LeakageReport, metric: str, value: Callable[[Measure], tuple[float, float, float]]
) -> list[Curve]:
    made = []
    for (attack, knows), (name, style) in RECONSTRUCTING.items():
        points = [
            (cut.position, *value(m))
            for cut in report.cuts
            for m in cut.measures
            if (m.attack, m.knows, m.metric) == (attack, knows, metric)
        ]
        if points:
            made.append(Curve(name, points, style))
    return made


def _points(
    report: LeakageReport,
    attack: str,
    metric: str,
    value: Callable[[Measure], tuple[float, float, float]],
) -> list[tuple[int, float, float, float]]:
    return [
        (cut.position, *value(m))
        for cut in report.cuts
        for m in cut.measures
        if (m.attack, m.metric) == (attack, metric)
    ]


def _worst(measure: Measure) -> tuple[float, float, float]:
    return measure.worst_decile, measure.low, measure.high


def _mean(measure: Measure) -> tuple[float, float, float]:
    return measure.mean, measure.mean, measure.mean
