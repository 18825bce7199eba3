"""What is asked of a recipe, and what is not taken for an answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom import inside
from cloister.cleanroom.encoding import Message
from cloister.cleanroom.pipe import Pipe
from cloister.cleanroom.plan import plan_bytes, read_plan
from cloister.cleanroom.questions import CELL_FRAME_BYTES, CELL_LIMITS, Questions
from cloister.errors import CloisterError, MalformedError, WorkloadError

MOST = 1 << 25
X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 1, 0, 1], np.int32)
MODEL = {
    "version": 1,
    "input_shape": [2],
    "classes": 2,
    "layers": [{"kind": "dense", "name": "out", "inputs": ["input"], "units": 2}],
    "optimizer": {"kind": "sgd", "rate": 0.1},
    "batch": 2,
}
RECIPE = """
import numpy as np

def build(spec, x, y):
    if spec["by_itself"]:
        return {"parameters": np.zeros(6), "state": {"kept": np.array([0, 2])}}
    return {"model": spec["model"], "state": {"kept": np.array([0, 2])}}

def features(state, x):
    return x[:, state["kept"]]

def train(state, parameters, x, y, round):
    return np.full_like(parameters, round)

def predict(state, parameters, x):
    return np.ones((len(x), 2)) * parameters[0]
"""


@contextmanager
def talk(serve: Callable[[int], None]) -> Iterator[Questions]:
    """Ask somebody at the other end of a pipe."""
    ours, theirs = socket.socketpair()
    other = theirs.detach()

    def run() -> None:
        try:
            serve(other)
        except CloisterError:
            return  # we hung up

    thread = threading.Thread(target=run)
    thread.start()
    pipe = Pipe(ours.detach(), CELL_FRAME_BYTES, CELL_LIMITS)
    try:
        yield Questions(pipe, deadline=lambda: 5.0)
    finally:
        pipe.close()
        thread.join(10)


@contextmanager
def recipe(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = RECIPE
) -> Iterator[Questions]:
    """Ask a recipe."""
    path = folder / "recipe.py"
    path.write_text(text)
    monkeypatch.setattr(inside, "_RECIPE", path)
    with talk(inside.serve) as questions:
        yield questions


def spec(*, by_itself: bool) -> Mapping[str, Any]:
    """Return what a recipe is told in these tests."""
    return {"by_itself": by_itself, "model": MODEL}


def test_a_recipe_describes_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And makes features with what it kept, here and at every other trainer."""
    with recipe(tmp_path, monkeypatch) as asked:
        plan = asked.build(spec(by_itself=False), X, Y, by_recipe=False, most_bytes=MOST)
        assert plan.model is not None
        assert plan.model.input_shape == (2,)
        again = read_plan(plan_bytes(plan), by_recipe=False, most=4096)
        assert again.model == plan.model
        made = asked.features(again.state, X, shape=(2,))
        np.testing.assert_array_equal(made, X[:, [0, 2]])


def test_a_recipe_trains_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences, and scores, of the shapes that were asked for."""
    with recipe(tmp_path, monkeypatch) as asked:
        plan = asked.build(spec(by_itself=True), X, Y, by_recipe=True, most_bytes=MOST)
        assert plan.parameters is not None
        assert plan.parameters.shape == (6,)
        change = asked.train(plan.state, plan.parameters, X, Y, turn=3)
        assert change.tolist() == [3] * 6
        scores = asked.predict(plan.state, change, X, classes=2)
        assert scores.tolist() == [[3, 3]] * 4


def test_a_recipe_that_raises_says_nothing_but_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message may hold records."""
    with (
        recipe(tmp_path, monkeypatch, "def build(spec, x, y): raise ValueError(x)") as asked,
        pytest.raises(WorkloadError) as caught,
    ):
        asked.build(spec(by_itself=True), X, Y, by_recipe=True, most_bytes=MOST)
    assert caught.value.code == "recipe.failed"
    assert "[" not in str(caught.value).replace("[recipe.failed]", "")


