"""Replicas of one key service over PostgreSQL, as processes, behind a load balancer.

The balancer here is a transport that sends each request to the next replica: with two of them a
nonce is never spent where it was given out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import digest_to_text, sha256
from cloister.errors import CloisterError, TamperedError, UnavailableError
from cloister.keyservice.anchors import KeyServiceAnchor
from cloister.keyservice.approvals import Approval
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.log import LogEntry, verify_receipt
from cloister.keyservice.messages import RELEASE_PATH, Failure, SignedReply
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.keyservice.rekey import Rekey
from cloister.keyservice.rekeying import change_state_key
from cloister.keyservice.restoring import Place
from cloister.keyservice.transport import HTTPTransport
from cloister.tee.sim.attester import SimAttester
from cloister.testing.postgres import PostgresServer

VOLUME, RUNTIME = b"v" * 16, b"q" * 32


class Replica:
    """One server process."""

    def __init__(self, domain: TrustDomain, address: str, *arguments: str) -> None:
        """Start it and wait until it is ready, or has failed."""
        command = [sys.executable, "-m", "cloister.keyservice.server", "--domain"]
        command += [str(domain.directory), "--listen", "127.0.0.1:0", "--database", address]
        self.process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.facts = json.loads(self.process.stdout.readline())
        self.transport = HTTPTransport(self.facts["url"]) if "url" in self.facts else None

    def end(self) -> str:
        """Kill it; returns its log."""
        self.process.kill()
        log = self.process.communicate(timeout=30)[1].decode()
        if self.transport is not None:
            self.transport.close()
        return log


class Cluster:
    """A domain, its database, and replicas in turn; a `Transport`."""

    def __init__(self, domain: TrustDomain, address: str, replicas: int = 2) -> None:
        """Start the replicas."""
        self.domain = domain
        self.address = address
        self.replicas = [Replica(domain, address, "--lease-ttl", "3") for _ in range(replicas)]
        self._turn = count()
        self.sent: list[tuple[str, bytes]] = []

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """Send to the next replica, once: what a lost request has done is not known."""
        self.sent.append((path, body))
        transport = self.replicas[next(self._turn) % len(self.replicas)].transport
        assert transport is not None
        return transport.post(path, body, timeout_s=timeout_s)

    def end(self) -> str:
        """Kill all; returns their logs."""
        return "".join(replica.end() for replica in self.replicas)

    @property
    def pinned(self) -> PinnedService:
        """What clients pin."""
        return PinnedService(self.domain.identity, self.domain.origin)

    def owner(self, deadline_s: float = 30.0) -> OwnerClient:
        """The owner."""
        return OwnerClient(
            self,
            self.pinned,
            owner=self.domain.owner_key(),
            reference=self.domain.service,
            clock=read_clock,
            deadline_s=deadline_s,
        )

    def anchor(self, lease: object, deadline_s: float = 30.0) -> KeyServiceAnchor:
        """A writer's anchor."""
        return KeyServiceAnchor(
            self,
            self.pinned,
            volume=VOLUME,
            lease=lease,
            clock=read_clock,
            deadline_s=deadline_s,
        )

    def release(self, policy: bytes, instance: str) -> bytes:
        """One release by a new requester; returns the volume's key, after checking the receipt."""
        found = ReleaseClient(self, self.pinned, clock=read_clock).release(
            policy=policy,
            workload="w",
            instance=instance,
            measurement=LaunchMeasurement(RUNTIME, RUNTIME),
            attester=SimAttester(self.domain.platform()),
        )
        entry = verify_receipt(
            found.bundle.receipt, service=self.domain.identity, origin=self.domain.origin
        )
        assert entry.instance == instance
        return found.bundle.volumes["/data"].keys.newest

    def apply_policy(self) -> bytes:
        """A policy with one reader of the volume."""
        text = f"""
policy: cloister/v1
name: p
namespace: lab
predecessor: none
roots_of_trust:
  sim:
    anchors: ["{self.domain.anchors["sim"][0].text}"]
    measurement: {{unchecked: "under test here"}}
    minimum_svn: 1
    debug: refused
volumes:
  data: {{id: "{VOLUME.hex()}", root: latest}}
workloads:
  w:
    code: {{digests: ["{digest_to_text(RUNTIME)}"]}}
    runtime: ["{digest_to_text(RUNTIME)}"]
    command: [python, /code/x.py]
    environment: {{}}
    volumes:
      /data: {{volume: data, access: read}}
    listen: {{}}
    output: {{logs: pass}}
"""
        canonical = canonical_bytes(parse_policy(text.encode(), source="p.yaml"))
        return self.owner().apply_policy(canonical)


def register(owner: OwnerClient, domain: TrustDomain, volume: bytes) -> None:
    """Register a volume that was never committed."""
    owner.register_volume(
        volume,
        key=sha256(volume),
        version=0,
        root=bytes(32),
        kind="data",
        service_hpke=domain.hpke,
    )


