"""What the exchange of a clean room costs at each tick, in processor time, by number of trainers.

The model has as many parameters as Chiron's VGG-9. Everything is done as at a tick in which each
trainer has pushed: what a message costs does not depend on whether there is something in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from pairs import Row, Spread

from cloister.cleanroom.aggregation import ParameterState, squared_norm
from cloister.cleanroom.exchange_message import (
    SERVER,
    ExchangeMessage,
    Kind,
    message_bytes,
    read_message,
    write_message,
)
from cloister.cleanroom.round_rules import RoundRules
from cloister.cleanroom.schedule import Schedule

PARAMETERS = 3_500_000
TICK_MS = 1000


def rows(*, rounds: int) -> Iterator[Row]:
    """Measure a trainer's tick, and the server's with one to eight trainers."""
    yield _trainer(rounds=rounds)
    for trainers in (1, 2, 4, 8):
        yield _server(trainers, rounds=rounds)


def _trainer(*, rounds: int) -> Row:
    """Write a difference, read parameters and look at all of them; beside the copies alone."""
    terms = _terms(1)
    parameters = np.random.default_rng(1).normal(0, 0.01, PARAMETERS).astype(np.float32)
    out, came = bytearray(message_bytes(terms)), bytearray(message_bytes(terms))
    write_message(ExchangeMessage(Kind.PARAMETERS, SERVER, 1, body=parameters), terms, came)

    def ours() -> None:
        write_message(ExchangeMessage(Kind.PUSH, 0, 1, body=parameters), terms, out)
        squared_norm(np.array(read_message(came, terms).body))

    def copies() -> None:
        out[256:] = parameters.view(np.uint8).data
        np.array(np.frombuffer(came, np.float32, offset=256))

    return _row("a trainer", copies, ours, rounds=rounds)


def _server(trainers: int, *, rounds: int) -> Row:
    """Take differences, add them, and write the answers; beside the additions and copies alone."""
    terms = _terms(trainers)
    difference = np.random.default_rng(1).normal(0, 1e-4, PARAMETERS).astype(np.float32)
    state = ParameterState(terms, np.zeros(PARAMETERS, np.float32))
    came, out = bytearray(message_bytes(terms)), bytearray(message_bytes(terms))
    write_message(ExchangeMessage(Kind.PUSH, 0, 1, body=difference), terms, came)
    plain = np.zeros(PARAMETERS, np.float32)

    def ours() -> None:
        version = state.version
        for index in range(trainers):
            state.add(index, np.asarray(read_message(came, terms).body), version)
        state.settle()
        for _ in range(trainers):
            answer = ExchangeMessage(Kind.PARAMETERS, SERVER, 1, body=state.pull()[1])
            write_message(answer, terms, out)

    def bare() -> None:
        for _ in range(trainers):
            np.add(plain, difference, out=plain)
            out[256:] = plain.view(np.uint8).data

    return _row(f"the server, trainers: {trainers}", bare, ours, rounds=rounds)


def _row(name: str, bare: Callable[[], None], ours: Callable[[], None], *, rounds: int) -> Row:
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    for number in range(rounds + 1):
        for side, work in (("bare", bare), ("ours", ours)):
            began = time.process_time()
            work()
            if number:  # the first time touches memory
                seconds[side].append(time.process_time() - began)
    bare_s, ours_s = Spread.of(seconds["bare"]), Spread.of(seconds["ours"])
    return Row(
        part="cleanroom rounds",
        name=f"processor time of a tick for {name}, {PARAMETERS / 1e6:.1f} million parameters",
        left=f"{bare_s.text('.1f', 1e3)} ms",
        right=f"{ours_s.text('.1f', 1e3)} ms",
        result=f"{ours_s.middle * 1e5 / TICK_MS:.1f} % of a tick of one second",
        facts={"bare_s": bare_s.record(), "ours_s": ours_s.record()},
    )


def _terms(trainers: int) -> RoundRules:
    return RoundRules(
        room=bytes(32),
        schedule=Schedule(
            tick_ms=TICK_MS, prepare_ticks=10, round_ticks=10, rounds=10, closing_ticks=10
        ),
        trainers=trainers,
        parameters_max=PARAMETERS,
        plan_max_bytes=1 << 20,
        mode="bounded-stale",
        damping="inverse",
        max_staleness=trainers,
        push_every=1,
        pull_every=1,
        norm_max=1e3,
        checkpoint_every=10,
        metrics=(),
        join_s=0.0,
    )