def test_a_plan_that_is_longer_than_agreed_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its length is compared before there is room for it."""
    text = "import numpy as np\ndef build(spec, x, y): return {'parameters': np.zeros(1 << 20)}"
    with recipe(tmp_path, monkeypatch, text) as asked, pytest.raises(MalformedError) as caught:
        asked.build(spec(by_itself=True), X, Y, by_recipe=True, most_bytes=1 << 20)
    assert caught.value.code == "wire.too-large"


def answering(answer: Message) -> Callable[[int], None]:
    """Return somebody who has one answer to everything."""

    def serve(descriptor: int) -> None:
        pipe = Pipe(descriptor, CELL_FRAME_BYTES, CELL_LIMITS, send_s=None)
        while True:
            pipe.receive(None)
            pipe.send(answer)

    return serve


NUMBERS = np.zeros(6, np.float32)
BAD_PLANS = [
    Message("built", {}, {}),
    Message("built", {"model": MODEL}, {"parameters": NUMBERS}),
    Message("built", {}, {"parameters": NUMBERS.reshape(2, 3)}),
    Message("built", {}, {"parameters": NUMBERS + np.float32("nan")}),
    Message("built", {}, {"parameters": NUMBERS.astype(np.float64)}),
    Message("built", {}, {"parameters": NUMBERS, "state.a": NUMBERS + np.float32("nan")}),
    Message("built", {}, {"parameters": NUMBERS} | {f"state.{n}": NUMBERS for n in range(65)}),
    Message("built", {}, {"parameters": NUMBERS, "state.a": np.zeros(17 << 20, np.uint8)}),
    Message("trained", {}, {"parameters": NUMBERS}),
]
BAD_FEATURES = [
    Message("features", {}, {}),
    Message("features", {"x": 1}, {"x": np.zeros((4, 2), np.float32)}),
    Message("features", {}, {"x": np.zeros((3, 2), np.float32)}),
    Message("features", {}, {"x": np.zeros((4, 3), np.float32)}),
    Message("features", {}, {"x": np.zeros((4, 2), np.int32)}),
    Message("features", {}, {"x": np.full((4, 2), np.inf, np.float32)}),
    Message("features", {}, {"x": np.zeros((4, 2), np.float32), "y": NUMBERS}),
]


@pytest.mark.parametrize("answer", BAD_PLANS)
def test_what_is_no_plan_is_refused(answer: Message) -> None:
    """Whatever is wrong with it."""
    with talk(answering(answer)) as asked, pytest.raises(MalformedError):
        asked.build({}, X, Y, by_recipe=True, most_bytes=MOST)


@pytest.mark.parametrize("answer", BAD_FEATURES)
def test_what_are_no_features_is_refused(answer: Message) -> None:
    """They have the shape that the model takes, one for each record, and are numbers."""
    with talk(answering(answer)) as asked, pytest.raises(MalformedError):
        asked.features({}, X, shape=(2,))


def test_differences_and_scores_have_the_shape_that_was_asked_for() -> None:
    """Anything else is refused."""
    short = Message("trained", {}, {"difference": NUMBERS[:5]})
    with talk(answering(short)) as asked, pytest.raises(MalformedError):
        asked.train({}, NUMBERS, X, Y, turn=0)
    narrow = Message("predicted", {}, {"scores": NUMBERS.reshape(2, 3)})
    with talk(answering(narrow)) as asked, pytest.raises(MalformedError):
        asked.predict({}, NUMBERS, X, classes=2)


@pytest.mark.parametrize(
    "message",
    [
        Message("plan", {}, {}),
        Message("plan", {"model": MODEL}, {"a": NUMBERS}),
        Message("built", {"model": MODEL}, {}),
        Message("plan", {"model": MODEL, "more": 1}, {}),
    ],
)
def test_a_plan_of_another_trainer_is_read_as_strictly(message: Message) -> None:
    """It comes from a room's member, over the server, and is checked all the same."""
    from cloister.cleanroom.encoding import encode  # noqa: PLC0415  # beside its only use

    with pytest.raises(MalformedError):
        read_plan(encode(message), by_recipe=False, most=4096)
