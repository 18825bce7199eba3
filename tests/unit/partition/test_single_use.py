"""A secret that works once."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator, Sequence

import pytest

from cloister.errors import LocalProtocolError, UnavailableError
from cloister.partition.single_use import SingleUse, Stock


def test_it_is_taken_once() -> None:
    once = SingleUse("secret")
    assert once.take() == "secret"
    with pytest.raises(LocalProtocolError) as caught:
        once.take()
    assert caught.value.code == "protocol.local"


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda each: each.__reduce_ex__(4)]
)
def test_it_has_no_copy(duplicate: object) -> None:
    once = SingleUse("secret")
    with pytest.raises(LocalProtocolError) as caught:
        duplicate(once)  # type: ignore[operator]  # either of two functions
    assert caught.value.code == "protocol.local"
    assert "secret" not in repr(once)
    assert once.take() == "secret"


def test_of_many_threads_one_has_it() -> None:
    for _ in range(50):
        once, got = SingleUse("secret"), []

        def take(once: SingleUse[str] = once, got: list[str] = got) -> None:
            try:
                got.append(once.take())
            except LocalProtocolError:
                got.append("")

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == ["", "", "", "secret"]


def test_a_stock_hands_out_each_once() -> None:
    made = iter(range(100))
    stock = Stock(lambda count: iter([[SingleUse(next(made)) for _ in range(count)]]), most=4)
    assert stock.fill(3) == 3
    assert stock.fill(3) == 1
    assert stock.fill(1) == 0
    assert len(stock) == 4
    assert [stock.take().take() for _ in range(4)] == [0, 1, 2, 3]
    assert stock.take_or_none() is None
    with pytest.raises(UnavailableError) as caught:
        stock.take()
    assert caught.value.code == "middle.stock"
    assert stock.fill(1) == 1
    again = stock.take_or_none()
    assert again is not None
    assert again.take() == 4


class Slow:
    """Makes secrets in three pieces each, and counts what it began."""

    def __init__(self) -> None:
        self.begun = 0

    def __call__(self, count: int) -> Iterator[Sequence[SingleUse[int]]]:
        assert count == 1
        self.begun += 1
        number = self.begun
        yield ()
        yield ()
        yield [SingleUse(number)]


def test_pieces_make_one_after_another_up_to_the_most() -> None:
    """A piece does not begin another secret before the last one is there."""
    slow = Slow()
    stock = Stock(slow, most=2)
    seen = []
    while stock.piece():
        seen.append((slow.begun, len(stock)))
    assert seen == [(1, 0), (1, 0), (1, 1), (2, 1), (2, 1), (2, 2)]
    assert stock.take().take() == 1
    assert stock.piece()
    assert stock.take().take() == 2
    assert stock.take_or_none() is None
    assert Stock(slow, most=0).piece() is False


def test_what_was_begun_is_forgotten_with_the_rest() -> None:
    slow = Slow()
    stock = Stock(slow, most=2)
    for _ in range(4):
        assert stock.piece()
    stock.clear()
    assert len(stock) == 0
    assert stock.take_or_none() is None
    for _ in range(3):
        assert stock.piece()
    assert stock.take().take() == 3


def test_a_piece_that_fails_is_begun_anew() -> None:
    """Nothing that was half made is ever handed out."""
    broken = [True]

    def make(count: int) -> Iterator[Sequence[SingleUse[str]]]:
        yield ()
        if broken:
            broken.pop()
            raise MemoryError
        yield [SingleUse("whole")] * count

    stock = Stock(make, most=1)
    assert stock.piece()
    with pytest.raises(MemoryError):
        stock.piece()
    assert stock.piece()
    assert len(stock) == 0
    assert stock.piece()
    assert stock.take().take() == "whole"


def test_a_forked_process_has_none() -> None:
    """Both would hand out the same ones; the parent's are still the parent's."""
    made = iter(range(100))
    stock = Stock(lambda count: iter([[SingleUse(next(made)) for _ in range(count)]]), most=4)
    stock.fill(2)
    child = os.fork()
    if child == 0:
        empty = stock.take_or_none() is None and len(stock) == 0
        os._exit(0 if empty and stock.fill(1) == 0 and not stock.piece() else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert stock.take().take() == 0
    assert stock.take().take() == 1
