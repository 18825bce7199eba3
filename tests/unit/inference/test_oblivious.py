"""Selection is right, and leaves one trace whatever the numbers are."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from types import FrameType
from typing import Any

import numpy as np
import pytest

from cloister.inference import oblivious
from cloister.inference.oblivious import Networks, argmax, at_least, choose_rows, kept, top_k

TYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
RNG = np.random.default_rng(4)


def numbers(code: str, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    dtype = np.dtype(code)
    if dtype.kind == "f":
        return np.round(rng.normal(size=shape), 1).astype(dtype)  # rounded, so that some are equal
    if dtype.kind == "b":
        return rng.random(shape) > 0.5
    ends = np.iinfo(dtype)
    return rng.integers(ends.min, ends.max, size=shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("code", TYPES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10, 33])
def test_the_best_are_those_of_a_stable_sort(code: str, size: int) -> None:
    """Values, places and datatype, for few, some and all of them."""
    scores = numbers(code, (4, size), RNG)
    for count in {1, min(3, size), size}:
        best, places = top_k(scores, count)
        falling = -scores.astype(object) if scores.dtype.kind != "b" else -scores.astype(int)
        expected = np.argsort(falling, axis=-1, kind="stable")[:, :count]
        assert np.array_equal(places, expected)
        assert np.array_equal(best, np.take_along_axis(scores, expected, -1))
        assert best.dtype == scores.dtype
    assert np.array_equal(argmax(scores), np.argmax(scores, axis=-1))


def test_floats_that_are_no_ordinary_numbers() -> None:
    """NaN is last, of either sign; the two zeros are equal; infinities are at the ends."""
    scores = np.array([np.nan, -np.inf, np.inf, -0.0, 0.0, -np.nan, 1e-45], np.float32)
    best, places = top_k(scores, 7)
    assert places.tolist() == [2, 6, 3, 4, 1, 0, 5]
    assert np.isnan(best[-2:]).all()
    assert at_least(scores, 0.0).tolist() == [0, 0, 1, 1, 1, 0, 1]


def test_bounds() -> None:
    """A bound is the number that it is, whether or not the scores' type has it."""
    assert at_least(np.array([[0.5, 0.25]]), 0.5).tolist() == [[1, 0]]
    assert at_least(np.array([3, -1], np.int8), 0).tolist() == [1, 0]
    for code in TYPES:
        scores = np.sort(numbers(code, (40,), RNG))
        bounds = [-1e300, -300.0, -0.5, 0.0, 0.5, 127.9, 255.5, 300.0, 2.0**63, 1e300]
        bounds += [float(scores[20]), float(np.nextafter(float(scores[20]), np.inf))]
        for bound in bounds:
            expected = [int(each >= Fraction(bound)) for each in map(Fraction, scores.tolist())]
            assert at_least(scores, bound).tolist() == expected
    ends = np.array([-np.inf, np.inf, np.nan], np.float32)
    assert at_least(ends, -1e300).tolist() == [0, 1, 0]
    assert at_least(ends, 1e300).tolist() == [0, 1, 0]


@pytest.mark.parametrize("code", TYPES)
def test_what_is_not_told_is_zero(code: str) -> None:
    """In every bit; what is told keeps each."""
    scores = numbers(code, (3, 5), RNG)
    told = RNG.integers(0, 2, (3, 5)).astype(np.uint8)
    found = kept(scores, told)
    assert found.dtype == scores.dtype
    assert found.tobytes() == np.where(told == 1, scores, np.zeros_like(scores)).tobytes()
    odd = np.array([-np.inf, np.nan, -0.0, -1.0], np.float32)
    assert kept(odd, np.zeros(4, np.uint8)).tobytes() == bytes(16)


def test_networks_that_are_kept_are_bounded() -> None:
    """Two for each size, whatever counts are asked for; the newest ones of all sizes."""
    networks = Networks(2**20)
    few = [networks.get(1025, count) for count in range(9, 1025)]
    assert all(each is few[0] for each in few)
    assert networks.get(1025, 1025) is not few[0]
    assert networks.get(1025, 1025) is networks.get(1025, 1025)
    for size in range(1026, 1200, 7):
        networks.get(size, 9)
        assert networks.bytes <= 2**20
    assert networks.get(1025, 9) is not few[0]
    alone = networks.get(20_000, 9)
    assert networks.get(20_000, 800) is alone
    assert networks.bytes > 2**20
    networks.get(9, 9)
    assert networks.bytes < 2**20


def test_rows_are_chosen_by_touching_all() -> None:
    """Of any shape of places."""
    table = np.frombuffer(b"abcdefghi", np.uint8).reshape(3, 3)
    assert choose_rows(table, np.array([[2, 0], [1, 1]])).tobytes() == b"ghiabcdefdef"


