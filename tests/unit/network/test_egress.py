"""What leaves the shield is bounded: how much in a run, and how much in a second."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from cloister.network.addresses import AddressPlan
from cloister.network.egress import Budget
from cloister.network.opening import resolve
from cloister.network.rules import EgressRule
from cloister.testing.relays import WORKER, FakeJob, FakeNode

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
HOST = "mlflow.example.org"


def exactly(sock: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer at the end."""
    got = b""
    while len(got) < size and (data := sock.recv(size - len(got))):
        got += data
    return got


def test_a_budget_is_for_the_life_of_a_run() -> None:
    """What is over it is not taken in part."""
    budget = Budget(EgressRule(frozenset({1}), 100, 1000), now=0.0)
    assert budget.spend(60)
    assert not budget.spend(41)
    assert budget.spend(40)
    assert not budget.spend(1)


def test_a_second_fills_the_bucket_and_no_more() -> None:
    """However long nothing was sent."""
    budget = Budget(EgressRule(frozenset({1}), 10_000, 1000), now=0.0)
    assert budget.allowance(500.0) == 1000
    assert budget.spend(1000)
    assert budget.allowance(500.25) == 0
    assert budget.pause() == pytest.approx(0.75)
    assert budget.allowance(501.0) == 1000


@dataclass
class Outside:
    """A workload that may reach one host outside, and that host."""

    node: FakeNode
    listener: socket.socket
    stack: ExitStack

    def connected(self) -> tuple[socket.socket, socket.socket]:
        """The program's end, and the host's."""
        address = self.node.plan.egress_address(HOST)
        port = self.listener.getsockname()[1]
        ours = self.stack.enter_context(self.node.connect_to(address, port))
        theirs = self.stack.enter_context(self.listener.accept()[0])
        theirs.settimeout(10)
        return ours, theirs


@pytest.fixture
def outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    """As many bytes and as many in a second as the test says."""
    size, rate = getattr(request, "param", (1000, 1_000_000))
    resolve = socket.getaddrinfo

    def resolved(host: str, *rest: int, **more: int) -> object:
        return resolve("127.0.0.1" if host == HOST else host, *rest, **more)

    monkeypatch.setattr("cloister.network.opening.socket.getaddrinfo", resolved)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(10)
        port: int = listener.getsockname()[1]
        node = FakeNode(
            FakeJob.of({"worker": 1}, at=NOW),
            WORKER,
            opens={},
            accepts={},
            egress={HOST: EgressRule(frozenset({port}), size, rate)},
            clock=lambda: NOW,
            destinations=[
                (AddressPlan.of({"worker": 1}, [HOST]).egress_address(HOST), each)
                for each in (port, 1)
            ],
        )
        yield Outside(stack.enter_context(node), listener, stack)


def test_what_the_policy_names_is_reached(outside: Outside) -> None:
    """Both ways, each end by itself, and both are counted."""
    ours, theirs = outside.connected()
    ours.sendall(b"x" * 900)
    ours.shutdown(socket.SHUT_WR)
    assert exactly(theirs, 900) == b"x" * 900
    theirs.sendall(b"y" * 5000)
    theirs.close()
    assert exactly(ours, 5000) == b"y" * 5000
    counted = outside.node.relay.counters.egress[HOST]
    assert (counted.opened, counted.sent, counted.received) == (1, 900, 5000)


def test_a_name_below_localhost_is_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No resolver is asked, whatever it would say; other names are asked for."""
    asked: list[str] = []

    def resolver(host: str, *_rest: object, **_more: object) -> list[object]:
        asked.append(host)
        return []

    monkeypatch.setattr("cloister.network.opening.socket.getaddrinfo", resolver)
    for name in ("middle.localhost", "a.b.LOCALHOST"):
        assert resolve((name, 9)) == ((socket.AF_INET, ("127.0.0.1", 9)),)
    assert asked == []
    assert resolve(("localhost.example.org", 9)) == ()
    assert resolve(("notlocalhost", 9)) == ()
    assert asked == ["localhost.example.org", "notlocalhost"]


def test_more_than_the_policy_allows_is_reset_and_told(outside: Outside) -> None:
    """Over connections together; nothing of what was too much leaves."""
    first, there = outside.connected()
    first.sendall(b"x" * 600)
    assert exactly(there, 600) == b"x" * 600
    second, theirs = outside.connected()
    second.sendall(b"y" * 401)
    with pytest.raises(ConnectionResetError):
        second.recv(1)
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)
    told = outside.node.event("egress-bytes")
    assert (told.place, told.line) == (HOST, f"workloads.worker.egress.{HOST}.bytes")


@pytest.mark.parametrize("outside", [(1 << 20, 20_000)], indirect=True)
def test_a_rate_slows_down(outside: Outside) -> None:
    """The bucket's worth at once, and the rest as it fills."""
    ours, theirs = outside.connected()
    began = time.monotonic()
    ours.sendall(b"x" * 30_000)
    assert len(exactly(theirs, 30_000)) == 30_000
    assert 0.3 < time.monotonic() - began < 5


def test_a_port_that_the_policy_does_not_name(outside: Outside) -> None:
    """Of a host that it does."""
    address = outside.node.plan.egress_address(HOST)
    with pytest.raises(ConnectionResetError), outside.node.connect_to(address, 1) as ours:
        ours.recv(1)
    assert outside.node.event("port").line == f"workloads.worker.egress.{HOST}.ports: [1]"


def test_a_reset_goes_through(outside: Outside) -> None:
    """As on the way to a peer."""
    ours, theirs = outside.connected()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    with pytest.raises(ConnectionResetError):
        ours.recv(1)
