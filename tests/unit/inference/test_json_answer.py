"""Answers of JSON, written piece by piece, are what `json.dumps` would write at once."""

import json
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloister.inference import json_answer
from cloister.inference.json_answer import Lists, Rows, write_answer

SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)
TYPES = ("<f4", "<f8", "<f2", "<i8", "u1", "?", "O")


def at_once(record: Any) -> bytes:
    """Write a record as the library does."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode()


def array_of(shape: tuple[int, ...], kind: str) -> Any:
    """Return numbers, truth values or texts of a shape."""
    source = np.random.default_rng(7)
    if kind == "O":
        texts = np.empty(shape, object)
        texts.ravel()[:] = [f'é"{n}' for n in range(texts.size)]
        return texts
    if kind == "?":
        return source.random(shape) < 0.5
    return (source.normal(size=shape) * 100).astype(kind)


@given(shape=SHAPES, kind=st.sampled_from(TYPES), piece=st.integers(1, 9))
def test_an_array_of_any_shape(shape: tuple[int, ...], kind: str, piece: int) -> None:
    """Wherever the pieces end: within a row, at its end, or after some."""
    array = array_of(shape, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_answer, "PIECE", piece)
        assert write_answer({"y": Lists(array)}) == at_once({"y": array.tolist()})


def test_what_has_no_arrays() -> None:
    """Objects, lists, texts, numbers and nothing, empty or not."""
    records: tuple[Any, ...] = (
        {}, [], [{}], {"a": {}}, {"a": []}, None, 1, "\u00e9\n", [1, [2.5, "x"]],
        {"a": [{"b": 1}, {"c": [True, None]}], "é": {"d": "e", "f": {"g": [[]]}}},
    )  # fmt: skip
    for record in records:
        assert write_answer(record) == at_once(record)


@given(
    rows=st.integers(0, 7),
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=2).map(tuple), min_size=1, max_size=3),
    kind=st.sampled_from(TYPES),
    piece=st.integers(1, 40),
)
@example(rows=2, shapes=[(), (2,)], kind="O", piece=1)
def test_rows_that_arrays_have_in_common(
    rows: int, shapes: list[tuple[int, ...]], kind: str, piece: int
) -> None:
    """Each an object; many at once where they are short, and in pieces where they are long."""
    arrays = {f"é{n}": array_of((rows, *shape), kind) for n, shape in enumerate(shapes)}
    lists = [array.tolist() for array in arrays.values()]
    wanted = [dict(zip(arrays, row, strict=True)) for row in zip(*lists, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_answer, "PIECE", piece)
        assert write_answer({"rows": Rows(arrays)}) == at_once({"rows": wanted})


def test_arrays_in_objects_of_a_list() -> None:
    """A number without axes is one."""
    record = [{"a": Lists(np.asarray(n)), "b": {"c": Lists(np.ones((2, 1)))}} for n in (1, 2)]
    assert (
        write_answer(record) == b'[{"a":1,"b":{"c":[[1.0],[1.0]]}},{"a":2,"b":{"c":[[1.0],[1.0]]}}]'
    )


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_json_cannot_say(number: float) -> None:
    """Never a word that no reader knows."""
    for record in ({"y": Lists(np.array([number]))}, {"y": number}):
        with pytest.raises(ValueError, match="JSON"):
            write_answer(record)


@pytest.mark.spec("SRV-32")
@pytest.mark.parametrize("shape", [(1, 400_000), (400_000,), (20, 100, 200), (400_000, 1)])
def test_memory_is_that_of_the_text(shape: tuple[int, ...]) -> None:
    """Not that of an object, and a text, for each number besides."""
    array = np.random.default_rng(1).random(shape, np.float32)
    tracemalloc.start()
    data = write_answer({"y": Lists(array)})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2.5 * len(data)
    assert json.loads(data)["y"] == array.tolist()


@pytest.mark.spec("SRV-32")
@pytest.mark.parametrize(("size", "together"), [(2**16, 1), (2**14, 4)], ids=["long", "short"])
def test_long_answers_are_written_in_turn(
    size: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who get little do not wait."""
    meeting, now, most = threading.Barrier(together), [0], [0]
    real, lock = json_answer._lists, threading.Lock()

    def met(array: Any) -> Iterator[str]:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        meeting.wait(30)
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        yield from real(array)

    monkeypatch.setattr(json_answer, "_lists", met)
    record = {"y": Lists(np.ones(size, np.float32))}
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(write_answer, [record] * 4))) == 1
    assert most == [together]


def test_a_short_answer_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing walks through it in Python, which would cost more than the answer."""
    monkeypatch.delattr(json_answer, "_written")
    record = {"id": "7", "y": Lists(np.arange(json_answer.PIECE)), "z": [{"a": Lists(np.ones(()))}]}
    assert json.loads(write_answer(record)) == {
        "id": "7", "y": list(range(json_answer.PIECE)), "z": [{"a": 1.0}],
    }  # fmt: skip
