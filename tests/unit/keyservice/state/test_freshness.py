"""The platform's counter as witness of the newest state."""

from pathlib import Path

import pytest

from cloister.errors import TamperedError
from cloister.keyservice.state.freshness import PlatformFreshness
from cloister.keyservice.state.record import Head
from cloister.tee.sim.platform import SimPlatform


@pytest.fixture
def platform(tmp_path: Path) -> SimPlatform:
    """A simulated platform."""
    return SimPlatform.create(tmp_path / "platform", svn=1, debug=False)


def head(sequence: int) -> Head:
    """A head; its digest does not matter to a counter."""
    return Head(sequence, bytes(32))


def witness(platform: SimPlatform) -> PlatformFreshness:
    """Open the counter once more, as another process would."""
    return PlatformFreshness(platform.counter("test"))


@pytest.mark.spec("KR-92")
def test_an_older_state_is_refused_and_a_newer_one_adopted(platform: SimPlatform) -> None:
    """A crash may leave the counter behind the state, never ahead of it."""
    witness(platform).opened(head(5))
    with pytest.raises(TamperedError) as e:
        witness(platform).opened(head(4))
    assert e.value.code == "state.rolled-back"
    again = witness(platform)
    again.opened(head(7))
    again.committing(head(7))
    again.close()


@pytest.mark.spec("KR-92")
def test_of_two_services_on_one_copy_one_stops(platform: SimPlatform) -> None:
    """Before it writes, and, if both wrote at once, before it answers."""
    first, second = witness(platform), witness(platform)
    first.opened(head(3))
    second.opened(head(3))
    first.committing(head(3))
    second.committing(head(3))
    first.committed(head(3), head(4))
    with pytest.raises(TamperedError) as e:
        second.committed(head(3), head(4))
    assert e.value.code == "state.forked"
    with pytest.raises(TamperedError) as e:
        second.committing(head(3))
    assert e.value.code == "state.forked"
    first.committing(head(4))