@pytest.fixture
def address(postgres: PostgresServer) -> str:
    """The address of an empty database."""
    return postgres.address(postgres.database())


@pytest.fixture
def domain(address: str, tmp_path: Path) -> TrustDomain:
    """A trust domain whose state is there."""
    return TrustDomain.create(
        tmp_path / "domain",
        "example.test",
        moment=read_clock(),
        url="http://127.0.0.1:1",
        database=address,
    )


@pytest.fixture
def cluster(domain: TrustDomain, address: str) -> Iterator[Cluster]:
    """Two replicas with a volume."""
    cluster = Cluster(domain, address)
    register(cluster.owner(), domain, VOLUME)
    yield cluster
    cluster.end()


def database_of(address: str) -> str:
    """The name in an address."""
    return address.partition("?")[0].rpartition("/")[2]


@pytest.mark.spec("KS-41", "KR-11", "KR-15")
def test_requests_of_one_client_may_go_anywhere(cluster: Cluster) -> None:
    """Challenges, policies, leases and anchors; and what was spent at one is spent at both."""
    policy = cluster.apply_policy()
    for number in range(5):
        assert cluster.release(policy, f"run-{number}") == sha256(VOLUME)
    lease = cluster.owner().take_lease(VOLUME).lease
    anchor = cluster.anchor(lease)
    for version in range(6):
        old = sha256(bytes([version])) if version else bytes(32)
        anchor.advance(
            version=version,
            root=old,
            new_version=version + 1,
            new_root=sha256(bytes([version + 1])),
        )
    assert anchor.state().version == 6
    path, body = next((p, b) for p, b in reversed(cluster.sent) if p == RELEASE_PATH)
    for _ in cluster.replicas:
        answer = SignedReply.from_bytes(cluster.post(path, body, timeout_s=10)).open(
            path=path, request=body, service=cluster.domain.identity
        )
        assert isinstance(answer, Failure)
        assert answer.code == "evidence.replayed"


@pytest.mark.spec("KR-41", "KR-46")
def test_a_lease_that_is_renewed_at_one_replica_runs_at_the_other(cluster: Cluster) -> None:
    """And lapses there once nobody renews it."""
    first, second = cluster.replicas
    lease = cluster.owner().take_lease(VOLUME).lease
    cluster.replicas = [first]
    holder = cluster.anchor(lease)
    began = time.monotonic()
    refused: list[tuple[float, str]] = []
    while not refused or refused[-1][0] < 6:
        cluster.replicas = [first]
        holder.renew()
        cluster.replicas = [second]
        with pytest.raises(UnavailableError) as e:
            cluster.owner(deadline_s=1).take_lease(VOLUME)
        refused.append((time.monotonic() - began, e.value.code))
        time.sleep(0.1)
    # After three seconds the lease would have lapsed; a busy machine may be slow to say so.
    assert "volume.leased" in {code for at, code in refused if at > 4}
    assert {code for _, code in refused} <= {"volume.leased", "keyservice.slow"}
    assert cluster.owner().take_lease(VOLUME).lease.epoch > lease.epoch
    cluster.replicas = [first, second]


@pytest.mark.spec("BR-56", "KS-77")
def test_replicas_answer_on_while_the_state_key_changes(cluster: Cluster) -> None:
    """Twice, by a command beside them: nobody is refused, and the log is the same for both."""
    policy = cluster.apply_policy()
    done = threading.Event()
    problems: list[CloisterError] = []
    released: list[str] = []

    def run() -> None:
        while not done.is_set():
            try:
                cluster.release(policy, f"run-{len(released)}")
                cluster.owner().read_log(first=0, count=50, old=None)
            except CloisterError as e:
                problems.append(e)
                return
            released.append("")

    worker = threading.Thread(target=run)
    worker.start()
    place = Place(cluster.domain.keyservice_directory, cluster.address, cluster.domain.platform())
    names = []
    for later in range(2):
        while len(released) < 3 * (later + 1) and not problems:
            time.sleep(0.01)
        at = read_clock().at
        statement = Rekey(cluster.domain.identity, place.platform.anchor, at + later)
        yes = Approval.make(statement.subject, key=cluster.domain.owner_key(), expires_at=at + 60)
        names.append(change_state_key(place, statement, [yes], at=at).name)
    before = len(released)
    while len(released) < before + 3 and not problems:
        time.sleep(0.01)
    done.set()
    worker.join()
    assert problems == []
    assert len(set(names)) == 2
    logs = [cluster.owner().read_log(first=0, count=1000, old=None)[0] for _ in cluster.replicas]
    assert logs[0][: len(logs[1])] == logs[1][: len(logs[0])]
    operations = [entry.operation for entry in logs[0] if isinstance(entry, LogEntry)]
    assert operations.count("state.rekey") == 2
    assert operations.count("release") == len(released)
    assert [replica.process.poll() for replica in cluster.replicas] == [None, None]


