"""Members of a real service: a race for the last places, and a service that is killed meanwhile.

`CLOISTER_KILLS` sets how often it is killed (20 unless told).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import digest_to_text
from cloister.errors import CloisterError, EvidenceError
from cloister.keyservice.bundle import Bundle
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.member_client import MemberClient
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.keyservice.transport import HTTPTransport
from cloister.tee.sim.attester import SimAttester
from integration.test_keyservice_process import Server

KILLS = int(os.environ.get("CLOISTER_KILLS", "20"))
MAXIMUM = 3
RUNTIME = b"q" * 32
Result = TypeVar("Result")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running service of a new domain."""
    domain = TrustDomain.create(tmp_path / "domain", "example.test", moment=read_clock())
    server = Server(domain)
    yield server
    if server.process.poll() is None:
        server.kill()


@pytest.fixture
def policy(server: Server) -> bytes:
    """A policy with `MAXIMUM` places."""
    text = f"""
policy: cloister/v1
name: p
namespace: lab
predecessor: none
certificate_lifetime: 3600
roots_of_trust:
  sim:
    anchors: ["{server.domain.anchors["sim"][0].text}"]
    measurement: {{unchecked: "under test here"}}
    minimum_svn: 1
    debug: refused
volumes: {{}}
workloads:
  w:
    code: {{digests: ["{digest_to_text(RUNTIME)}"]}}
    runtime: ["{digest_to_text(RUNTIME)}"]
    command: [python, /code/x.py]
    environment: {{}}
    volumes: {{}}
    listen: {{}}
    instances: {{maximum: {MAXIMUM}}}
    output: {{logs: pass}}
"""
    canonical = canonical_bytes(parse_policy(text.encode(), source="p.yaml"))
    return server.owner().apply_policy(canonical)


def again(step: Callable[[], Result]) -> Result:
    """Repeat what a restart between challenge and answer made fail."""
    while True:
        try:
            return step()
        except EvidenceError as e:
            if e.code != "evidence.expired":
                raise


class Machine:
    """One machine that wants to work, with a key of its own."""

    def __init__(self, server: Server, policy: bytes, number: int) -> None:
        """It knows what it runs, and which policy."""
        self._pinned = PinnedService(server.domain.identity, server.domain.origin)
        self._transport = HTTPTransport(server.url)
        self._client = ReleaseClient(
            self._transport, self._pinned, clock=read_clock, deadline_s=60.0
        )
        self._attester = SimAttester(server.domain.platform())
        self._policy = policy
        self.instance = f"run-{number}"
        self.changes = 0
        self.problem: CloisterError | None = None

    def join(self) -> Bundle:
        """Attest."""
        return self._client.release(
            policy=self._policy,
            workload="w",
            instance=self.instance,
            measurement=LaunchMeasurement(RUNTIME, RUNTIME),
            attester=self._attester,
        ).bundle

    def member(self, bundle: Bundle) -> MemberClient:
        """Its own operations."""
        return MemberClient(
            self._transport, self._pinned, bundle, clock=read_clock, deadline_s=60.0
        )

    def work(self, done: threading.Event) -> None:
        """Join, look around, renew, leave; over and over."""
        epoch = 0
        try:
            while not done.is_set():
                try:
                    member = self.member(again(self.join))
                except CloisterError as e:
                    if e.code != "release.too-many":
                        raise
                    continue
                assert member.epoch > epoch
                again(self.join)
                roster = member.roster()
                assert self.instance in [each.instance for each in roster.members]
                assert len(roster.members) <= MAXIMUM
                again(member.leave)
                epoch = member.epoch
                self.changes += 2
        except CloisterError as e:
            self.problem = e

    def close(self) -> None:
        """Leave no connection behind."""
        self._transport.close()


@pytest.mark.spec("MEM-12")
def test_many_machines_race_for_the_last_places(server: Server, policy: bytes) -> None:
    """As many as the policy allows are let in, whoever they are, and the others are told why."""
    machines = [Machine(server, policy, number) for number in range(8)]

    def attempt(machine: Machine) -> str:
        try:
            machine.join()
        except CloisterError as e:
            return e.code
        return ""

    with ThreadPoolExecutor(len(machines)) as pool:
        codes = list(pool.map(attempt, machines))
    assert sorted(codes) == [""] * MAXIMUM + ["release.too-many"] * (8 - MAXIMUM)
    status = server.owner().job_status("lab", "p")
    assert (status.epoch, status.roles["w"]) == (MAXIMUM, (MAXIMUM, MAXIMUM))
    for machine in machines:
        machine.close()


@pytest.mark.spec("MEM-2", "MEM-3", "MEM-4")
def test_sigkill_between_commit_and_answer_loses_no_member(server: Server, policy: bytes) -> None:
    """Whoever asks again after a lost answer is the member that it became, and takes one place.

    Every machine leaves in the end: then nobody is left, and the epoch has risen with every join
    and leave that was acknowledged.
    """
    machines = [Machine(server, policy, number) for number in range(MAXIMUM + 1)]
    done = threading.Event()
    threads = [threading.Thread(target=machine.work, args=(done,)) for machine in machines]
    for thread in threads:
        thread.start()
    epoch = 0
    for number in range(KILLS):
        time.sleep(0.05 + (number * 37 % 101) / 1000)
        server.kill()
        server.start()
        status = server.owner().job_status("lab", "p")
        assert status.epoch >= epoch
        assert status.roles["w"][0] <= MAXIMUM
        epoch = status.epoch
    done.set()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert [machine.problem for machine in machines] == [None] * len(machines)
    changes = sum(machine.changes for machine in machines)
    status = server.owner().job_status("lab", "p")
    assert status.epoch >= changes > 0
    assert status.roles["w"][0] == 0
    for machine in machines:
        machine.close()