def test_rows_are_chosen_in_bounded_memory() -> None:
    """However many are asked for: memory grows with what is chosen, not with the table's times."""
    table = np.arange(1000 * 64, dtype=np.uint64).view(np.uint8).reshape(1000, 512)
    places = np.arange(20_000).reshape(100, 200) % 1000
    tracemalloc.start()
    try:
        chosen = choose_rows(table, places)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(chosen, table[places])
    assert peak < 4 * chosen.nbytes + (64 << 20)  # at once it would be 10 GB


class Spied(np.ndarray):
    """An array that notes what is done to it: operation, shapes, types, and every index in full."""

    log: list[str] = []  # noqa: RUF012  # one trace at a time

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **more: Any) -> Any:
        plain = [np.asarray(each) for each in inputs]
        out = more.pop("out", None)
        if out is not None:
            more["out"] = tuple(np.asarray(each) for each in out)
        shapes = [(each.shape, each.strides, each.dtype.str) for each in plain]
        Spied.log.append(f"{ufunc.__name__} {method} {shapes} {sorted(more)}")
        result = getattr(ufunc, method)(*plain, **more)
        return result.view(Spied) if isinstance(result, np.ndarray) else result

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        Spied.log.append(f"{func.__module__}.{func.__name__}")
        return super().__array_function__(func, types, args, kwargs)

    def __getitem__(self, index: Any) -> Any:
        Spied.log.append(f"get {_shown(index)}")
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        Spied.log.append(f"set {_shown(index)} {np.shape(value)}")
        super().__setitem__(index, value)

    def __bool__(self) -> bool:
        Spied.log.append(f"decided {bool(np.asarray(self))}")
        return bool(np.asarray(self))


def _shown(index: Any) -> str:
    parts = index if isinstance(index, tuple) else (index,)
    return str([p.tolist() if isinstance(p, np.ndarray) else p for p in parts])


def trace(function: Callable[[Any], object], scores: Any) -> list[str]:
    """Return every operation on arrays and every line that runs, in order."""
    Spied.log = []

    def line(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename in {oblivious.__file__, __file__}:
            if event == "line" and frame.f_code.co_qualname.partition(".")[0] != "Spied":
                Spied.log.append(f"line {frame.f_lineno}")
            return line
        return None

    before = sys.gettrace()
    sys.settrace(line)
    try:
        function(scores.view(Spied))
    finally:
        sys.settrace(before)
    return Spied.log


def traces(function: Callable[[Any], object], code: str, size: int) -> set[tuple[str, ...]]:
    """Return the traces of many inputs: random, sorted either way, equal, and not numbers."""
    rng = np.random.default_rng(9)
    inputs = [numbers(code, (2, size), rng) for _ in range(40)]
    inputs += [np.sort(inputs[0]), np.sort(inputs[0])[:, ::-1].copy(), np.zeros_like(inputs[0])]
    if np.dtype(code).kind == "f":
        inputs += [np.full_like(inputs[0], np.nan), np.full_like(inputs[0], 1e-40)]
    function(inputs[0].view(Spied))  # networks are made once, by size
    return {tuple(trace(function, each)) for each in inputs}


@pytest.mark.spec("SRV-72")
@pytest.mark.parametrize(("code", "size", "count"), [
    ("f4", 10, 3), ("f4", 10, 10), ("f2", 5, 1), ("f8", 10, 3), ("i8", 7, 7), ("u1", 16, 2),
])  # fmt: skip
def test_no_number_changes_what_is_done(code: str, size: int, count: int) -> None:
    """One trace for every input: lines, operations, shapes, and indexes."""
    table = np.arange(size * 4, dtype=np.uint8).reshape(size, 4)

    def all_of_it(scores: Any) -> None:
        best, places = top_k(scores, count)
        kept(best, at_least(best, 0.5))
        choose_rows(table, places)
        argmax(scores)

    found = traces(all_of_it, code, size)
    assert len(found) == 1
    assert len(next(iter(found))) > 20


def leaks_by_index(scores: Any) -> None:
    order = np.argsort(np.asarray(scores), axis=-1)
    scores[0, order[0]]


def leaks_by_branch(scores: Any) -> object:
    best = scores[0, 0]
    for place in range(1, scores.shape[1]):
        if scores[0, place] > best:  # noqa: PLR1730  # a branch is what it is about
            best = scores[0, place]
    return best


def leaks_by_shape(scores: Any) -> None:
    np.negative(scores[scores > 0])


@pytest.mark.spec("SRV-72")
@pytest.mark.parametrize("leaky", [leaks_by_index, leaks_by_branch, leaks_by_shape])
def test_the_same_test_finds_what_leaks(leaky: Callable[[Any], object]) -> None:
    """Indexes, branches and shapes that follow the numbers are seen."""
    assert len(traces(leaky, "f4", 6)) > 1
