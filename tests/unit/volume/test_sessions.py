"""The list of a volume's writer sessions."""

from __future__ import annotations

import pytest

from cloister.errors import MalformedError
from cloister.volume.sessions import MAX_SESSIONS, Session, Sessions


def sessions(*epochs: int) -> Sessions:
    found = Sessions()
    for number, epoch in enumerate(epochs):
        found.add(Session(bytes([number]) * 32, epoch))
    return found


@pytest.mark.spec("VOL-72", "VOL-73")
def test_numbers_outlast_what_they_named() -> None:
    """Sessions that are gone leave their numbers behind."""
    found = sessions(1, 1, 2, 3)
    assert (found.first, found.end, found.oldest_key) == (0, 4, 1)
    assert [found.first_under(epoch) for epoch in range(1, 5)] == [0, 2, 3, 4]
    found.drop_before(2)
    assert (found.first, found.end, found.oldest_key) == (2, 4, 2)
    assert found.get(1) is None
    assert found.get(2) == Session(b"\x02" * 32, 2)
    assert found.get(4) is None
    found.drop_before(4)
    assert (found.first, found.end, found.oldest_key) == (4, 4, None)
    found.add(Session(b"n" * 32, 3))
    assert found.get(4) == Session(b"n" * 32, 3)


@pytest.mark.spec("VOL-72")
@pytest.mark.parametrize("epoch", [0, 1, 2**24 + 1])
def test_key_epochs_never_go_down(epoch: int) -> None:
    """A session under an older key, or one that cannot be, is refused."""
    found = sessions(2)
    with pytest.raises(MalformedError) as caught:
        found.add(Session(bytes(32), epoch))
    assert caught.value.code == "volume.malformed"


@pytest.mark.spec("VOL-73")
@pytest.mark.parametrize(("dropped", "end"), [(2, 2), (2, 1), (2, 4), (0, 0)])
def test_what_is_gone_only_grows(dropped: int, end: int) -> None:
    """It grows each time, and not beyond the sessions that were."""
    found = sessions(1, 1, 2)
    if dropped:
        found.drop_before(dropped)
    with pytest.raises(MalformedError) as caught:
        found.drop_before(end)
    assert caught.value.code == "volume.malformed"


@pytest.mark.spec("VOL-73")
def test_numbers_may_begin_anywhere_in_an_index_that_starts_from_nothing() -> None:
    """A full entry leaves out what is gone; it cannot begin beyond the last number."""
    found = Sessions()
    found.drop_before(MAX_SESSIONS)
    with pytest.raises(MalformedError) as caught:
        found.add(Session(bytes(32), 1))
    assert caught.value.code == "volume.malformed"
    with pytest.raises(MalformedError) as caught:
        Sessions().drop_before(MAX_SESSIONS + 1)
    assert caught.value.code == "volume.malformed"
