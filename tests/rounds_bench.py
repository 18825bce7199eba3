"""A room's exchange over loopback, for tests: terms that are quick, a server, trainers."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cloister.cleanroom.aggregation import Array
from cloister.cleanroom.checkpoint import Checkpoint
from cloister.cleanroom.coordinator import Coordinator
from cloister.cleanroom.exchange import ExchangeClient
from cloister.cleanroom.exchange_message import ExchangeMessage, Kind
from cloister.cleanroom.exchange_server import ExchangeServer
from cloister.cleanroom.round_rules import RoundRules
from cloister.cleanroom.schedule import Schedule
from cloister.cleanroom.speakers import Speakers
from cloister.errors import MalformedError

ROOM = bytes(range(32))
LIFE = b"L" * 16
PLAN = b"a plan of any form: " * 4
SCHEDULE = Schedule(tick_ms=20, prepare_ticks=10, round_ticks=5, rounds=4, closing_ticks=4)
SLOW = {"tick_ms": 30, "prepare_ticks": 20, "rounds": 8}  # for machines that are busy
RULES = RoundRules(
    room=ROOM,
    schedule=SCHEDULE,
    trainers=2,
    parameters_max=8,
    plan_max_bytes=256,
    mode="synchronous",
    damping="inverse",
    max_staleness=4,
    push_every=1,
    pull_every=1,
    norm_max=100.0,
    checkpoint_every=2,
    metrics=("loss", "accuracy"),
    join_s=5.0,
)


def rules(**changes: Any) -> RoundRules:
    """The terms of most tests, with changes; those of the schedule by their names too."""
    names = {each.name for each in dataclasses.fields(Schedule)}
    times = {name: changes.pop(name) for name in list(changes) if name in names}
    schedule = dataclasses.replace(SCHEDULE, **times)
    return dataclasses.replace(RULES, schedule=schedule, **changes)


def floats(*values: float) -> Array:
    """Parameters."""
    return np.array(values, np.float32)


def measure(plan: bytes) -> int | None:
    """Take every plan that begins as ours does, of models of three parameters."""
    if not plan.startswith(b"a plan"):
        raise MalformedError("this is no plan", code="message.malformed")
    return 3


def coordinator(
    terms: RoundRules = RULES, *, checkpoint: Checkpoint | None = None, life: bytes = LIFE
) -> Coordinator:
    """A server's mind."""
    return Coordinator(terms, measure=measure, life=life, checkpoint=checkpoint)


def said(kind: Kind, sender: int, tick: int, **fields: Any) -> ExchangeMessage:
    """A trainer's message to the first life."""
    seen = {"epoch": 1, "life": LIFE} if kind is not Kind.HELLO else {}
    return ExchangeMessage(kind=kind, sender=sender, tick=tick, **(seen | fields))


def begun(terms: RoundRules = RULES, initial: Array | None = None) -> Coordinator:
    """A server's mind with a plan and parameters, at its first tick with them."""
    mind = coordinator(terms)
    for tick, kind, fields in (
        (0, Kind.PLAN, {"total": 6, "body": b"a plan"}),
        (1, Kind.INITIAL, {"body": floats(1, 2, 3) if initial is None else initial}),
    ):
        mind.advance(tick)
        mind.take(0, said(kind, 0, tick, **fields))
    mind.advance(2)
    return mind


class Anybody:
    """Without a shield nobody knows who speaks: every trainer is believed."""

    def require(self, address: str, index: int) -> None:
        """Believe it."""


class RunningServer:
    """A server on loopback, in threads of this process."""

    def __init__(
        self, mind: Coordinator, terms: RoundRules, *, speakers: Speakers | None = None
    ) -> None:
        self.mind = mind
        self.kept: list[Checkpoint] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.server = ExchangeServer(
            self.listener,
            mind,
            terms,
            speakers=speakers or Anybody(),
            keep=self.kept.append,
            job=lambda _: None,
        )
        self.thread = threading.Thread(target=self.server.serve, daemon=True)
        self.thread.start()

    def connect(self) -> socket.socket:
        """Return a connection to it."""
        return socket.create_connection(self.address, timeout=5)

    def stop(self) -> None:
        """End it as a kill would: connections break."""
        self.server.stop()
        self.thread.join(30)
        self.listener.close()
        assert not self.thread.is_alive()


@contextlib.contextmanager
def serving(terms: RoundRules, mind: Coordinator | None = None) -> Iterator[RunningServer]:
    """Run a server until the block's end."""
    running = RunningServer(mind or coordinator(terms), terms)
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def trainer(
    connect: Callable[[], socket.socket], terms: RoundRules, index: int
) -> Iterator[ExchangeClient]:
    """Run a trainer's exchange until the block's end."""
    client = ExchangeClient(connect, terms, index=index)
    client.start()
    try:
        yield client
    finally:
        client.close()


def until(condition: Callable[[], object], *, timeout_s: float = 10.0) -> None:
    """Wait for something that other threads bring about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)
