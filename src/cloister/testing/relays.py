"""Relays on the loopback of one machine, with a stage that makes ordinary sockets.

Everything between the two programs is real: TLS, certificates, roster, relays. Only the workloads'
networks are not: a program of a node listens at the node's own loopback address, and reaches
others through a listener for each destination.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from cloister.crypto.x509 import Identity
from cloister.network.addresses import AddressPlan, Task
from cloister.network.counters import Event
from cloister.network.loop import since_boot
from cloister.network.members import Members
from cloister.network.relay import Doors, Inner, Relay
from cloister.network.rules import ANY_PORT, EgressRule, Ports, ShieldRules
from cloister.network.tls import Credential
from cloister.testing.certificates import POLICY_HASH, FakeDomain

__all__ = ["PS", "WORKER", "FakeJob", "FakeNode", "Pair", "make_sockets", "running_pair"]

_FAR: Final = 1 << 40
PS, WORKER = Task("ps", 0), Task("worker", 0)
FORBIDDEN: Final = 1  # a port of the parameter server that its rules do not know


@dataclass
class FakeJob:
    """A job: its domain, its members, and where their relays answer."""

    counts: Mapping[str, int]
    domain: FakeDomain
    members: dict[str, int] = field(default_factory=dict)
    places: dict[Task, tuple[str, int]] = field(default_factory=dict)
    epoch: int = 0
    nodes: list[FakeNode] = field(default_factory=list)

    @classmethod
    def of(cls, counts: Mapping[str, int], *, at: int) -> FakeJob:
        """Begin a job in which nobody is yet."""
        return cls(counts, FakeDomain("clinic.example", at=at))

    def identity(self, task: Task, suffix: str = "00aa11bb") -> Identity:
        """Return who an instance of a task is."""
        return self.domain.identity(task.role, instance=f"{task.index}.{suffix}")

    def join(self, identity: Identity, *, expires: int = _FAR) -> None:
        """Put somebody on the roster, and tell everybody."""
        self.members[identity.uri] = expires
        self.tell()

    def expel(self, identity: Identity) -> None:
        """Take somebody off the roster, and tell everybody."""
        del self.members[identity.uri]
        self.tell()

    def tell(self) -> None:
        """Show everybody the newest roster."""
        self.epoch += 1
        for node in self.nodes:
            node.relay.update_members(self.members, epoch=self.epoch, fetched=since_boot())


class FakeNode:
    """One task with its relay, which runs while this is entered."""

    def __init__(
        self,
        job: FakeJob,
        task: Task,
        *,
        opens: Mapping[str, Ports],
        accepts: Mapping[str, Ports],
        egress: Mapping[str, EgressRule] | None = None,
        host: str = "127.0.0.1",
        clock: Callable[[], int],
        credential: Credential | None = None,
        destinations: Sequence[tuple[str, int]] = (),
        backlog: int = 64,
    ) -> None:
        """Make its sockets.

        Args:
            job: Which it joins when entered.
            task: Who it is.
            opens: As in `ShieldRules`.
            accepts: As there.
            egress: As there.
            host: The loopback address at which its program listens, and its relay.
            clock: Seconds since the epoch.
            credential: What it shows; by default one for `job.identity(task)`.
            destinations: Virtual addresses and ports that its program can connect to.
            backlog: Of its listeners.
        """
        self.job, self.task, self.host = job, task, host
        self.events: list[Event] = []
        self.plan = AddressPlan.of(job.counts, egress or ())
        self.inner = {each: socket.create_server(("127.0.0.1", 0)) for each in destinations}
        self.outer = socket.create_server((host, 0), backlog=backlog)
        mine, theirs = socket.socketpair()
        self._stage = threading.Thread(target=make_sockets, args=(mine,), daemon=True)
        identity = job.identity(task)
        self.relay = Relay(
            rules=ShieldRules(task, self.plan, opens, accepts, egress or {}),
            members=Members.nobody(identity, POLICY_HASH),
            credential=credential or job.domain.credential(task.role, instance=identity.instance),
            ca_pem=job.domain.ca_pem,
            doors=Doors(
                tuple(Inner(each, place) for place, each in self.inner.items()),
                self.outer,
                theirs,
                None,
                host,
            ),
            locate=job.places.get,
            report=self.events.append,
            clock=clock,
        )
        self._entry = {place: each.getsockname() for place, each in self.inner.items()}
        self.place: tuple[str, int] = self.outer.getsockname()
        self._thread = threading.Thread(target=self.relay.run, daemon=True)

    def __enter__(self) -> Self:
        """Join and run."""
        self.start_stage()
        self.job.places[self.task] = self.place
        self.job.nodes.append(self)
        self.job.join(self.job.identity(self.task))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; the stage ends when the relay's side of its channel closes."""
        self.job.nodes.remove(self)
        self.relay.stop()
        self._thread.join(10)

    def start_stage(self) -> None:
        """Let the stage make sockets."""
        self._stage.start()

    def connect(self, task: Task, port: int) -> socket.socket:
        """Connect as this node's program does to a port of a task."""
        return self.connect_to(self.plan.address(task), port)

    def connect_to(self, address: str, port: int) -> socket.socket:
        """Connect to a virtual address, which is one of the `destinations`."""
        return socket.create_connection(self._entry[address, port], timeout=30)

    def event(self, reason: str, *, within_s: float = 5.0) -> Event:
        """Wait for the first report of a kind."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            for event in list(self.events):
                if event.reason == reason:
                    return event
            time.sleep(0.005)
        raise AssertionError(f"nothing was reported as {reason}: {self.events}")


@dataclass
class Pair:
    """A worker that may connect to a parameter server's program, which listens at `listener`."""

    job: FakeJob
    ps: FakeNode
    worker: FakeNode
    listener: socket.socket
    port: int
    stack: contextlib.ExitStack

    def open(self, port: int) -> socket.socket:
        """Return the opening program's end of a fresh connection."""
        return self.stack.enter_context(self.worker.connect(PS, port))

    def connected(self) -> tuple[socket.socket, socket.socket]:
        """Return both programs' ends of a fresh connection."""
        ours = self.open(self.port)
        theirs = self.stack.enter_context(self.listener.accept()[0])
        theirs.settimeout(30)
        return ours, theirs


