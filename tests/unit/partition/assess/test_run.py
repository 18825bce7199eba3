"""An assessment's order, what it keeps, and what its report says: the attacks are stand-ins here.

`integration/test_assessment.py` runs the real ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cloister.errors import ConfigError, MalformedError, UnsupportedError
from cloister.partition.assess import run as module
from cloister.partition.assess import scale
from cloister.partition.assess.attacking import Found
from cloister.partition.assess.networks import Network
from cloister.partition.assess.run import Assessment, Wanted
from cloister.partition.assess.sample import Material
from cloister.partition.assess.verdict import Limits
from cloister.partition.cuts import cut_at
from cloister.partition.graph import Graph, Node, TensorInfo
from cloister.partition.litert_source import LiteRTSource
from cloister.partition.report import Measure, PairReport, read_report, write_report
from unit.partition.assess.report_cases import measure, pictures, report

RANDOM = np.random.default_rng(0)
DEPTH = 8


def _graph(depth: int = DEPTH) -> Graph:
    names = ["input", *(f"t{i}" for i in range(1, depth + 1))]
    tensors = {name: TensorInfo(name, "float32", (-1, 4, 4, 1)) for name in names}
    nodes = tuple(
        Node(f"n{i}", "Conv2D", (names[i - 1],), (names[i],), (f"w{i}",))
        for i in range(1, depth + 1)
    )
    return Graph("keras", (tensors["input"],), (tensors[names[-1]],), nodes, tensors)


def _material(side: int = 4) -> Material:
    images = RANDOM.random((130, side, side, 1)).astype(np.float32)
    return Material(
        private=images[:100],
        proxy=images[100:],
        private_labels=np.arange(100) % 3,
        proxy_labels=np.arange(30) % 3,
        private_property=None,
        proxy_property=None,
        members=None,
        low=0.0,
        high=1.0,
        images=130,
        digest=bytes(32),
        proxy_digest=bytes(32),
        notes=(),
    )


class Bench:
    """An assessment of a chain of nodes whose cuts are safe from some position on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, boundary: int = 5) -> None:
        self.asked: list[Any] = []
        self.boundary = boundary
        self.stop_at: int | None = None
        self.got: dict[int, float] = {}
        self.short: set[Any] = set()
        template = report()

        def cut(_network: Any, cut: Any, _material: Any, **more: Any) -> Found:
            self.asked.append(cut.position)
            if cut.position == self.stop_at:
                raise KeyboardInterrupt
            if cut.position == 7:
                raise UnsupportedError("no converter", code="model.convert")
            more["progress"](0.5)
            late = cut.position in self.short
            good = "undecided" if late else "safe"
            verdict = good if cut.position >= self.boundary else "unsafe"
            made = replace(
                template.cuts[0],
                position=cut.position,
                tensors=cut.tensors,
                verdict=verdict,
                measures=self.measures(cut.position),
            )
            return Found(made, {"decoder/queries": pictures()["cut/1/decoder/queries"]}, ("said",))

        def pair(_network: Any, front: Any, back: Any, _material: Any, **_: Any) -> Found:
            key = ("pair", front.position, back and back.position)
            self.asked.append(key)
            copy = measure("knock-off", "weights", "accuracy", 0.5, complete=key not in self.short)
            made = PairReport(front=front.position, back=key[2], measures=(copy,))
            return Found(made, {}, ())

        def defence(name: str, _network: Any, cut: Any, _material: Any, **_: Any) -> Found:
            self.asked.append((name, cut.position))
            complete = (name, cut.position) not in self.short
            tried = template.defences[0]
            tried = replace(
                tried,
                position=cut.position,
                name=name,
                measures=tuple(replace(each, complete=complete) for each in tried.measures),
            )
            return Found(tried, {}, ("said",))

        monkeypatch.setattr(module, "assess_cut", cut)
        monkeypatch.setattr(module, "assess_pair", pair)
        monkeypatch.setattr(module, "assess_defence", defence)
        monkeypatch.setattr(scale, "target_of", lambda *_: None)
        monkeypatch.setattr(
            scale,
            "ends_of",
            lambda *_, **__: {
                "identity": {"ssim": 1.0},
                "noise": {"ssim": 0.0},
                "mean": {"ssim": 0.3},
            },
        )

    def measures(self, position: int) -> tuple[Measure, ...]:
        """What both decoders got: little from the boundary on, but for what a test says."""
        got = self.got.get(position, 0.05 if position >= self.boundary else 0.9)
        return tuple(
            measure(
                "decoder",
                knows,
                metric,
                got if metric == "ssim-gain" else got / 2,
                complete=position not in self.short,
            )
            for knows in ("queries", "representation")
            for metric in ("ssim-gain", "reidentified")
        )

    def made(self, depth: int = DEPTH, **wanted: Any) -> Assessment:
        network: Any = SimpleNamespace(
            graph=_graph(depth),
            source=SimpleNamespace(digest=b"m" * 32),
            differentiable=True,
            classes=3,
            scores=lambda images: np.eye(3)[np.arange(len(images)) % 3],
        )
        return self.of(network, **wanted)

    def of(self, network: Any, *, side: int = 4, **wanted: Any) -> Assessment:
        given = {"name": "m", "seconds": 60, "limits": Limits(proxies=30)} | wanted
        return Assessment(network, _material(side), Wanted(**given), at=5, device="the CPU")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Stand-ins for the attacks."""
    return Bench(monkeypatch)


def test_every_cut_is_assessed_and_the_cheapest_safe_one_recommended(bench: Bench) -> None:
    """Cuts by halving, then copies of the recommended first, then defences before it."""
    made, heard = bench.made(), []
    made.run(lambda done, _: heard.append(done), lambda: None)
    found = made.report()
    assert [cut.position for cut in found.cuts] == [1, 2, 3, 4, 5, 6]
    assert found.recommended == 5
    assert found.budget.complete
    assert bench.asked[0] == 4
    assert bench.asked[7:10] == [("pair", 5, None), ("pair", 5, 7), ("pair", 1, None)]
    assert ("noise", 4) in bench.asked
    assert [each.name for each in found.defences] == ["decorrelation", "noise", "side-adapters"]
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert any("7 is no place to cut: no converter" in note for note in found.notes)
    assert found.identity["fidelity"] == 1.0
    assert found.identity["accuracy"] == 1.0
    assert read_report(write_report(found)) == found


def test_a_back_part_is_copied_too(bench: Bench) -> None:
    """Where the exposed part may end, by the model's last weights or by who asks."""
    bench.boundary = 2
    made = bench.made(backs=(4, 6))
    made.run(lambda *_: None, lambda: None)
    assert ("pair", 2, 4) in bench.asked
    assert ("pair", 2, 6) in bench.asked


