"""Curves as inline SVG: functions from numbers to text; colours are classes of the page's style."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Curve", "Point", "curves", "scatter"]

_WIDTH: Final = 720
_HEIGHT: Final = 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 30, 28, 62
_TICKS: Final = 4
_MOST_LABELS: Final = 12


@dataclass(frozen=True, slots=True)
class Curve:
    """One line.

    Attributes:
        name: What it is.
        points: Position, value, and the lower and upper end of its interval.
        style: A class of the style sheet.
    """

    name: str
    points: Sequence[tuple[int, float, float, float]]
    style: str


@dataclass(frozen=True, slots=True)
class Point:
    """One cut in the plane of cost and leakage."""

    x: float
    y: float
    label: str
    style: str


def curves(
    title: str,
    drawn: Sequence[Curve],
    *,
    bottom: float,
    top: float,
    ends: Mapping[str, float],
    verdicts: Mapping[int, str],
    described: str,
) -> str:
    """Return a chart of curves by position.

    Args:
        title: For who does not see it.
        drawn: The curves.
        bottom: Least value of the scale.
        top: Greatest value.
        ends: Dashed lines across, by what they mean; words alone where they lie beyond an edge.
        verdicts: A mark under the axis for each position.
        described: A sentence that says what is seen.
    """
    positions = sorted(verdicts)
    first, last = positions[0], max(positions[-1], positions[0] + 1)

    def x(position: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (position - first) / (last - first)

    def y(value: float) -> float:
        share = (min(max(value, bottom), top) - bottom) / (top - bottom)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * share

    parts = [_frame(title, described), *_grid(bottom, top, y)]
    for name, value in ends.items():
        beyond = ""
        if bottom <= value <= top:
            parts.append(
                f'<line class="end" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" '
                f'y2="{y(value):.1f}"/>'
            )
        else:
            beyond = f" below {bottom:g}" if value < bottom else f" above {top:g}"
            beyond += f", at {value:.2f}"
        parts.append(
            f'<text class="endname" x="{_WIDTH - _RIGHT - 4}" '
            f'y="{y(value) - 6:.1f}" text-anchor="end">{html.escape(name)}{beyond}</text>'
        )
    step = -(-len(positions) // _MOST_LABELS)
    for i, position in enumerate(positions):
        parts.append(
            f'<rect class="v-{verdicts[position]}" x="{x(position) - 4:.1f}" '
            f'y="{_HEIGHT - _BOTTOM + 4}" width="8" height="8" rx="2"/>'
        )
        if i % step == 0:
            parts.append(
                f'<text class="tick" x="{x(position):.1f}" y="{_HEIGHT - 30}" '
                f'text-anchor="middle">{position}</text>'
            )
    parts.append(
        f'<text class="axis" x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" y="{_HEIGHT - 7}" '
        'text-anchor="middle">operators in front of the cut</text>'
    )
    for curve in drawn:
        points = sorted(curve.points)
        if len(points) > 1:
            upper = [f"{x(p):.1f},{y(high):.1f}" for p, _, _, high in points]
            lower = [f"{x(p):.1f},{y(low):.1f}" for p, _, low, _ in reversed(points)]
            parts.append(
                f'<polygon class="band {curve.style}" points="{" ".join(upper + lower)}"/>'
            )
            line = " ".join(f"{x(p):.1f},{y(v):.1f}" for p, v, _, _ in points)
            parts.append(f'<polyline class="line {curve.style}" points="{line}"/>')
        for p, value, low, high in points:
            said = f"{curve.name}, cut at {p}: {value:.3f} ({low:.3f} to {high:.3f})"
            parts.append(
                f'<circle class="dot {curve.style}" cx="{x(p):.1f}" cy="{y(value):.1f}" r="3.5">'
                f"<title>{html.escape(said)}</title></circle>"
            )
    return "".join(parts) + "</svg>"


def scatter(title: str, points: Sequence[Point], *, described: str) -> str:
    """Return cuts by the front's share of the whole's time and by how far the best attack got."""
    top = max([1.0, *(point.x for point in points)])

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / top

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * min(max(value, 0.0), 1.0)

    parts = [_frame(title, described), *_grid(0.0, 1.0, y)]
    for i in range(_TICKS + 1):
        value = top * i / _TICKS
        parts.append(
            f'<text class="tick" x="{x(value):.1f}" y="{_HEIGHT - 36}" '
            f'text-anchor="middle">{100 * value:.0f} %</text>'
        )
    parts.append(
        f'<text class="axis" x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" y="{_HEIGHT - 7}" '
        'text-anchor="middle">time of the front, of the whole</text>'
    )
    parts += [
        f'<circle class="v-{point.style}" cx="{x(point.x):.1f}" cy="{y(point.y):.1f}" r="6">'
        f"<title>{html.escape(point.label)}: {100 * point.x:.0f} % of the time, {point.y:.2f}"
        "</title></circle>"
        for point in points
    ]
    placed: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda each: each.x):
        at = x(point.x), y(point.y) - 10
        # Names that would lie on each other are left to the pointer and to the table.
        if all(abs(at[0] - px) > 18 or abs(at[1] - py) > 12 for px, py in placed):  # noqa: PLR2004  # size of a label
            placed.append(at)
            parts.append(
                f'<text class="tick" x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="middle">'
                f"{html.escape(point.label.removeprefix('cut '))}</text>"
            )
    return "".join(parts) + "</svg>"


def _frame(title: str, described: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label='
        f'"{html.escape(f"{title}. {described}", quote=True)}">'
    )


def _grid(bottom: float, top: float, at: Callable[[float], float]) -> list[str]:
    lines = []
    for i in range(_TICKS + 1):
        value = bottom + (top - bottom) * i / _TICKS
        lines.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at(value):.1f}" '
            f'y2="{at(value):.1f}"/><text class="tick" x="{_LEFT - 8}" y="{at(value) + 4:.1f}" '
            f'text-anchor="end">{value:g}</text>'
        )
    return lines
