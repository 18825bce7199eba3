"""Requests to stop, and what counts as a failure while the workload runs."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from cloister.confinement.sandbox import Exit, Sandbox
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.pinned import PinnedService
from cloister.launcher import volumes
from cloister.launcher.plan import VolumePlan
from cloister.launcher.renewer import Renewer
from cloister.launcher.supervision import StopRequests, supervise
from cloister.launcher.volumes import ServerSettings, VolumeServers
from cloister.volume.regions import Regions

SERVICE = PinnedService(SigningKey.generate().public, "clinic.example")


def test_signals_become_requests_and_handlers_come_back() -> None:
    """Inside the context SIGTERM is a request; outside everything is as before."""
    before = signal.getsignal(signal.SIGTERM)
    with StopRequests() as stops:
        assert stops.take() == []
        os.kill(os.getpid(), signal.SIGTERM)
        stops.request(signal.SIGINT)
        assert select.select([stops.fileno()], [], [], 5)[0]
        assert stops.take() == [signal.SIGTERM, signal.SIGINT]
        assert stops.take() == []
    assert signal.getsignal(signal.SIGTERM) == before


class Signal:
    """A descriptor that becomes readable on request; it stands for processes at one's will."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def fileno(self) -> int:
        return self._reader

    def raised(self) -> bool:
        return bool(select.select([self._reader], [], [], 0)[0])

    def raise_(self) -> None:
        os.write(self._writer, b"x")

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


class FakeSandbox(Signal):
    """A sandbox whose workload ends on `raise_`, or when it is killed."""

    killed = False

    has_ended = Signal.raised

    def kill(self) -> None:
        self.killed = True
        self.raise_()

    def wait(self, *, timeout_s: float | None = None) -> Exit | None:
        del timeout_s
        return Exit(3, 0, 0) if self.raised() else None


class FakeServer(Signal):
    """A volume's server that says something, and then does what a test wants."""

    def __init__(self, answer: Callable[[], bool]) -> None:
        super().__init__()
        self._answer = answer
        self.troubles: list[CloisterError] = []
        self.raise_()

    def check(self) -> bool:
        return self._answer()

    def finish(self, *, grace_s: float, timeout_s: float) -> bytes:
        del grace_s, timeout_s
        return volumes.encode({"version": 1, "root": bytes(32)})

    def kill(self) -> None:
        return


@dataclass
class Bench:
    """What a supervised run is made of."""

    sandbox: FakeSandbox
    stops: StopRequests
    renewer: Signal
    opened: list[Signal]

    def supervise(self, answer: Callable[[], bool]) -> tuple[Exit, CloisterError | None, Any]:
        """Run until the end; also return what the servers have to say in the end."""
        server = FakeServer(answer)
        self.opened.append(server)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(volumes, "_start_server", lambda: server)
            plan = VolumePlan("/code", "code", bytes(16), "read", Path("/s"), Regions({}))
            servers = VolumeServers([plan], ServerSettings(SERVICE, "", (0, 0)))
        ended, failure = supervise(
            cast(Sandbox, self.sandbox),
            servers,
            self.stops,
            cast(Renewer, self.renewer),
            relay=None,
            grace_s=5,
            place=lambda _: None,
        )
        return ended, failure, servers.finish()


class FakeRenewer(Signal):
    """Never has a certificate."""

    def take(self) -> None:
        return None


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Nothing has happened yet."""
    opened: list[Signal] = [FakeSandbox(), FakeRenewer()]
    with StopRequests() as stops:
        yield Bench(cast(FakeSandbox, opened[0]), stops, opened[1], opened)
    for one in opened:
        one.close()


def test_a_server_that_ends_with_its_workload_has_not_failed(bench: Bench) -> None:
    """The workload may end between a server's word and our look: all servers end then."""

    def end_both() -> bool:
        bench.sandbox.raise_()
        return False

    ended, failure, failures = bench.supervise(end_both)
    assert (ended.status, failure, failures) == (3, None, [])
    assert not bench.sandbox.killed


def test_a_server_that_ends_before_its_workload_ends_it(bench: Bench) -> None:
    """What the workload would compute from then on could not be kept."""
    _, failure, failures = bench.supervise(lambda: False)
    assert failure is not None
    assert failure.code == "workload.volume-server"
    assert failures == [failure]
    assert bench.sandbox.killed