def test_what_is_stopped_is_gone_on_with(bench: Bench) -> None:
    """Finished cuts are kept, not asked for again, and the report is the same in the end."""
    bench.stop_at = 6
    first, saved = bench.made(), []
    with pytest.raises(KeyboardInterrupt):
        first.run(lambda *_: None, lambda: saved.append(first.state()))
    assert first.stopped
    assert not first.report().budget.complete
    notes = first.report().notes
    assert any("not run, as somebody stopped it: the cut at" in note for note in notes)
    bench.stop_at = None
    kept = set(bench.asked) - {6}
    bench.asked.clear()
    second = bench.made()
    assert second.resume(saved[-1])
    second.run(lambda *_: None, lambda: None)
    assert kept.isdisjoint(bench.asked)
    whole = bench.made()
    whole.run(lambda *_: None, lambda: None)
    assert second.report() == whole.report()
    assert set(second.finished.pictures) == set(whole.finished.pictures)


def test_more_time_goes_to_what_was_cut_short(bench: Bench) -> None:
    """Cuts that are undecided, copies and defences; what came to its end is kept."""
    bench.short = {3, 5, ("pair", 6, None), ("noise", 5)}
    first = bench.made()
    first.run(lambda *_: None, lambda: None)
    # At 3 attacks succeeded before they were cut short: more of them change nothing.
    assert first.short == ("cut/5", "pair/6/end", "defence/5/noise")
    assert first.report().recommended == 6
    assert first.report().budget.complete
    bench.asked.clear()
    same = bench.made()
    assert same.resume(first.state())
    same.run(lambda *_: None, lambda: None)
    assert bench.asked == []
    assert same.report() == first.report()

    bench.short = set()
    more = bench.made(seconds=120)
    assert more.resume(first.state())
    more.run(lambda *_: None, lambda: None)
    assert bench.asked[0] == 5
    assert 3 not in bench.asked
    assert "cut/5" not in more.short
    assert more.report().recommended == 5
    assert more.report().budget.complete
    assert more.report().budget.seconds == 120
    whole = bench.made(seconds=120)
    whole.run(lambda *_: None, lambda: None)
    assert verdicts(more) == verdicts(whole)


