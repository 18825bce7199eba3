"""When a freed unit may be used again."""

from __future__ import annotations

import pytest

from cloister.errors import MalformedError, TamperedError
from cloister.volume.content.space import SpaceMap


def committed(count: int) -> SpaceMap:
    space = SpaceMap(0)
    space.take(count, whole=True)
    space.journaled()
    space.anchored()
    return space


def test_committed_units_come_back_after_the_anchor() -> None:
    """A released unit of the committed state is free after journal and anchor, not before."""
    space = committed(4)
    space.release(1, 1)
    assert space.take(1, whole=True) == (4, 1)
    space.journaled()
    assert space.take(1, whole=True) == (5, 1)
    space.anchored()
    assert space.take(1, whole=True) == (1, 1)


def test_units_never_committed_come_back_at_once() -> None:
    """A unit taken and released between two commits is free at once."""
    space = committed(2)
    assert space.take(3, whole=True) == (2, 3)
    space.release(2, 3)
    assert space.take(3, whole=True) == (2, 3)


def test_released_between_journal_and_anchor_waits_for_the_next() -> None:
    """What is released while the anchor is awaited belongs to the state being anchored."""
    space = committed(4)
    space.journaled()
    space.release(0, 1)
    space.anchored()
    assert space.take(1, whole=True) == (4, 1)
    space.journaled()
    space.anchored()
    assert space.take(1, whole=True) == (0, 1)


def test_runs() -> None:
    """A run is whole where asked, and else as long as there is one."""
    space = committed(8)
    space.release(2, 2)
    space.journaled()
    space.anchored()
    assert space.take(3, whole=True) == (8, 3)
    assert space.take(3, whole=False)[1] in {1, 2}


def test_free_tail_is_cut() -> None:
    """Free units at the end make the file shorter."""
    space = committed(8)
    space.release(5, 3)
    space.journaled()
    assert space.anchored()
    assert len(space) == 5
    assert not space.anchored()


def test_claims() -> None:
    """Two pointers to one place are malformed, one behind the end is truncated."""
    space = SpaceMap(10)
    space.claim(3, 2)
    assert space.take(3, whole=True) == (0, 3)
    with pytest.raises(MalformedError) as shared:
        space.claim(4, 1)
    assert shared.value.code == "volume.malformed"
    with pytest.raises(TamperedError) as outside:
        space.claim(9, 2)
    assert outside.value.code == "volume.truncated"
