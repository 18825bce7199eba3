"""Which cut comes next, how long it may take, and what is recommended: functions, no I/O.

What crosses a deeper cut is computed from what crosses here, by a part that is exposed. So whoever
succeeds deeper succeeds here, and the search is for one boundary. Nor is a cut better than a deeper
one where nobody knows yet: an attack that came too close there to tell came as close here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from cloister.partition.assess.verdict import Verdict, carried
from cloister.partition.graph import Graph
from cloister.partition.report import CutReport, LeakageReport, Measure
from cloister.partition.thresholds import DEFAULT, objection, read_thresholds

__all__ = [
    "back_position",
    "default_objection",
    "defended",
    "little_saved",
    "next_position",
    "paired",
    "recommend",
    "seconds",
    "settle",
]

_PAIRS: Final = 12
_SENTENCE: Final = 2000
# Of the whole's time: a front that takes more leaves next to nothing for outside to do.
_MOST_SHARE: Final = 0.9


def next_position(positions: Sequence[int], verdicts: Mapping[int, str]) -> int | None:
    """Return the next position to assess, the one that tells most; None when all are done.

    The boundary between unsafe and safe is halved until it is found, then its neighbours follow.
    What is undecided counts as unsafe: nobody would cut there.
    """
    open_ = sorted(set(positions) - set(verdicts))
    if not open_:
        return None
    safe = [p for p in positions if verdicts.get(p) == "safe"]
    bad = [p for p, verdict in verdicts.items() if verdict != "safe"]
    floor = max(bad, default=-1)
    ceiling = min((p for p in safe if p > floor), default=max(positions) + 1)
    between = [p for p in open_ if floor < p < ceiling]
    if between:
        return between[len(between) // 2]
    return min(open_, key=lambda p: (abs(p - (floor + ceiling) / 2), p))


def seconds(left: float, *, remaining: int, positions: int, total: float) -> float:
    """Return how long the next cut may take.

    An equal share of what is left, but never less than lets the search for the boundary come to its
    end: a few cuts attacked well say more than many attacked badly.
    """
    searched = 2 + math.ceil(math.log2(positions + 1))
    return min(left, max(left / max(1, remaining), total / searched))


def settle(
    cuts: Sequence[CutReport],
    judged: Callable[[CutReport, Sequence[tuple[int, Measure]]], Verdict],
) -> tuple[CutReport, ...]:
    """Return cuts in order, each judged by the worst numbers of all deeper ones too.

    Args:
        cuts: As they were assessed.
        judged: From a cut, and measures of deeper ones with their positions, to its verdict.
    """
    found: list[CutReport] = []
    deepest: int | None = None
    deeper: tuple[tuple[int, Measure], ...] = ()
    for own in sorted(cuts, key=lambda each: -each.position):
        said = judged(own, deeper)
        cut = replace(own, verdict=said.verdict, because=said.because[:_SENTENCE])
        deeper = carried(deeper, own.position, own.measures)
        if cut.verdict == "unsafe":
            deepest = cut.position if deepest is None else deepest
            found.append(cut)
        elif deepest is not None:
            because = (
                f"the cut at {deepest} is unsafe, and what crosses there can be computed from what "
                "crosses here, by the exposed part"
            )
            found.append(
                replace(cut, verdict="unsafe", because=f"{because}. {cut.because}"[:_SENTENCE])
            )
        else:
            found.append(cut)
    return tuple(reversed(found))


def recommend(cuts: Sequence[CutReport]) -> int | None:
    """Return the position of the safe cut with the smallest front; None where none is safe.

    One that the default thresholds would let be served comes before one that they would not: what
    is recommended should be served by who states nothing else. A front that has all nodes of
    another costs more: no clock is asked.
    """
    safe = sorted((cut for cut in cuts if cut.verdict == "safe"), key=lambda cut: cut.position)
    defaults = read_thresholds((DEFAULT,))
    servable = (cut for cut in safe if objection(cut, cuts, defaults) is None)
    chosen = next(servable, safe[0] if safe else None)
    return None if chosen is None else chosen.position


def default_objection(report: LeakageReport) -> str | None:
    """Return why the default thresholds would refuse the recommended cut; None where they do not.

    Args:
        report: With its recommendation.
    """
    cut = None if report.recommended is None else report.cut(report.recommended)
    refused = None if cut is None else objection(cut, report.cuts, read_thresholds((DEFAULT,)))
    return None if refused is None else f"{refused.rule}: {refused.found}, not {refused.expected}"


def little_saved(report: LeakageReport) -> str | None:
    """Return a sentence where the recommended cut's front takes about as long as the whole model.

    Args:
        report: With its recommendation.
    """
    cut = None if report.recommended is None else report.cut(report.recommended)
    if cut is None or cut.front_ms <= _MOST_SHARE * cut.whole_ms:
        return None
    return (
        f"This cut saves little or nothing: its front takes {cut.front_ms:.3g} ms inside and the "
        f"whole model {cut.whole_ms:.3g} ms, so the whole may as well be served there."
    )


def paired(
    positions: Sequence[int], recommended: int | None, backs: Sequence[int]
) -> tuple[tuple[int, int | None], ...]:
    """Return the pairs of cuts that copies are made for, the most telling first.

    Args:
        positions: Of all cuts that were assessed.
        recommended: The one recommended; its pairs come first.
        backs: Where exposed parts might end before the model's end.
    """
    spread = _spread(sorted(positions), _PAIRS)
    fronts = ([] if recommended is None else [recommended]) + [
        p for p in spread if p != recommended
    ]
    first: list[tuple[int, int | None]] = [(p, b) for p in fronts[:1] for b in backs if b > p]
    ends: list[tuple[int, int | None]] = [(p, None) for p in fronts]
    return (*ends[:1], *first, *ends[1:])


def back_position(graph: Graph) -> int | None:
    """Return where a back part would begin that has the last weights; None where it had all."""
    last = [i for i, node in enumerate(graph.nodes) if node.constants]
    return last[-1] if len(last) > 1 and last[-1] > 0 else None


def defended(cuts: Sequence[CutReport], recommended: int | None) -> int | None:
    """Return the cut that a defence might make good: the deepest that is not safe, before it."""
    bad = [
        cut.position
        for cut in cuts
        if cut.verdict != "safe" and (recommended is None or cut.position < recommended)
    ]
    return max(bad, default=recommended)


def _spread(values: Sequence[int], count: int) -> list[int]:
    if len(values) <= count:
        return list(values)
    places = {round(i * (len(values) - 1) / (count - 1)) for i in range(count)}
    return [values[i] for i in sorted(places)]