def test_what_is_tried_again_is_not_forgotten_where_that_is_stopped(bench: Bench) -> None:
    """Nor tried a third time; and how much is done grows."""
    bench.boundary = 3
    bench.short = {3, 4, 5, 6}
    first = bench.made()
    first.run(lambda *_: None, lambda: None)
    assert first.short == ("cut/3", "cut/4", "cut/5", "cut/6")
    bench.stop_at = 4
    bench.short = {3, 5}
    bench.asked.clear()
    more, saved, heard = bench.made(seconds=120), [], []
    assert more.resume(first.state())
    with pytest.raises(KeyboardInterrupt):
        more.run(lambda done, _: heard.append(done), lambda: saved.append(more.state()))
    tried = [position for position in bench.asked if position != 4]
    assert tried
    assert heard == sorted(heard)
    bench.stop_at = None
    bench.asked.clear()
    third = bench.made(seconds=120)
    assert third.resume(saved[-1])
    third.run(lambda *_: None, lambda: None)
    cuts = [each for each in bench.asked if isinstance(each, int)]
    assert 4 in cuts
    assert set(cuts).isdisjoint(tried)
    assert {*cuts, *tried} == {3, 4, 5, 6}


def verdicts(made: Assessment) -> dict[int, str]:
    """Return what is said of each cut."""
    return {cut.position: cut.verdict for cut in made.report().cuts}


def test_what_was_cut_short_stays_where_time_is_over_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that was found is lost by going on."""
    bench.short = {5}
    first = bench.made()
    first.run(lambda *_: None, lambda: None)
    monkeypatch.setattr(module, "Deadline", lambda _: SimpleNamespace(over=True, left=0.0))
    more = bench.made(seconds=61)
    assert more.resume(first.state())
    more.run(lambda *_: None, lambda: None)
    assert more.report().cuts == first.report().cuts
    assert more.short == first.short


def test_no_cut_is_better_than_a_deeper_one(bench: Bench) -> None:
    """At 5 attacks got little and at 6 nearly the limit: they would have got that at 5."""
    bench.got = {6: 0.57}
    made = bench.made()
    made.run(lambda *_: None, lambda: None)
    found = made.report()
    assert {cut.position: cut.verdict for cut in found.cuts} == {
        **dict.fromkeys((1, 2, 3, 4), "unsafe"),
        **dict.fromkeys((5, 6), "undecided"),
    }
    assert found.recommended is None
    five = found.cut(5)
    assert five is not None
    assert "at the cut at 6, whose numbers can be computed from those here, got 0.57" in (
        five.because
    )
    # What reached too little there says nothing here.
    bench.got = {6: 0.3}
    again = bench.made()
    again.run(lambda *_: None, lambda: None)
    assert again.report().recommended == 5


def test_a_verdict_in_a_state_is_not_believed(bench: Bench) -> None:
    """It follows from the measures, and is found again."""
    first = bench.made()
    first.run(lambda *_: None, lambda: None)
    altered = first.state().replace(b'"verdict\\":\\"unsafe', b'"verdict\\":\\"safe')
    assert altered != first.state()
    second = bench.made()
    assert second.resume(altered)
    assert second.finished.cuts[1].verdict == "unsafe"
    assert second.report() == first.report()


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        (b'"tensors\\":[\\"t3\\"]', b'"tensors\\":[\\"t4\\"]'),
        (b'"position\\":6', b'"position\\":9'),
        (b'"front\\":6', b'"front\\":9'),
    ],
)
def test_a_state_of_cuts_that_the_model_has_not(
    bench: Bench, written: bytes, instead: bytes
) -> None:
    """Other tensors at a position, or a position that there is not."""
    first = bench.made()
    first.run(lambda *_: None, lambda: None)
    altered = first.state().replace(written, instead)
    assert altered != first.state()
    second = bench.made()
    with pytest.raises(MalformedError) as caught:
        second.resume(altered)
    assert caught.value.code == "assessment.state"
    assert second.finished.cuts == {}


@pytest.mark.parametrize("change", [{"seed": 2}, {"seconds": 59}, {"steps": 7}])
def test_another_run_starts_anew(bench: Bench, change: dict[str, int]) -> None:
    """Another seed, other steps or less time have nothing to go on from."""
    first = bench.made()
    first.run(lambda *_: None, lambda: None)
    other = bench.made(**change)
    assert not other.resume(first.state())
    assert other.finished.cuts == {}


def test_time_that_is_over_leaves_a_report_that_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no time at all nothing is assessed, nothing recommended, and it is not complete."""
    monkeypatch.setattr(module, "Deadline", lambda _: SimpleNamespace(over=True, left=0.0))
    made = bench.made()
    made.run(lambda *_: None, lambda: None)
    found = made.report()
    assert bench.asked == []
    assert (found.cuts, found.recommended, found.budget.complete) == ((), None, False)
    assert write_report(found)