@pytest.mark.spec("KR-91")
def test_replicas_and_the_database_die_and_nothing_acknowledged_is_lost(
    cluster: Cluster, postgres: PostgresServer
) -> None:
    """Killed at random points while volumes are registered from two sides."""
    done = threading.Event()
    registered: list[bytes] = []
    problems: list[CloisterError] = []

    def run(side: int) -> None:
        owner = cluster.owner(deadline_s=60)
        for number in count(1):
            if done.is_set():
                return
            volume = bytes([side]) * 8 + number.to_bytes(8, "big")
            try:
                register(owner, cluster.domain, volume)
            except CloisterError as e:
                problems.append(e)
                return
            registered.append(volume)

    threads = [threading.Thread(target=run, args=(side,)) for side in (1, 2)]
    for thread in threads:
        thread.start()
    for number in range(6):
        time.sleep(0.2 + (number * 37 % 101) / 500)
        if number % 3 == 2:
            postgres.kill()
            postgres.start()
            continue
        old = cluster.replicas[number % 2]
        old.process.kill()
        cluster.replicas[number % 2] = Replica(cluster.domain, cluster.address)
        old.end()
    end = time.monotonic() + 60  # a busy machine registers few while things die
    while len(registered) < 6 and not problems and time.monotonic() < end:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join(timeout=90)
    assert [f"{problem} {problem.detail}" for problem in problems] == []
    assert len(registered) > 5
    present = [record["id"] for record in cluster.owner().status().volumes]
    assert set(registered) <= set(present)
    entries, checkpoint = cluster.owner().read_log(first=0, count=1000, old=None)
    assert len(entries) == min(checkpoint.size, 1000)


@pytest.mark.spec("KS-40")
def test_a_database_that_is_away_refuses_and_comes_back(
    cluster: Cluster, postgres: PostgresServer
) -> None:
    """With a code of its own that clients ask again for; no replica stops."""
    postgres.kill()
    with pytest.raises(UnavailableError) as e:
        cluster.owner(deadline_s=1).status()
    assert e.value.code == "keyservice.database"
    timer = threading.Timer(1.0, postgres.start)
    timer.start()
    assert len(cluster.owner().status().volumes) == 1
    timer.join()
    assert all(replica.process.poll() is None for replica in cluster.replicas)


@pytest.mark.spec("KR-92", "KS-42")
def test_two_copies_of_the_database_are_not_both_served(
    cluster: Cluster, postgres: PostgresServer
) -> None:
    """The operator copies the database and sends one replica there: it stops."""
    for replica in cluster.replicas:
        replica.end()
    copy = postgres.address(postgres.database(template=database_of(cluster.address)))
    cluster.replicas = [Replica(cluster.domain, cluster.address), Replica(cluster.domain, copy)]
    both = cluster.replicas
    cluster.replicas = both[:1]
    register(cluster.owner(), cluster.domain, b"1" * 16)
    cluster.replicas = both[1:]
    with pytest.raises(TamperedError) as e:
        register(cluster.owner(deadline_s=1), cluster.domain, b"2" * 16)
    assert e.value.code == "state.rolled-back"
    assert both[1].process.wait(timeout=30) == TamperedError.exit_status
    cluster.replicas = both[:1]
    assert len(cluster.owner().status().volumes) == 2
    cluster.replicas = both


@pytest.mark.spec("KR-92")
def test_an_older_database_is_not_served(
    cluster: Cluster, postgres: PostgresServer, domain: TrustDomain
) -> None:
    """Not at the start, and not when the operator puts it in place of the newer one."""
    for replica in cluster.replicas:
        replica.end()
    older = postgres.address(postgres.database(template=database_of(cluster.address)))
    cluster.replicas = [Replica(domain, cluster.address)]
    register(cluster.owner(), domain, b"1" * 16)
    refused = Replica(domain, older)
    assert refused.facts["error"]["code"] == "state.rolled-back"
    refused.end()
    postgres.sql(
        database_of(cluster.address),
        "DELETE FROM cloister.records"
        " WHERE sequence = (SELECT max(sequence) FROM cloister.records)",
    )
    refused = Replica(domain, cluster.address)
    assert refused.facts["error"]["code"] == "state.rolled-back"
    refused.end()


def test_nothing_secret_is_in_the_logs_of_replicas(
    domain: TrustDomain, address: str, postgres: PostgresServer
) -> None:
    """Nor the database's address, when it goes away."""
    cluster = Cluster(domain, address)
    register(cluster.owner(), domain, VOLUME)
    postgres.kill()
    with pytest.raises(UnavailableError):
        cluster.owner(deadline_s=1).status()
    postgres.start()
    log = cluster.end()
    assert "keyservice.database" in log
    assert sha256(VOLUME).hex() not in log
    assert "postgresql://" not in log


def test_a_replica_needs_an_address_of_its_own(domain: TrustDomain, address: str) -> None:
    """The unix socket in the domain's directory belongs to one service."""
    command = [sys.executable, "-m", "cloister.keyservice.server", "--domain"]
    done = subprocess.run(
        [*command, str(domain.directory), "--database", address],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert json.loads(done.stdout)["error"]["code"] == "config.value"
