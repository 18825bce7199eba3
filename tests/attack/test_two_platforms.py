"""An operator with two platforms of one service serves two copies of its state: one stops.

Real server and witness processes over HTTP, and PostgreSQL.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.errors import CloisterError, UnavailableError
from cloister.keyservice.admitting import admit, join
from cloister.keyservice.approvals import Approval
from cloister.keyservice.clock import read_clock
from cloister.keyservice.cosigning import Quorum
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.platforms import Admission
from cloister.keyservice.recovering import prepare_platform
from cloister.keyservice.recovery_request import RecoveryRequest
from cloister.keyservice.restoring import Place
from cloister.tee.sim.attester import SimAttester
from cloister.testing.postgres import PostgresServer
from integration.test_keyservice_replicas import Replica, database_of, register
from integration.witnesses import WitnessProcess


class TwoPlatforms:
    """One service with replicas on two platforms, three witnesses, and a quorum of two."""

    def __init__(self, folder: Path, address: str) -> None:
        """Found it, start the witnesses, admit the second platform."""
        self.address = address
        self.domain = TrustDomain.create(
            folder / "domain", "example.test", moment=read_clock(), url="http://127.0.0.1:1",
            database=address,
        )  # fmt: skip
        self.witnesses = [
            WitnessProcess(folder / f"w{n}", origin=self.domain.origin, key=self.domain.identity)
            for n in range(3)
        ]
        prepare_platform(self.domain, folder / "second")
        self.second = TrustDomain.load(folder / "second")
        platform, at = self.second.platform(), read_clock().at
        asked = RecoveryRequest.make(self.domain.identity, platform, SimAttester(platform))
        admission = Admission(
            service=self.domain.identity,
            platform=platform.anchor,
            root_of_trust="sim",
            measurements=self.domain.service.measurements,
            minimum_svn=1,
            quorum=Quorum(tuple(each.key for each in self.witnesses), 2),
            at=at,
        )
        key = self.domain.owner_key()
        yes = Approval.make(admission.subject, key=key, expires_at=at + 600)
        grant = admit(self.place(self.domain), asked, admission, [yes], at=at)
        join(self.place(self.second), asked, grant)
        self.domain = self.domain.pin_platforms([*self.domain.service.anchors, platform.anchor])
        self.replicas: list[Replica] = []

    def place(self, domain: TrustDomain) -> Place:
        """Where the state is, for one platform."""
        return Place(domain.keyservice_directory, self.address, domain.platform())

    def start(self, domain: TrustDomain, address: str, *, witnesses: int = 3) -> Replica:
        """Start a replica on a platform, over a database."""
        words = [
            word
            for each in self.witnesses[:witnesses]
            for word in ("--witness", f"{each.url}={each.key.text}")
        ]
        quorum = ["--witness-quorum", "2"] if witnesses else []
        self.replicas.append(Replica(domain, address, *words, *quorum))
        return self.replicas[-1]

    def owner(self, replica: Replica, deadline_s: float = 30.0) -> OwnerClient:
        """The owner, at one replica."""
        assert replica.transport is not None, replica.facts
        return OwnerClient(
            replica.transport,
            PinnedService(self.domain.identity, self.domain.origin),
            owner=self.domain.owner_key(),
            reference=self.domain.service,
            clock=read_clock,
            deadline_s=deadline_s,
        )


@pytest.fixture
def two(tmp_path: Path, postgres: PostgresServer) -> Iterator[TwoPlatforms]:
    """A service on two platforms."""
    found = TwoPlatforms(tmp_path, postgres.address(postgres.database()))
    yield found
    for replica in found.replicas:
        replica.end()
    for witness in found.witnesses:
        witness.end(signal.SIGKILL)


@pytest.mark.spec("BR-43", "BR-45")
def test_both_platforms_serve_one_state(two: TwoPlatforms) -> None:
    """What one has answered, the other knows; each proves what it runs."""
    first, second = two.start(two.domain, two.address), two.start(two.second, two.address)
    for number in range(4):
        replica = (first, second)[number % 2]
        register(two.owner(replica), two.domain, bytes([number]) * 16)
    for replica in (first, second):
        assert len(two.owner(replica).status().volumes) == 4


@pytest.mark.spec("BR-45")
def test_no_replica_starts_without_the_witnesses(two: TwoPlatforms) -> None:
    """Neither platform, with none or with some of them."""
    for domain in (two.domain, two.second):
        for count in (0, 2):
            refused = two.start(domain, two.address, witnesses=count)
            assert refused.facts["error"]["code"] == "keyservice.witnesses"


@pytest.mark.spec("BR-45")
def test_of_two_copies_on_two_platforms_one_stops(
    two: TwoPlatforms, postgres: PostgresServer
) -> None:
    """Each platform's counter agrees with its copy; the witnesses have seen one log only."""
    first = two.start(two.domain, two.address)
    register(two.owner(first), two.domain, b"0" * 16)
    first.end()
    copy = postgres.address(postgres.database(template=database_of(two.address)))
    first, second = two.start(two.domain, two.address), two.start(two.second, copy)
    register(two.owner(first), two.domain, b"1" * 16)
    with pytest.raises(UnavailableError) as e:
        register(two.owner(second, deadline_s=1.0), two.domain, b"2" * 16)
    assert e.value.code == "keyservice.witnesses"
    second.end()
    again = two.start(two.second, copy)
    assert again.facts["error"]["code"] in {"state.forked", "state.rolled-back"}
    assert len(two.owner(first).status().volumes) == 2


@pytest.mark.spec("BR-45")
def test_an_older_copy_on_the_other_platform_does_not_start(
    two: TwoPlatforms, postgres: PostgresServer
) -> None:
    """Its counter knows nothing of what the first one did."""
    copy = postgres.address(postgres.database(template=database_of(two.address)))
    first = two.start(two.domain, two.address)
    register(two.owner(first), two.domain, b"1" * 16)
    older = two.start(two.second, copy)
    assert older.facts["error"]["code"] == "state.rolled-back"
    with pytest.raises(CloisterError):
        two.owner(first).volume_key(b"9" * 16)
