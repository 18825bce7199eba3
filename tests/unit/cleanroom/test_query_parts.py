"""The pure parts of answering: rounding, windows, and the signal of copying."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.query_answers import answer_of
from cloister.cleanroom.query_message import QueryRules
from cloister.cleanroom.query_signal import LEAST, MOST, Watch, bell
from cloister.cleanroom.query_windows import Clock, Windows
from cloister.errors import MalformedError
from unit.cleanroom.asking import room_with

RULES = dataclasses.replace(QueryRules.of(room_with()), classes=4)


def scores(*values: float) -> Any:
    """As a model gives them."""
    return np.array(values, np.float32)


@pytest.mark.spec("CQ-30", "CQ-31")
def test_scores_are_rounded() -> None:
    """In units of the last digit, the most likely first."""
    assert answer_of(scores(0.111, 0.6449, 0.0, 0.2441), RULES) == ((1, 3, 0), (64, 24, 11))


@pytest.mark.spec("CQ-32")
def test_an_order_says_no_more_than_rounded_scores() -> None:
    """Scores that are equal when rounded stand in the order of their labels."""
    near = answer_of(scores(0.2501, 0.2502, 0.2503, 0.2499), RULES)
    assert near == answer_of(scores(0.2503, 0.2501, 0.2499, 0.2502), RULES)
    assert near == ((0, 1, 2), (25, 25, 25))


@pytest.mark.spec("CQ-33")
def test_a_label_has_no_score() -> None:
    """Where the terms say `label`, labels are all that there is."""
    rules = dataclasses.replace(RULES, kind="label", digits=0, top_k=2)
    assert answer_of(scores(0.1, 0.2, 0.4, 0.3), rules) == ((2, 3), (0, 0))


@pytest.mark.spec("CQ-31")
def test_a_score_has_a_largest() -> None:
    """What a recipe writes into scores is bounded, and never more than a place holds."""
    _, found = answer_of(scores(1e30, -1e30, 0, 0), dataclasses.replace(RULES, top_k=4, digits=6))
    assert found == (10**9, 0, 0, -(10**9))


@pytest.mark.parametrize("bad", [scores(1, 2, 3), scores(1, 2, 3, np.nan), scores(1, 2, 3, np.inf)])
@pytest.mark.spec("CQ-30")
def test_scores_that_are_none(bad: Any) -> None:
    """Too few, or not numbers."""
    with pytest.raises(MalformedError) as caught:
        answer_of(bad, RULES)
    assert caught.value.code == "recipe.malformed"


@pytest.mark.spec("CQ-20", "CQ-21")
def test_each_window_has_one_query() -> None:
    """The first later one that is free, in the order in which they came."""
    windows: Windows[str] = Windows()
    assert [windows.put(name, came=5) for name in "abc"] == [6, 7, 8]
    assert windows.put("d", came=20) == 21
    assert windows.take(5) == []
    assert windows.take(6) == [(6, "a")]
    assert windows.take(8) == [(7, "b"), (8, "c")]
    assert len(windows) == 1
    assert windows.take(21) == [(21, "d")]


@pytest.mark.spec("CQ-20")
def test_windows_are_of_one_tick() -> None:
    """By a clock that only goes on."""
    clock = Clock(start=100.0, tick_s=0.25)
    assert [clock.window(now) for now in (100.0, 100.24, 100.25, 101.0)] == [0, 0, 1, 4]
    assert clock.begins(4) == 101.0


@pytest.mark.spec("CQ-40", "CQ-41")
def test_a_bell_is_known() -> None:
    """Draws of a normal distribution are one; two heaps, one value or a spike are none."""
    generator = np.random.default_rng(1)
    normal = generator.normal(5, 1, 300)
    assert bell(normal) > 0.98
    assert bell(np.concatenate([normal, [500.0]])) > 0.98  # an outlier is left out
    assert bell(np.concatenate([normal, normal + 9])) < 0.93
    assert bell(np.concatenate([normal[:100], np.full(200, 5.0)])) < 0.9
    assert bell(generator.exponential(1, 300)) < 0.93
    assert bell(np.full(300, 2.0)) == bell([1.0, 2.0]) == bell([]) == 0.0


def natural(count: int) -> list[tuple[Any, int]]:
    """Records of ten kinds, each around its own middle."""
    generator = np.random.default_rng(2)
    middles = generator.random((10, 64))
    labels = generator.integers(0, 10, count)
    spread = generator.gamma(9, 1 / 9, (count, 1))
    return [
        (x, int(label))
        for x, label in zip(
            middles[labels] + 0.3 * spread * generator.normal(size=(count, 64)), labels, strict=True
        )
    ]


def made_from(seeds: list[tuple[Any, int]], rounds: int, step: float) -> list[tuple[Any, int]]:
    """What a copier asks who changes what he has, again and again (Papernot and others, 2017)."""
    generator = np.random.default_rng(3)
    queries = list(seeds)
    for _ in range(rounds):
        queries += [(x + step * np.sign(generator.normal(size=64)), y) for x, y in queries]
    return queries


def seen(queries: list[tuple[Any, int]], *, numbers: int = 64) -> list[float]:
    """The signal after each query."""
    watch = Watch(numbers=numbers, seed=7)
    return [watch.see(x, y) for x, y in queries]


@pytest.mark.spec("CQ-42", "CQ-43", "CQ-44")
def test_natural_queries_and_made_ones() -> None:
    """What comes from the world stays above 0.95; what is made from a few records falls below."""
    assert min(seen(natural(600))) > 0.95
    for step in (0.05, 0.1):
        assert min(seen(made_from(natural(40), 4, step))[-100:]) < 0.9
    walked = [
        (a + (b - a) * t, y)
        for (a, y), (b, _) in zip(natural(30)[::2], natural(30)[1::2], strict=True)
        for t in np.linspace(0, 1, 20)
    ]
    assert seen(walked)[-1] < 0.9
    assert seen(natural(1) * 200)[-1] == 0.0


@pytest.mark.spec("CQ-42")
def test_nothing_is_said_of_a_few() -> None:
    """The signal is 1 until there are enough distances."""
    same = natural(1) * (LEAST + 1)
    assert seen(same)[:-1] == [1.0] * LEAST
    assert seen(same)[-1] == 0.0


@pytest.mark.spec("CQ-45")
def test_what_is_remembered_is_bounded() -> None:
    """However many queries of however long records there are."""
    watch = Watch(numbers=4096, seed=7)
    generator = np.random.default_rng(4)
    for number in range(1100):
        watch.see(generator.normal(size=4096) * (number + 1), number % 3)
    assert len(watch._kept) <= 1024
    assert max(len(point) for _, point in watch._kept) == 1024
    assert len(watch._distances) == MOST


@pytest.mark.spec("CQ-46")
def test_a_long_record_is_folded_by_a_secret() -> None:
    """Distances stay about the same, and two enclaves fold differently."""
    a, b = np.random.default_rng(5).normal(size=(2, 4096))
    one, other = (Watch(numbers=4096, seed=seed)._fold for seed in (1, 2))
    assert one is not None
    assert other is not None
    real = np.linalg.norm(a - b)
    assert np.linalg.norm(one(a) - one(b)) == pytest.approx(real, rel=0.15)
    assert not np.allclose(one(a), other(a))
