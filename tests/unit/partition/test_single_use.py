"""A secret that works once."""

from __future__ import annotations

import copy
import threading

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
    stock = Stock(lambda count: [SingleUse(next(made)) for _ in range(count)], most=4)
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
