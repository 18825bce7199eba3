"""Who computes, who waits, who is too late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from cloister.errors import CloisterError, MalformedError, RefusedError, UnavailableError
from cloister.inference.line import Line
from cloister.inference.model_config import Batching
from cloister.inference.tensor import Array, TensorSpec


class Gated:
    """Doubles rows when it is let, and notes how many came together; breaks at nine."""

    platform = "test"
    remembers = False
    inputs = (TensorSpec("x", "FP32", (-1,)),)
    outputs = (TensorSpec("y", "FP32", (-1,)),)

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.sizes: list[int] = []

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.begun.release()
        assert self.go_on.wait(20)
        self.sizes.append(len(inputs["x"]))
        if 9 in inputs["x"]:
            raise MalformedError("broken", code="model.malformed")
        return {"y": inputs["x"] * 2}


class Asked:
    """One query in a thread of its own."""

    def __init__(self, line: Line, *values: float, until: float | None = None) -> None:
        self.found: list[float] | str = ""
        self._thread = threading.Thread(target=self._ask, args=(line, values, until))
        self._thread.start()

    def _ask(self, line: Line, values: tuple[float, ...], until: float | None) -> None:
        try:
            self.found = line.predict({"x": np.array(values, np.float32)}, until=until)[
                "y"
            ].tolist()
        except CloisterError as e:
            self.found = e.code

    def end(self) -> list[float] | str:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.found


def line_of(model: Gated, batching: Batching | None = None, turns: int = 1) -> Line:
    return Line("m", model, batching=batching, turns=threading.BoundedSemaphore(turns))


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.spec("SRV-33", "SRV-50")
def test_those_that_wait_are_joined() -> None:
    """The first goes alone; what came meanwhile goes together, and each gets its own rows."""
    model = Gated()
    line = line_of(model, Batching(4))
    first = Asked(line, 1)
    assert model.begun.acquire(timeout=10)
    others = [Asked(line, n, n + 0.5) for n in (2, 3, 4)]
    wait_for(lambda: line.waiting == 3)
    model.go_on.set()
    assert first.end() == [2]
    assert [each.end() for each in others] == [[4, 5], [6, 7], [8, 9]]
    assert model.sizes == [1, 4, 2]


@pytest.mark.spec("SRV-33")
def test_without_batching_each_goes_alone_in_order() -> None:
    """One after another, one at a time."""
    model = Gated()
    line = line_of(model)
    asked = [Asked(line, 0)]
    assert model.begun.acquire(timeout=10)
    for n in (1, 2, 3):
        asked.append(Asked(line, n))
        wait_for(lambda n=n: line.waiting == n)
    model.go_on.set()
    assert [each.end() for each in asked] == [[0], [2], [4], [6]]
    assert model.sizes == [1, 1, 1, 1]


@pytest.mark.spec("SRV-50")
def test_the_first_waits_for_others_as_long_as_agreed() -> None:
    """Full at once, or when the delay is over."""
    model = Gated()
    model.go_on.set()
    line = line_of(model, Batching(3, delay_s=5.0))
    began = time.monotonic()
    asked = [Asked(line, n) for n in (1, 2, 3)]
    assert sorted(each.end() for each in asked) == [[2], [4], [6]]
    assert model.sizes == [3]
    assert time.monotonic() - began < 4
    alone = line_of(model, Batching(3, delay_s=0.05))
    assert Asked(alone, 7).end() == [14]


@pytest.mark.spec("SRV-51")
def test_what_one_query_breaks_is_no_matter_to_the_others() -> None:
    """A batch that fails is computed again, one by one."""
    model = Gated()
    line = line_of(model, Batching(4))
    first = Asked(line, 0)
    assert model.begun.acquire(timeout=10)
    others = [Asked(line, n) for n in (8, 9, 10)]
    wait_for(lambda: line.waiting == 3)
    model.go_on.set()
    assert first.end() == [0]
    assert [each.end() for each in others] == [[16], "model.malformed", [20]]


class Failing(Gated):
    """Computes one query and fails at several together, or at any, with an error of its own."""

    def __init__(self, error: CloisterError, *, alone: bool = False) -> None:
        super().__init__()
        self.error = error
        self.alone = alone
        self.failed: Callable[[], None] = lambda: None

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        found = super().predict(inputs)
        if len(inputs["x"]) == 1 and not (self.alone and 0 not in inputs["x"]):
            return found
        self.failed()
        raise self.error


def _joined(line: Line, model: Gated, *, until: float | None = None) -> list[list[float] | str]:
    """Ask for a nought, and meanwhile for three more, which go together."""
    first = Asked(line, 0)
    assert model.begun.acquire(timeout=10)
    others = [Asked(line, n, until=until) for n in (1, 2, 3)]
    wait_for(lambda: line.waiting == 3)
    model.go_on.set()
    assert first.end() == [0]
    return [each.end() for each in others]


@pytest.mark.spec("SRV-51")
@pytest.mark.parametrize("code", ["middle.unavailable", "server.late"])
def test_what_no_query_causes_ends_all_that_were_joined(code: str) -> None:
    """A silent middle costs its time once, and not once more for each query."""
    model = Failing(UnavailableError("gone", code=code), alone=True)
    assert _joined(line_of(model, Batching(4)), model) == [code] * 3
    assert model.sizes == [1, 3]


@pytest.mark.spec("SRV-51")
@pytest.mark.parametrize(
    "error",
    [UnavailableError("no", code="middle.failed"), RefusedError("no", code="middle.wrong")],
)
def test_what_one_query_may_have_caused_is_tried_for_each(error: CloisterError) -> None:
    model = Failing(error)
    assert _joined(line_of(model, Batching(4)), model) == [[2], [4], [6]]
    assert model.sizes == [1, 3, 1, 1, 1]


@pytest.mark.spec("SRV-51", "SRV-54")
def test_a_query_whose_time_is_over_is_not_tried_again() -> None:
    """The joined computation takes all of its time."""
    model, now = Failing(RefusedError("no", code="middle.wrong")), [0.0]

    def take_time() -> None:
        now[0] = 20.0

    model.failed = take_time
    line = Line(
        "m",
        model,
        batching=Batching(4),
        turns=threading.BoundedSemaphore(1),
        clock=lambda: now[0],
    )
    assert _joined(line, model, until=10.0) == ["server.late"] * 3
    assert model.sizes == [1, 3]


@pytest.mark.spec("SRV-54")
def test_time_that_is_over_before_its_turn_is_busy() -> None:
    """At once, while another is computed; and it is not computed at all."""
    model = Gated()
    line = line_of(model)
    first = Asked(line, 1)
    assert model.begun.acquire(timeout=10)
    assert Asked(line, 2, until=time.monotonic() + 0.02).end() == "server.busy"
    assert line.waiting == 0
    model.go_on.set()
    assert first.end() == [2]
    assert model.sizes == [1]
    assert Asked(line, 3, until=time.monotonic() - 1).end() == "server.busy"
    assert model.sizes == [1]
    assert Asked(line, 4).end() == [8]


@pytest.mark.spec("SRV-54")
def test_an_answer_that_comes_too_late_is_dropped() -> None:
    """Where the computation outlasts the query's time."""
    model = Gated()
    line = line_of(model)
    asked = Asked(line, 1, until=time.monotonic() + 0.05)
    assert model.begun.acquire(timeout=10)
    time.sleep(0.06)
    model.go_on.set()
    assert asked.end() == "server.late"


