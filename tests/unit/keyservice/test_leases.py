"""One writer for each volume."""

import pytest

from cloister.errors import ReleaseDeniedError, UnavailableError
from cloister.keyservice.leases import (
    AnchorMove,
    LeaseTable,
    advance,
    released,
    require_epoch,
    take,
)
from cloister.keyservice.records import Holder, VolumeRecord

FREE = VolumeRecord(
    id=b"v" * 16,
    key=b"k" * 32,
    kind="data",
    version=4,
    root=b"4" * 32,
    state_epoch=2,
    epoch=7,
    holder=None,
)
ANN, BOB = Holder(b"a" * 32, b"A" * 32), Holder(b"b" * 32, b"B" * 32)


@pytest.mark.spec("KR-40")
def test_each_lease_has_a_new_epoch() -> None:
    """Epochs only grow."""
    table = LeaseTable(ttl_s=15, uptime=0)
    taken = take(FREE, ANN, table, uptime=0)
    assert (taken.epoch, taken.holder) == (8, ANN)
    assert take(taken, ANN, table, uptime=0).epoch == 9


@pytest.mark.spec("KR-41")
def test_a_running_lease_refuses_another_holder() -> None:
    """The sentence says for how long."""
    table = LeaseTable(ttl_s=15, uptime=0)
    taken = take(FREE, ANN, table, uptime=100)
    table.extend(FREE.id, uptime=100)
    with pytest.raises(UnavailableError) as e:
        take(taken, BOB, table, uptime=112.5)
    assert e.value.code == "volume.leased"
    assert "3 s" in e.value.public
    assert take(taken, BOB, table, uptime=115).epoch == 9


@pytest.mark.spec("KR-44")
def test_after_a_restart_a_held_lease_runs_for_a_full_lifetime() -> None:
    """Nobody knows how much of it had passed."""
    taken = take(FREE, ANN, LeaseTable(ttl_s=15, uptime=0), uptime=0)
    restarted = LeaseTable(ttl_s=15, uptime=500)
    with pytest.raises(UnavailableError):
        take(taken, BOB, restarted, uptime=514)
    assert take(taken, BOB, restarted, uptime=515).holder == BOB


@pytest.mark.spec("KR-43")
def test_expiry_alone_fences_nobody() -> None:
    """The holder may go on until another has taken the lease."""
    taken = take(FREE, ANN, LeaseTable(ttl_s=15, uptime=0), uptime=0)
    assert require_epoch(taken, taken.epoch) == ANN


@pytest.mark.spec("KR-52")
@pytest.mark.parametrize("epoch", [0, 7, 9])
def test_another_epoch_is_fenced(epoch: int) -> None:
    """Only the newest epoch counts."""
    taken = take(FREE, ANN, LeaseTable(ttl_s=15, uptime=0), uptime=0)
    with pytest.raises(ReleaseDeniedError) as e:
        require_epoch(taken, epoch)
    assert e.value.code == "release.fenced"


@pytest.mark.spec("KR-56")
def test_a_released_lease_is_over() -> None:
    """Nobody holds a free volume."""
    with pytest.raises(ReleaseDeniedError) as e:
        require_epoch(FREE, FREE.epoch)
    assert e.value.code == "release.fenced"


@pytest.mark.spec("KR-53", "KR-54")
def test_advance_is_compare_and_swap_and_idempotent() -> None:
    """From the right state it moves, at the new state it is done, elsewhere it is fenced."""
    move = AnchorMove(4, b"4" * 32, 5, b"5" * 32)
    moved = advance(FREE, move)
    assert moved is not None
    assert (moved.version, moved.root, moved.state_epoch) == (5, b"5" * 32, 7)
    assert advance(moved, move) is None
    with pytest.raises(ReleaseDeniedError) as e:
        advance(moved, AnchorMove(4, b"4" * 32, 5, b"x" * 32))
    assert e.value.code == "release.fenced"


@pytest.mark.spec("MEM-19")
def test_a_displaced_holder_keeps_nobody_waiting() -> None:
    """Its lease ends, and only its own; the epoch goes on rising."""
    table = LeaseTable(ttl_s=15, uptime=0)
    taken = take(FREE, ANN, table, uptime=100)
    table.extend(FREE.id, uptime=100)
    assert released(taken, {BOB.key_digest}) is taken
    assert released(FREE, {ANN.key_digest}) is FREE
    freed = released(taken, {ANN.key_digest})
    assert freed.holder is None
    assert take(freed, BOB, table, uptime=101).epoch == taken.epoch + 1
