"""Cells that stand by: each used once, one at a time, made again whatever happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cloister.cleanroom.query_cells import FreshCells
from cloister.errors import ConfinementError, UnavailableError


class Maker:
    """Makes numbers where cells would be."""

    def __init__(self) -> None:
        self.made = self.alive = self.most = 0
        self.broken = False
        self.left: Callable[[], float] | None = None

    @contextlib.contextmanager
    def __call__(self, left: Callable[[], float]) -> Iterator[Any]:
        if self.broken:
            raise ConfinementError("no cell", code="confinement.setup")
        self.made, self.alive, self.left = self.made + 1, self.alive + 1, left
        self.most = max(self.most, self.alive)
        try:
            yield self.made
        finally:
            self.alive -= 1


def soon() -> float:
    """Late enough for a slow machine."""
    return time.monotonic() + 10


@pytest.mark.spec("CQ-34")
def test_each_cell_is_used_once() -> None:
    """However often, and whether the use went well."""
    maker = Maker()
    used = []
    with FreshCells(maker) as cells:
        for number in range(5):
            with contextlib.suppress(LookupError), cells.use(soon()) as cell:
                used.append(cell)
                if number % 2:
                    raise LookupError
    assert used == [1, 2, 3, 4, 5]
    assert (maker.alive, maker.most) == (0, 1)


@pytest.mark.spec("CQ-34", "CQ-37")
def test_an_answer_has_the_time_of_its_query() -> None:
    """A cell that was made long ago has the deadline of the query that it is used for."""
    maker = Maker()
    with FreshCells(maker, now=lambda: 100.0) as cells:
        cells.wait(110.0)
        with cells.use(107.5):
            assert maker.left is not None
            assert maker.left() == 7.5


@pytest.mark.spec("CQ-24")
def test_where_there_is_none_nobody_waits_for_ever() -> None:
    """It is late; and made as soon as it can be."""
    maker = Maker()
    maker.broken = True
    with FreshCells(maker) as cells:
        for ask in (cells.wait, lambda deadline: cells.use(deadline).__enter__()):
            with pytest.raises(UnavailableError) as caught:
                ask(time.monotonic() + 0.05)
            assert caught.value.code == "query.late"
        maker.broken = False
        cells.wait(soon())
    assert maker.alive == 0