@pytest.mark.spec("SRV-33")
def test_lines_share_a_bound_on_computations() -> None:
    """Two models, one computation at a time."""
    model, other = Gated(), Gated()
    turns = threading.BoundedSemaphore(1)
    lines = [Line("m", each, batching=None, turns=turns) for each in (model, other)]
    first = Asked(lines[0], 1)
    assert model.begun.acquire(timeout=10)
    second = Asked(lines[1], 2)
    assert not other.begun.acquire(timeout=0.05)
    model.go_on.set()
    other.go_on.set()
    assert (first.end(), second.end()) == ([2], [4])


def test_a_model_that_fails_in_no_known_way_blocks_nobody() -> None:
    """The one who computed gets the error itself, those beside it are told to come back."""

    class Odd(Gated):
        def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            super().predict(inputs)
            raise ZeroDivisionError

    model = Odd()
    model.go_on.set()
    line = line_of(model)
    with pytest.raises(ZeroDivisionError):
        line.predict({"x": np.ones(1, np.float32)}, until=None)
    assert line.waiting == 0
    with pytest.raises(ZeroDivisionError):
        line.predict({"x": np.ones(1, np.float32)}, until=None)


def test_the_watcher_hears_of_each_computation() -> None:
    """How many queries and rows, and how long."""
    heard: list[tuple[str, int, int]] = []

    class Ear:
        def computed(self, model: str, *, queries: int, rows: int, seconds: float) -> None:
            assert seconds >= 0
            heard.append((model, queries, rows))

    model = Gated()
    model.go_on.set()
    turns = threading.BoundedSemaphore(1)
    line = Line("m", model, batching=None, turns=turns, watcher=Ear())
    line.predict({"x": np.ones(3, np.float32)}, until=None)
    assert heard == [("m", 1, 3)]


