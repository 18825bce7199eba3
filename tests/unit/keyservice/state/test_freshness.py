"""The platform's counter as witness of the newest state."""

from pathlib import Path

import pytest

import cloister.keyservice.state.freshness as module
from cloister.errors import StateMovedError, TamperedError, UnavailableError
from cloister.keyservice.state.freshness import PlatformFreshness, SharedFreshness
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


def replica(platform: SimPlatform) -> SharedFreshness:
    """Open the counter as one of several replicas."""
    return SharedFreshness(platform.counter("test"))


@pytest.mark.spec("KS-42")
def test_a_replica_must_find_what_was_there_before_it_read(platform: SimPlatform) -> None:
    """And no more than that: another may have written while it read."""
    first, second = replica(platform), replica(platform)
    first.reading()
    first.opened(head(3))
    second.reading()
    first.committing(head(3))
    first.committed(head(3), head(4))
    second.opened(head(3))
    second.reading()
    with pytest.raises(TamperedError) as e:
        second.opened(head(3))
    assert e.value.code == "state.rolled-back"
    second.opened(head(4))


@pytest.mark.spec("KS-42")
def test_a_replica_that_is_behind_may_not_write(platform: SimPlatform) -> None:
    """It reads what the other wrote, and writes after that."""
    first, second = replica(platform), replica(platform)
    first.committing(head(0))
    first.committed(head(0), head(1))
    with pytest.raises(StateMovedError) as e:
        second.committing(head(0))
    assert e.value.code == "keyservice.moved"
    second.committing(head(1))
    second.committed(head(1), head(2))


@pytest.mark.spec("KS-42")
def test_one_replica_writes_at_a_time(
    platform: SimPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other waits, though not for ever; a failure or an end lets the next one in."""
    monkeypatch.setattr(module, "LOCK_WAIT_S", 0.05)
    first, second = replica(platform), replica(platform)
    first.committing(head(0))
    with pytest.raises(UnavailableError) as e:
        second.committing(head(0))
    assert e.value.code == "keyservice.busy"
    first.abandoned()
    second.committing(head(0))
    second.close()
    first.committing(head(0))
    first.committed(head(0), head(1))
