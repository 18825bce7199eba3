"""The operator puts back all that he owns, the platform's counter too. The witnesses remember.

Real witness processes over HTTP; the key service is the real one, in this process.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.errors import TamperedError, UnavailableError
from cloister.keyservice.approvals import Approval
from cloister.keyservice.auditing import read_leaf
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.log import StateCommitment
from cloister.keyservice.restoring import (
    Place,
    back_up,
    newest_number,
    propose_reset,
    reset,
)
from cloister.keyservice.service import KeyService
from cloister.keyservice.store import Store
from cloister.keyservice.witnessing import WitnessCircle
from cloister.testing.keyservice import DATA_ID, MEASUREMENT, ServiceBench, policy_text
from integration.witnesses import WitnessProcess

DEADLINE_S = 5.0


class Watched:
    """A trust domain whose key service has three witnesses and needs two."""

    def __init__(self, folder: Path) -> None:
        """Start the witnesses, then the service."""
        self.folder = folder
        self.bench = ServiceBench.create(folder)
        key, origin = self.bench.domain.identity, self.bench.domain.origin
        self.witnesses = [
            WitnessProcess(folder / f"w{number}", origin=origin, key=key) for number in range(3)
        ]
        self.bench.service = self.service(self.bench.store)

    def service(self, store: Store) -> KeyService:
        """A service over a state, that shows it to the witnesses before it answers anything."""
        endpoints = [each.endpoint() for each in self.witnesses]
        circle = WitnessCircle(endpoints, required=2, deadline_s=DEADLINE_S)
        return KeyService(
            store, moment=self.bench.clock(), attester=self.bench.attester(), witnesses=circle
        )

    def release(self, policy: bytes) -> None:
        """Have a workload admitted."""
        self.bench.release_client().release(
            policy=policy,
            workload="train",
            instance="run-1",
            measurement=MEASUREMENT,
            attester=self.bench.attester(),
        )

    def copy(self, name: str) -> TrustDomain:
        """Copy the whole domain: state, platform and counter."""
        shutil.copytree(self.bench.domain.directory, self.folder / name)
        return TrustDomain.load(self.folder / name)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A domain with its witnesses."""
    found = Watched(tmp_path)
    yield found
    for witness in found.witnesses:
        witness.end(signal.SIGKILL)


def opened(domain: TrustDomain) -> Store:
    """Open the state of a domain."""
    return Store.open(domain.keyservice_directory, domain.platform())


@pytest.mark.spec("KS-33")
def test_everything_put_back_is_refused(watched: Watched) -> None:
    """State and counter of yesterday agree with each other, and not with the witnesses."""
    bench = watched.bench
    bench.register_volumes()
    yesterday = watched.copy("yesterday")
    policy = bench.apply(policy_text(bench))
    watched.release(policy)
    bench.close()
    store = opened(yesterday)
    with pytest.raises(TamperedError) as e:
        watched.service(store)
    assert e.value.code == "state.rolled-back"
    store.close()


@pytest.mark.spec("KS-33")
def test_of_two_services_on_one_copy_one_stops(watched: Watched) -> None:
    """Each with a platform of its own; the first to go on is the service, the other nobody."""
    bench = watched.bench
    bench.register_volumes()
    twin = watched.copy("twin")
    store = opened(twin)
    other = watched.service(store)
    policy = bench.apply(policy_text(bench))
    watched.release(policy)
    bench.service, real = other, bench.service
    with pytest.raises(UnavailableError) as e:
        bench.owner().volume_key(DATA_ID)
    assert e.value.code == "keyservice.witnesses"
    bench.service = real
    bench.owner().volume_key(DATA_ID)
    with pytest.raises(TamperedError) as tampered:
        watched.service(store)
    assert tampered.value.code in {"state.rolled-back", "state.forked"}
    store.close()
    bench.close()


@pytest.mark.spec("KS-33")
def test_nothing_is_answered_that_too_few_have_seen(watched: Watched) -> None:
    """Two of three are enough, one is not; afterwards the service goes on."""
    bench = watched.bench
    watched.witnesses[0].end(signal.SIGKILL)
    bench.register_volumes()
    watched.witnesses[1].end(signal.SIGKILL)
    with pytest.raises(UnavailableError) as e:
        bench.owner().volume_key(DATA_ID)
    assert e.value.code == "keyservice.witnesses"
    for number in (0, 1):
        watched.witnesses[number].start()
    bench.owner().volume_key(DATA_ID)
    bench.close()


@pytest.mark.spec("KS-33")
def test_the_log_says_that_the_state_changed_and_nothing_of_how(watched: Watched) -> None:
    """One commitment for each change, anchors moved included; the owner gets the cosigned note."""
    bench = watched.bench
    bench.register_volumes()
    lease = bench.owner().take_lease(DATA_ID).lease
    assert lease is not None
    before = bench.store.log_size
    bench.anchor(DATA_ID, lease).advance(
        version=0, root=bytes(32), new_version=1, new_root=b"1" * 32
    )
    leaves = [read_leaf(entry) for entry in bench.store.entries(before, 10)]
    assert [type(leaf) for leaf in leaves] == [StateCommitment]
    page = bench.owner().read_log_page(first=0, count=100, old_size=0)
    assert page.note.count("\n\N{EM DASH} ") >= 3
    bench.close()


@pytest.mark.spec("BR-19", "KS-33")
def test_witnesses_do_not_forget_what_was_given_up(watched: Watched, tmp_path: Path) -> None:
    """A reset that was approved is still another history to them; others have to be found."""
    bench = watched.bench
    bench.register_volumes()
    place = Place(bench.domain.keyservice_directory, "", bench.platform)
    path = tmp_path / "backup"
    back_up(place, path, progress=lambda _done, _total: None)
    bench.owner().volume_key(DATA_ID)
    bench.close()
    shutil.rmtree(bench.domain.keyservice_directory)
    bench.domain.keyservice_directory.mkdir(mode=0o700)
    statement = propose_reset(
        path,
        service=bench.domain.identity,
        platform=bench.platform.anchor,
        given_up=newest_number(bench.platform),
        at=bench.clock.at,
    )
    yes = Approval.make(statement.subject, key=bench.owner_key, expires_at=bench.clock.at + 60)
    reset(path, place, statement, [yes], unlock=place.unlock, at=bench.clock.at)
    store = opened(bench.domain)
    with pytest.raises(TamperedError) as e:
        watched.service(store)
    assert e.value.code in {"state.rolled-back", "state.forked"}
    fresh = [
        WitnessProcess(
            tmp_path / f"fresh{n}", origin=bench.domain.origin, key=bench.domain.identity
        )
        for n in range(2)
    ]
    watched.witnesses += fresh
    circle = WitnessCircle([each.endpoint() for each in fresh], required=2, deadline_s=DEADLINE_S)
    bench.service = KeyService(
        store, moment=bench.clock(), attester=bench.attester(), witnesses=circle
    )
    bench.owner().volume_key(DATA_ID)
    store.close()
