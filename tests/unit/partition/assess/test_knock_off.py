"""Which of an adversary's copies counts; `integration/test_assessment.py` trains real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cloister.partition.assess import knock_off as module
from cloister.partition.assess.attack import Budget
from cloister.partition.assess.knock_off import Copy, KnockOff, Victim
from cloister.partition.report import Measure

CLASSES = np.arange(50) % 2


def _scores(images: Any) -> Any:
    return np.eye(2)[(np.asarray(images).reshape(len(images), -1)[:, 0] > 0.5).astype(int)]


@pytest.fixture
def attacked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run with copies of which each is right for some share, and agreed for some share."""

    def run(weights: Copy, queries: Copy) -> tuple[KnockOff, dict[tuple[str, str], Measure]]:
        asked: list[int] = []

        def copy(_victim: Any, images: Any, *_: Any, exposed: bool, **__: Any) -> Copy:
            asked.append(len(images))
            return weights if exposed else queries

        def outputs(model: int, _images: Any, **_: Any) -> Any:
            said = np.where(np.arange(50) < model, CLASSES, 1 - CLASSES)
            return (np.eye(2)[said],)

        monkeypatch.setattr(module, "_copy", copy)
        monkeypatch.setattr(module, "outputs", outputs)
        images = np.zeros((50, 2, 2, 1))
        images[CLASSES == 1] = 1
        victim = Victim(
            front=None,
            middle=None,
            back=None,
            scores=_scores,
            private=images,
            proxy=np.zeros((400, 2, 2, 1)),
            private_labels=CLASSES,
            low=0.0,
            high=1.0,
        )
        copying = KnockOff(queries=70)
        found = copying.run(
            victim, budget=Budget(steps=9, seconds=1), seed=1, progress=lambda _: None
        )
        assert asked == [70, 70]
        return copying, {(o.measure.knows, o.measure.metric): o.measure for o in found}

    return run


def test_each_adversary_has_his_copy(attacked: Any) -> None:
    """With weights and without, by fidelity and by accuracy; the first is kept for synthesis."""
    better = Copy(40, 9, complete=True, agreed=0.8)
    copying, found = attacked(better, Copy(30, 9, complete=False, agreed=0.6))
    assert copying.copy is better
    assert found["weights", "fidelity"].mean == pytest.approx(0.8)
    assert found["queries", "fidelity"].mean == pytest.approx(0.6)
    assert found["weights", "accuracy"].mean == pytest.approx(0.8)
    assert found["weights", "fidelity"].complete
    assert not found["queries", "fidelity"].complete


def test_weights_that_hinder_are_left_aside(attacked: Any) -> None:
    """Who has them may do without; what was cut short stays so."""
    copying, found = attacked(
        Copy(20, 9, complete=False, agreed=0.4), Copy(30, 9, complete=True, agreed=0.6)
    )
    assert copying.copy.model == 30
    assert found["weights", "fidelity"].mean == found["queries", "fidelity"].mean
    assert not found["weights", "fidelity"].complete
    assert found["queries", "fidelity"].complete