def test_a_rest_is_waited_for() -> None:
    """Nobody is here, and somebody was since; or whoever waits is to stop."""
    model, stop = Gated(), threading.Event()
    line = line_of(model)
    assert line.rest(-1, stop=stop) == 0
    rests: list[int] = []
    waiting = threading.Thread(target=lambda: rests.append(line.rest(0, stop=stop)))
    waiting.start()
    asked = [Asked(line, 1)]
    assert model.begun.acquire(timeout=10)
    asked.append(Asked(line, 2))
    wait_for(lambda: line.waiting == 1)
    assert rests == []
    model.go_on.set()
    assert [each.end() for each in asked] == [[2], [4]]
    waiting.join(20)
    assert rests == [1]
    waiting = threading.Thread(target=lambda: rests.append(line.rest(1, stop=stop)))
    waiting.start()
    stop.set()
    line.nudge()
    waiting.join(20)
    assert rests == [1, 1]


def test_many_threads_all_get_their_own() -> None:
    """For a while, with joining, deadlines and handing on."""
    model = Gated()
    model.go_on.set()
    line = line_of(model, Batching(8, delay_s=0.0005))
    wrong: list[object] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(100):
            values = rng.integers(10, 1000, rng.integers(1, 4)).astype(np.float32)
            until = time.monotonic() + 5 if rng.random() < 0.5 else None
            try:
                found = line.predict({"x": values}, until=until)["y"]
            except UnavailableError as e:
                wrong.append(e.code)
                continue
            if not np.array_equal(found, values * 2):
                wrong.append(values)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert line.waiting == 0


@pytest.mark.spec("SRV-33", "SRV-54")
def test_what_follows_a_model_takes_a_turn() -> None:
    """It waits for one no longer than its time, and gives it back whatever happens."""
    now = [0.0]
    turns = threading.BoundedSemaphore(1)
    line = Line("m", Gated(), batching=None, turns=turns, clock=lambda: now[0])

    def fail() -> None:
        with line.turn(until=1.0) as in_time:
            in_time()
            assert not turns.acquire(blocking=False)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with line.turn(until=1.0) as in_time:
        now[0] = 1.5
        with pytest.raises(UnavailableError) as late:
            in_time()
    assert late.value.code == "server.late"
    assert turns.acquire(blocking=False)
    with pytest.raises(UnavailableError) as waited, line.turn(until=1.51):
        pass  # pragma: no cover  # it is late
    assert waited.value.code == "server.late"
    turns.release()
