"""Which cut comes next, what a deeper leak says of a shallower cut, and what is recommended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cloister.partition.assess.order import (
    back_position,
    default_objection,
    defended,
    next_position,
    paired,
    recommend,
    seconds,
    settle,
)
from cloister.partition.assess.verdict import Verdict
from cloister.partition.graph import Graph, Node
from cloister.partition.report import CutReport, Measure
from unit.partition.assess.report_cases import measure
from unit.partition.assess.report_cases import report as a_report


def _cut(position: int, verdict: str) -> CutReport:
    return CutReport(
        position=position,
        tensors=(f"t{position}",),
        values=1,
        front_ms=1.0,
        whole_ms=2.0,
        measures=(),
        verdict=verdict,
        because="It is.",
    )


def _settled(cuts: list[CutReport]) -> tuple[CutReport, ...]:
    """Settle cuts whose verdicts are by their own measures."""
    return settle(cuts, lambda cut, _: Verdict(cut.verdict, cut.because))  # type: ignore[arg-type]  # words of the report


@pytest.mark.parametrize("boundary", range(1, 32))
def test_the_boundary_is_found_by_halving(boundary: int) -> None:
    """Of 30 cuts, the cheapest safe one and its unsafe neighbour are known after six."""
    positions = range(1, 31)
    verdicts: dict[int, str] = {}
    order = []
    while (position := next_position(positions, verdicts)) is not None:
        order.append(position)
        verdicts[position] = "safe" if position >= boundary else "unsafe"
    assert sorted(order) == list(positions)
    needed = {p for p in (boundary - 1, boundary) if p in positions}
    assert needed <= set(order[:6])


def test_undecided_counts_as_unsafe() -> None:
    """Nobody would cut there, so the search goes deeper."""
    position = next_position(range(1, 10), {5: "undecided"})
    assert position is not None
    assert position > 5


def test_time_is_shared_and_the_search_comes_to_its_end() -> None:
    """Few cuts share evenly; of hundreds each gets enough for a search, until time is over."""
    assert seconds(60.0, remaining=3, positions=3, total=60.0) == pytest.approx(20.0)
    assert seconds(600.0, remaining=700, positions=700, total=600.0) == pytest.approx(50.0)
    assert seconds(7.0, remaining=5, positions=700, total=600.0) == 7.0


def test_what_leaks_deeper_leaks_here() -> None:
    """What crosses deeper is computed from what crosses here, by who has the exposed part."""
    settled = _settled([_cut(4, "safe"), _cut(2, "safe"), _cut(3, "unsafe"), _cut(1, "undecided")])
    assert [(c.position, c.verdict) for c in settled] == [
        (1, "unsafe"),
        (2, "unsafe"),
        (3, "unsafe"),
        (4, "safe"),
    ]
    assert "the cut at 3 is unsafe" in settled[1].because
    assert recommend(settled) == 4


def test_the_worst_of_every_deeper_cut_is_judged_by() -> None:
    """Of each attack, knowledge and metric; a number that is none counts for nothing."""
    heard: dict[int, list[tuple[int, float]]] = {}

    def judged(cut: CutReport, deeper: Sequence[tuple[int, Measure]]) -> Verdict:
        heard[cut.position] = [(at, m.worst_decile) for at, m in deeper]
        return Verdict("safe", "It is.")

    got = {1: 0.9, 2: 0.1, 3: float("nan"), 4: 0.3, 5: 0.2}
    cuts = [
        replace(_cut(at, "safe"), measures=(measure("decoder", "queries", "ssim-gain", value),))
        for at, value in got.items()
    ]
    settle(cuts, judged)
    assert heard == {
        5: [],
        4: [(5, 0.2)],
        3: [(4, 0.3)],
        2: [(4, 0.3)],
        1: [(4, 0.3)],
    }


def test_none_is_recommended_where_none_is_safe() -> None:
    """Undecided is not safe."""
    assert recommend(_settled([_cut(1, "unsafe"), _cut(2, "undecided")])) is None
    assert recommend([_cut(3, "safe"), _cut(2, "safe")]) == 2


def _measured(position: int, gain: float) -> CutReport:
    found = tuple(
        measure(attack, "representation", "ssim-gain", gain)
        for attack in ("decoder", "optimisation")
    )
    return replace(_cut(position, "safe"), measures=found)


def test_what_is_recommended_is_served_by_default() -> None:
    """A deeper cut that passes comes first; where none does, it is said what is in the way."""
    close, far = _measured(1, 0.48), _measured(2, 0.2)
    assert recommend([far, close]) == 2
    assert recommend([replace(far, verdict="undecided"), close]) == 1
    report = replace(a_report(), cuts=(close,), recommended=1)
    said = default_objection(report)
    assert said is not None
    assert "decoder.ssim-gain.high: 0.53" in said
    assert default_objection(replace(report, cuts=(close, far), recommended=2)) is None
    assert default_objection(replace(report, recommended=None)) is None


def test_copies_of_the_recommended_come_first() -> None:
    """With and without a back part; of many cuts, a dozen spread over all."""
    assert paired([1, 2, 3], 2, (3,)) == ((2, None), (2, 3), (1, None), (3, None))
    many = paired(range(1, 200), None, ())
    assert len(many) == 12
    assert many[0] == (1, None)
    assert many[-1] == (199, None)
    assert paired([], None, (3,)) == ()


def test_a_defence_is_tried_where_it_might_help() -> None:
    """At the deepest cut before the recommended one that is not safe."""
    cuts = [_cut(1, "unsafe"), _cut(2, "unsafe"), _cut(3, "safe"), _cut(4, "safe")]
    assert defended(cuts, 3) == 2
    assert defended(cuts[:2], None) == 2
    assert defended(cuts[2:], 3) == 3
    assert defended([], None) is None


def test_a_back_part_has_the_last_weights() -> None:
    """It begins before the last node that reads any."""

    def graph(*constants: tuple[str, ...]) -> Graph:
        nodes = tuple(Node(f"n{i}", "x", (), (), each) for i, each in enumerate(constants))
        return Graph("keras", (), (), nodes, {})

    assert back_position(graph(("a",), (), ("b",), ())) == 2
    assert back_position(graph(("a",), ())) is None
    assert back_position(graph()) is None
