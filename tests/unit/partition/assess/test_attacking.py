"""How attacks on a cut share its time: stand-ins for the network, the attacks and the clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cloister.partition.assess import attacking as module
from cloister.partition.assess.sample import Material
from cloister.partition.assess.verdict import Limits, Verdict
from cloister.partition.graph import Cut, TensorInfo


class _Attack:
    """Takes some time, and keeps what it was given."""

    def __init__(self, clock: list[float], takes: float) -> None:
        self._clock = clock
        self._takes = takes
        self.budget: Any = None

    def run(self, _target: Any, *, budget: Any, progress: Any, **_: Any) -> tuple[()]:
        self.budget = budget
        self._clock[0] += self._takes
        progress(1.0)
        return ()


def _assessed(
    monkeypatch: pytest.MonkeyPatch, takes: tuple[float, ...]
) -> tuple[list[Any], list[float]]:
    clock = [0.0]
    attacks = [_Attack(clock, each) for each in takes]
    monkeypatch.setattr(
        "cloister.partition.assess.clock.time", SimpleNamespace(monotonic=lambda: clock[0])
    )
    planned = [(each, 0.25, 50) for each in attacks]
    monkeypatch.setattr(module, "_input_attacks", lambda *_: planned)
    images = np.zeros((4, 4, 4, 1), np.float32)
    network: Any = SimpleNamespace(
        timed=lambda *_: (0.1, 0.2),
        front=lambda _: lambda x: (x,),
        infos=lambda _: (TensorInfo("t", "float32", (-1, 4, 4, 1)),),
        front_model=lambda _: None,
        rest_model=lambda _: None,
        graph=SimpleNamespace(nodes=()),
    )
    material = Material(
        private=images, proxy=images, private_labels=None, proxy_labels=None,
        private_property=None, proxy_property=None, members=None, low=0.0, high=1.0, images=8,
        digest=bytes(32), proxy_digest=bytes(32), notes=(),
    )  # fmt: skip
    heard: list[float] = []
    module.assess_cut(
        network, Cut(1, ("t",)), material, steps=100, seconds=100.0, seed=1, limits=Limits(),
        progress=heard.append,
    )  # fmt: skip
    return [each.budget for each in attacks], heard


def test_what_is_left_over_goes_to_those_that_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its share of what is left."""
    budgets, heard = _assessed(monkeypatch, (1.0, 60.0, 0.0, 0.0))
    assert [each.seconds for each in budgets] == pytest.approx([25.0, 33.0, 25.0, 39.0])
    assert {each.steps for each in budgets} == {50}
    assert heard == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_nobody_pays_for_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack that cannot be stopped in time takes nothing of the shares of others."""
    budgets, _ = _assessed(monkeypatch, (500.0, 0.0, 0.0, 0.0))
    assert [each.seconds for each in budgets] == pytest.approx([25.0] * 4)


def test_images_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four black images are one, held out as well as public."""
    heard: dict[str, Any] = {}

    def decided(_measures: Any, **counts: Any) -> Verdict:
        heard.update(counts)
        return Verdict("undecided", "nothing was measured")

    monkeypatch.setattr(module, "decide", decided)
    _assessed(monkeypatch, (1.0,))
    assert (heard["held_out"], heard["proxies"]) == (1, 1)
