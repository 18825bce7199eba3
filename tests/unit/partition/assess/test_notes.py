"""The sentences that no report goes without, and those that say what was missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cloister.partition.assess.notes import EXPOSED, NO_BOUND, of
from cloister.partition.assess.state import Finished
from cloister.partition.assess.verdict import ATTENTION
from cloister.partition.graph import Graph, Node


def _notes(operator: str = "Conv2D", **more: Any) -> tuple[str, ...]:
    graph = Graph("keras", (), (), (Node("n", operator, (), (), ()),), {})
    given: dict[str, Any] = {
        "network": SimpleNamespace(graph=graph, differentiable=more.pop("differentiable", True)),
        "material": SimpleNamespace(notes=("split",), private_labels=None, members=None),
        "finished": Finished(remarks={"cut/1": ("property by queries: x",)}),
        "not_run": (),
        "device": "the CPU",
        "mean_image": 0.25,
    }
    return of(**(given | more))


def test_what_is_always_said() -> None:
    """That failing attacks bound nothing, and that exposed weights are exposed."""
    said = _notes()
    assert said[:2] == (NO_BOUND, EXPOSED)
    assert "no bound" in NO_BOUND
    assert "does not hide the exposed part's weights" in EXPOSED
    assert "split" in said
    assert any("membership was not attacked" in each for each in said)
    assert any("no classes were given" in each for each in said)
    assert any("0.25" in each for each in said)
    assert "computed on the CPU" in said
    assert said[-1] == "property by queries: x"


def test_doubts_come_first() -> None:
    """What may make all of it worthless."""
    assert _notes(doubts=("in another scale?",))[:2] == ("in another scale?", NO_BOUND)


def test_depth_does_not_protect_tokens() -> None:
    """Said where there is attention, and only there."""
    assert ATTENTION in _notes("MultiHeadAttention")
    assert ATTENTION not in _notes()


def test_what_was_not_run_is_listed() -> None:
    """A dozen of many by name; cuts that cannot be, and why; formats without gradients."""
    said = _notes(
        not_run=tuple(f"the cut at {i}" for i in range(40)),
        finished=Finished(skipped={"cut/3": "no converter"}),
        differentiable=False,
    )
    assert any("the cut at 11 and 28 more" in each for each in said)
    assert any(each.startswith("not run, for lack of time: ") for each in said)
    said_of_a_stop = _notes(not_run=("the cut at 1",), stopped=True)
    assert "not run, as somebody stopped it: the cut at 1" in said_of_a_stop
    assert "3 is no place to cut: no converter" in said
    assert any("no gradients" in each for each in said)
    assert max(map(len, said)) < 2000
