"""JSON without its liberties."""

import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cloister.errors import MalformedError
from cloister.inference import message, tfserving
from cloister.inference.json_body import MAX_CONTAINERS, read_body
from cloister.inference.tensor import Array, TensorSpec


def test_what_json_is() -> None:
    """As the library reads it."""
    assert read_body(b'{"a": [1, 2.5, true, null, "x"]}') == {"a": [1, 2.5, True, None, "x"]}


def test_a_mark_at_the_beginning_says_nothing() -> None:
    """Some programs write it, and what follows is UTF-8 all the same."""
    assert read_body("\ufeff[1]".encode()) == [1]


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_json_is_utf_8(coding: str) -> None:
    """No other coding is guessed."""
    with pytest.raises(ValueError):
        read_body('{"ä": [1]}'.encode(coding))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"NaN", b"[Infinity]", b'{"a":1,"a":1}', b"[" * 100_000, b"\xff"]
)
def test_what_it_is_not(data: bytes) -> None:
    """One kind of error for all."""
    with pytest.raises(ValueError):
        read_body(data)


@pytest.mark.spec("SRV-14")
@pytest.mark.parametrize("item", [b"[],", b"{},", b'"ab",', b'{"a":[]},'])
def test_small_values_without_end_are_refused_before_they_are_made(item: bytes) -> None:
    """A body takes no many times its size in memory."""
    data = b"[" + item * (2**23 // len(item)) + b"0]"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too many"):
            read_body(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.spec("SRV-14")
def test_as_many_lists_as_the_limit_are_read() -> None:
    """One more is not."""
    most = b"[" + b"[]," * (MAX_CONTAINERS - 2) + b"[]]"
    assert len(read_body(most)) == MAX_CONTAINERS - 1
    with pytest.raises(ValueError, match="too many"):
        read_body(most[:-1] + b",[]]")


X = TensorSpec("x", "FP32", (-1,))


def ask_infer(numbers: bytes, size: int) -> object:
    text = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[%d],"data":%s}]}' % (size, numbers)
    return message.read_request(message.Body(text, None), inputs=[X], outputs=[X])


def ask_predict(numbers: bytes, size: int) -> object:
    del size
    return tfserving.read_predict(b'{"inputs":%s}' % numbers, inputs=[X])


def ask_classify(numbers: bytes, size: int) -> object:
    del size
    text = b'{"context":{"x":1},"examples":[%s{}]}' % (b" " * len(numbers))
    return tfserving.read_examples(text, inputs=[X], verb="classify")


class Crowd:
    """Counts who uses what a body says, at one time; where `least` is more than one, they meet."""

    def __init__(self, least: int) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._met = threading.Barrier(least, timeout=20)

    def __call__(self, *_: object, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
        del spec
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self._met.wait()
        time.sleep(0.02)
        with self._lock:
            self._now -= 1
        return np.zeros(shape, np.float32)


@pytest.mark.spec("SRV-32")
@pytest.mark.parametrize("ask", [ask_infer, ask_predict, ask_classify])
@pytest.mark.parametrize(("size", "together"), [(2**19 + 1, 1), (2, 4)], ids=["long", "short"])
def test_long_bodies_are_read_in_turn(
    ask: Callable[[bytes, int], object], size: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers take many times their bytes in memory; those who ask little do not wait."""
    crowd = Crowd(together)
    monkeypatch.setattr(message, "from_json", crowd)
    monkeypatch.setattr(tfserving, "from_json", crowd)
    numbers = b"[" + b"0," * (size - 1) + b"0]"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ask(numbers, size), range(4)))
    assert crowd.most == together


@pytest.mark.parametrize("ask", [ask_infer, ask_predict])
def test_a_long_body_that_is_refused_gives_its_turn_back(
    ask: Callable[[bytes, int], object],
) -> None:
    """The next one is read, and refused as well."""
    for _ in range(2):
        with pytest.raises(MalformedError):
            ask(b"[" + b" " * 2**20, 1)
