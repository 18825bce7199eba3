"""Adding differences: whole, in one order, damped, bounded, and without a look at their values."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar

import numpy as np
import pytest

from cloister.cleanroom import aggregation
from cloister.cleanroom.aggregation import Fate, ParameterState, Tally, squared_norm
from cloister.errors import MalformedError, RemoteProtocolError
from rounds_bench import floats, rules

STALE = rules(mode="bounded-stale", trainers=3, damping="inverse", max_staleness=2)


@pytest.mark.spec("TR-22")
def test_a_round_adds_the_mean_of_those_who_came() -> None:
    state = ParameterState(rules(trainers=3), floats(1, 2))
    assert state.add(2, floats(4, 0), 0) is None
    assert state.add(0, floats(2, 2), 0) is None
    assert state.pull()[0] == 0
    assert state.close_round() == [Fate.ADDED, None, Fate.ADDED]
    version, found = state.pull()
    assert (version, found.tolist()) == (1, [4.0, 3.0])
    assert [tally.missing for tally in state.tallies] == [0, 1, 0]
    # The next round begins empty.
    state.close_round()
    assert state.pull()[1].tolist() == [4.0, 3.0]
    assert state.version == 2


@pytest.mark.spec("TR-22")
def test_a_difference_of_another_round_is_lost() -> None:
    state = ParameterState(rules(), floats(0))
    state.close_round()
    assert state.add(0, floats(5), 0) is Fate.STALE
    assert state.close_round() == [None, None]
    assert state.pull()[1].tolist() == [0.0]
    assert state.tallies[0].stale == 1


@pytest.mark.spec("TR-21", "TR-23")
def test_without_damping_sums_are_exact_whatever_the_order_of_arrival() -> None:
    terms = rules(mode="bounded-stale", trainers=3, damping="none", max_staleness=2)
    found = []
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        state = ParameterState(terms, floats(0, 1e8))
        for index in order:
            state.add(index, floats(index + 1, 3 * index), 0)
        assert state.settle() == [Fate.ADDED] * 3
        found.append(state.pull()[1].tobytes())
    assert len(set(found)) == 1
    assert state.pull()[1][0] == 6
    assert state.version == 3


@pytest.mark.spec("TR-24")
def test_staleness_is_what_others_did_since_and_damps() -> None:
    state = ParameterState(STALE, floats(0))
    for index, difference in ((0, 6.0), (1, 6.0), (2, 6.0)):
        state.add(index, floats(difference), 0)
    state.settle()
    # In the order of trainers: 6/1, 6/2, 6/3.
    assert state.pull()[1].tolist() == [11.0]
    assert [tally.staleness_max for tally in state.tallies] == [0, 1, 2]
    # Trainer 0's own update since version 0 is not staleness: the two of the others are.
    state.add(0, floats(3), 0)
    state.settle()
    assert state.pull()[1].tolist() == [12.0]
    assert state.tallies[0] == Tally(added=2, staleness_sum=2, staleness_max=2)


@pytest.mark.spec("TR-24")
def test_a_difference_that_missed_too_much_is_lost() -> None:
    state = ParameterState(STALE, floats(0))
    for _ in range(3):
        state.add(1, floats(1), state.version)
        state.settle()
    assert state.add(0, floats(100), 0) is Fate.STALE
    assert state.pull()[1].tolist() == [3.0]
    # What becomes too stale by those who are added before it, at the same tick, is lost as well.
    state = ParameterState(rules(mode="bounded-stale", max_staleness=0), floats(0))
    state.add(0, floats(1), 0)
    state.add(1, floats(1), 0)
    assert state.settle() == [Fate.ADDED, Fate.STALE]
    assert state.pull()[1].tolist() == [1.0]


@pytest.mark.spec("TR-24")
def test_a_trainer_alone_is_never_stale() -> None:
    state = ParameterState(rules(mode="bounded-stale", trainers=1, max_staleness=0), floats(0))
    for _ in range(50):
        assert state.add(0, floats(1), 0) is None
        assert state.settle() == [Fate.ADDED]
    assert state.pull()[1].tolist() == [50.0]


@pytest.mark.spec("TR-25")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 101.0, 71.0])
@pytest.mark.parametrize("mode", ["synchronous", "bounded-stale"])
def test_what_is_no_number_or_too_long_changes_nothing(value: float, mode: str) -> None:
    state = ParameterState(rules(mode=mode), floats(1, 2))
    state.add(0, floats(value, value), 0)
    state.add(1, floats(1, 1), 0)
    fates = state.close_round() if mode == "synchronous" else state.settle()
    assert fates == [Fate.REJECTED, Fate.ADDED]
    assert state.pull()[1].tolist() == [2.0, 3.0]
    assert state.tallies[0].rejected == 1
    state.add(0, floats(1, 1), state.version)  # and leaves nothing behind
    state.close_round() if mode == "synchronous" else state.settle()
    assert state.pull()[1].tolist() == [3.0, 4.0]


@pytest.mark.spec("TR-25")
def test_the_longest_difference_is_added() -> None:
    state = ParameterState(rules(), floats(0, 0))
    state.add(0, floats(60, 80), 0)
    assert state.close_round()[0] is Fate.ADDED


@pytest.mark.spec("TR-23")
def test_one_difference_waits_at_a_time() -> None:
    state = ParameterState(rules(), floats(0))
    state.add(0, floats(1), 0)
    assert state.add(0, floats(5), 0) is Fate.REPEATED
    state.close_round()
    assert state.pull()[1].tolist() == [1.0]
    assert state.tallies[0].repeated == 1


@pytest.mark.spec("TR-26")
def test_what_cannot_be_is_refused() -> None:
    state = ParameterState(rules(), floats(1, 2))
    for index, difference, based_on, error in (
        (2, floats(1, 1), 0, RemoteProtocolError),
        (-1, floats(1, 1), 0, RemoteProtocolError),
        (0, floats(1, 1), 1, RemoteProtocolError),
        (0, floats(1, 1), -1, RemoteProtocolError),
        (0, floats(1), 0, MalformedError),
        (0, floats(1, 1).reshape(1, 2), 0, MalformedError),
    ):
        with pytest.raises(error):
            state.add(index, difference, based_on)
    assert state.close_round() == [None, None]
    for initial in (
        floats(),
        floats(np.nan),
        floats(*range(9)),
        floats(3e38),
        floats(1).reshape(1, 1),
    ):
        with pytest.raises(MalformedError):
            ParameterState(rules(), initial)


def test_what_is_pulled_cannot_be_written() -> None:
    state = ParameterState(rules(), floats(1))
    with pytest.raises(ValueError, match="read-only"):
        state.pull()[1][0] = 2


def test_the_square_of_a_norm() -> None:
    values = np.linspace(-3, 3, 200_001, dtype=np.float32)
    assert squared_norm(values) == pytest.approx(float(np.sum(values.astype(np.float64) ** 2)))
    assert squared_norm(floats(3e38, 3e38)) == pytest.approx(2 * float(np.float32(3e38)) ** 2)
    assert np.isnan(squared_norm(floats(1, np.inf)))
    assert np.isnan(squared_norm(floats(np.nan, 1)))


def _steps(work: Callable[[], object]) -> list[int]:
    """Return the lines of the module that some work passes, one after another."""
    seen: list[int] = []

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != aggregation.__file__:
            return None
        seen.append(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return seen


class _Watched(np.ndarray[Any, Any]):
    """An array that notes each operation on it: which, and on what shapes."""

    notes: ClassVar[list[tuple[object, ...]]] = []

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **more: Any) -> Any:
        plain = [np.asarray(each) if isinstance(each, _Watched) else each for each in inputs]
        out = more.get("out")
        if out:
            more["out"] = tuple(np.asarray(each) for each in out)
        self.notes.append((function.__name__, method, *(np.shape(each) for each in plain)))
        return getattr(function, method)(*plain, **more)


@pytest.mark.spec("TR-27")
@pytest.mark.parametrize("mode", ["synchronous", "bounded-stale"])
def test_what_is_read_and_written_does_not_depend_on_values(mode: str) -> None:
    """Zeros, noise, what is no number, too much, and nothing at all: one trace of operations."""
    size = 200_000
    noise = np.random.default_rng(5).normal(0, 0.01, size).astype(np.float32)
    sparse = np.zeros(size, np.float32)
    sparse[7] = 1
    cases = [noise, sparse, np.zeros(size, np.float32), noise * np.float32(1e6), noise * np.nan]
    terms = rules(mode=mode, trainers=2, parameters_max=size)
    operations, lines = [], []
    for case in [*cases, None]:
        state = ParameterState(terms, np.zeros(size, np.float32))
        for place in state._places:
            place.waiting = place.waiting.view(_Watched)
        if case is not None:
            state.add(1, case, 0)
        _Watched.notes = []
        work = state.close_round if mode == "synchronous" else state.settle
        lines.append(_steps(work))
        operations.append(_Watched.notes)
    assert len(operations[0]) > 4
    assert all(each == operations[0] for each in operations)
    # Which lines are passed differs in counters alone, behind all work on arrays.
    counters = set(_lines_of(ParameterState._count))
    verdicts = set(_lines_of(ParameterState._judged)) | set(_lines_of(ParameterState._added))
    reduced = [[line for line in each if line not in counters | verdicts] for each in lines]
    assert all(each == reduced[0] for each in reduced)
    # So much for values: zeros, a needle and noise pass the very same lines.
    assert lines[0] == lines[1] == lines[2]


def _lines_of(function: Any) -> range:
    code = function.__code__
    numbers = [line for _, _, line in code.co_lines() if line is not None]
    return range(min(numbers), max(numbers) + 1)


@pytest.mark.spec("TR-21")
def test_concurrent_adds_lose_nothing() -> None:
    """Readers see whole states while another thread adds."""
    size = 50_000
    terms = rules(
        mode="bounded-stale", trainers=1, parameters_max=size, max_staleness=0, norm_max=1e9
    )
    state = ParameterState(terms, np.zeros(size, np.float32))
    lock = threading.Lock()
    torn: list[float] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            with lock:
                found = state.pull()[1]
                torn.append(float(found.max() - found.min()))

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(100):
        with lock:
            state.add(0, np.ones(size, np.float32), state.version)
            state.settle()
    done.set()
    reader.join()
    assert max(torn, default=0.0) == 0.0
    assert state.pull()[1].tolist()[:2] == [100.0, 100.0]