def test_doubts_about_the_images_are_notes_of_the_report(bench: Bench) -> None:
    """A model that is right about a third of three classes may see its images in another scale."""
    made = bench.made()
    assert made.doubts == ()
    made = bench.made()
    made._network.scores = lambda images: np.eye(3)[np.zeros(len(images), int)]  # type: ignore[method-assign]  # a stand-in
    made.run(lambda *_: None, lambda: None)
    (doubt,) = made.doubts
    assert "right about 34 % of the held-out images, where guessing is about 34 %" in doubt
    assert made.report().notes[0] == doubt


def test_only_the_cuts_that_are_asked_for(bench: Bench) -> None:
    """Those, and no others; and it is complete with them."""
    made = bench.made(cuts=(2, 6))
    made.run(lambda *_: None, lambda: None)
    assert [cut.position for cut in made.report().cuts] == [2, 6]
    assert made.report().budget.complete


@pytest.mark.parametrize("wanted", [{"cuts": (0,)}, {"cuts": (8,)}, {"backs": (9,)}])
def test_positions_that_the_model_has_not(bench: Bench, wanted: dict[str, Any]) -> None:
    """The input itself, the end, and what lies beyond are no cuts."""
    with pytest.raises(ConfigError) as caught:
        bench.made(**wanted)
    assert caught.value.code == "config.value"


def test_a_litert_model_that_reshapes_is_assessed_where_rows_cross(bench: Bench) -> None:
    """The sizes of a batch cross at 2, 3 and 4: left out with a note, and refused where named."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    data = (Path(__file__).parents[3] / "data" / "models" / "digits.tflite").read_bytes()
    network = Network(LiteRTSource(data))
    made = bench.of(network, side=8)
    made.run(lambda *_: None, lambda: None)
    found = made.report()
    assert [cut.position for cut in found.cuts] == [1, 5, 6]
    assert found.budget.complete
    for position in (2, 3, 4):
        assert any(f"{position} is no place to cut" in note for note in found.notes)
        with pytest.raises(ConfigError, match="no row for each example") as caught:
            bench.of(network, cuts=(1, position))
        assert caught.value.code == "config.value"
        with pytest.raises(UnsupportedError):
            network.front(cut_at(network.graph, position))(RANDOM.random((70, 8, 8, 1)))
    for cut in found.cuts:
        crossing = network.front(cut_at(network.graph, cut.position))(RANDOM.random((70, 8, 8, 1)))
        assert [len(tensor) for tensor in crossing] == [70]


def test_one_operator_is_nothing_to_cut(bench: Bench) -> None:
    """It says so before anything is computed."""
    with pytest.raises(ConfigError) as caught:
        bench.made(depth=1)
    assert caught.value.code == "config.value"