@contextlib.contextmanager
def running_pair(*, at: int) -> Iterator[Pair]:
    """Run a job of two for which it is always `at`."""
    job = FakeJob.of({"ps": 1, "worker": 2}, at=at)
    plan = AddressPlan.of(job.counts)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.2", 0)))
        listener.settimeout(30)
        port: int = listener.getsockname()[1]
        ps = FakeNode(
            job,
            PS,
            opens={},
            accepts={"worker": frozenset({port})},
            host="127.0.0.2",
            clock=lambda: at,
        )
        stack.enter_context(ps)
        worker = FakeNode(
            job,
            WORKER,
            opens={"ps": ANY_PORT},
            accepts={},
            clock=lambda: at,
            destinations=[(plan.address(PS), port), (plan.address(PS), FORBIDDEN)],
        )
        stack.enter_context(worker)
        yield Pair(job, ps, worker, listener, port, stack)


def make_sockets(channel: socket.socket) -> None:
    """Make TCP sockets as a stage does: as many as a byte says, until nobody asks."""
    with contextlib.closing(channel), contextlib.suppress(ConnectionError):  # nobody waits
        for count in _asked(channel):
            with contextlib.ExitStack() as made:
                sockets = [made.enter_context(socket.socket()) for _ in range(count)]
                socket.send_fds(channel, [b"s"], [each.fileno() for each in sockets])


def _asked(channel: socket.socket) -> Iterator[int]:
    while byte := channel.recv(1):
        yield byte[0]
