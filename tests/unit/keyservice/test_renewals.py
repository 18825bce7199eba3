"""Leases that other replicas have renewed."""

from pathlib import Path

import pytest

from cloister.errors import UnavailableError
from cloister.keyservice.clock import Moment
from cloister.keyservice.leases import LeaseTable, take
from cloister.keyservice.records import Holder, VolumeRecord
from cloister.keyservice.renewals import Renewals
from cloister.keyservice.statetime import StateTime
from cloister.keyservice.store import Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.state import MemoryBackend, MemoryFreshness, founded

ANN, BOB = Holder(b"a" * 32, b"A" * 32), Holder(b"b" * 32, b"B" * 32)
HELD = VolumeRecord(b"v" * 16, b"k" * 32, "data", 4, b"4" * 32, 2, 7, ANN)
NOW = 1_800_000_000


class Replica:
    """One replica's view of leases of 15 seconds; its uptime has nothing to do with others'."""

    def __init__(self, backend: MemoryBackend, platform: SimPlatform, *, uptime: float) -> None:
        """Open the state at time 0."""
        self.backend = backend
        self.store = Store.load(backend, platform, MemoryFreshness())
        self.time = StateTime(self.store)
        self.uptime = uptime
        others = Renewals(self.store, self.time, ttl_s=15)
        self.table = LeaseTable(ttl_s=15, uptime=uptime, others=others)

    def renew(self, second: float) -> bool:
        """Renew the lease; says whether that wrote a record."""
        before = len(self.backend.rows)
        with self.store.group():
            self.time.read(Moment(NOW + int(second), self.uptime + second))
            self.table.extend(HELD.id, uptime=self.uptime + second)
        return len(self.backend.rows) > before

    def taken(self, second: float) -> bool:
        """Whether somebody else could take the lease here."""
        with self.store.group():
            self.time.read(Moment(NOW + int(second), self.uptime + second))
            try:
                take(HELD, BOB, self.table, uptime=self.uptime + second)
            except UnavailableError as e:
                return e.code != "volume.leased"
        return True


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Replica, Replica]:
    """Two replicas of one state."""
    platform = SimPlatform.create(tmp_path / "platform", svn=1, debug=False)
    backend = founded(platform, shared=True)
    return Replica(backend, platform, uptime=5.0), Replica(backend, platform, uptime=90000.0)


@pytest.mark.spec("KR-46")
def test_a_lease_that_another_replica_renews_runs_here_too(pair: tuple[Replica, Replica]) -> None:
    """For a third longer than it would there, since not every renewal is written down."""
    first, second = pair
    for now in range(100, 160, 4):
        first.renew(now)
        assert not second.taken(now)
    assert not second.taken(156 + 15)
    assert second.taken(156 + 15 + 15 // 3 + 2)


@pytest.mark.spec("KR-46")
def test_renewals_are_written_down_coarsely(pair: tuple[Replica, Replica]) -> None:
    """Not more often than each third of a lifetime."""
    written = [now for now in range(100, 130) if pair[0].renew(now)]
    assert written == [100, 105, 110, 115, 120, 125]


@pytest.mark.spec("KR-46")
def test_a_lease_that_nobody_renews_lapses_everywhere(pair: tuple[Replica, Replica]) -> None:
    """Whoever renewed it."""
    first, second = pair
    first.renew(100)
    second.renew(101)
    assert not first.taken(110)
    assert first.taken(130)
    assert second.taken(130)


@pytest.mark.spec("KR-44")
def test_after_a_start_every_held_lease_runs_for_a_full_lifetime(
    pair: tuple[Replica, Replica],
) -> None:
    """Also where no renewal was ever written down."""
    assert not pair[0].taken(14)
    assert pair[0].taken(15)
