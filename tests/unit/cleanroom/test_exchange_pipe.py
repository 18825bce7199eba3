"""A learner asks its exchange over a pipe: the same answers, and no others."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.aggregation import Array
from cloister.cleanroom.encoding import FieldValue, Message
from cloister.cleanroom.exchange_pipe import (
    PIPE_FRAME_BYTES,
    PipedExchange,
    answer_learner,
    pipe_limits,
)
from cloister.cleanroom.pipe import Pipe
from cloister.errors import CloisterError, LocalProtocolError, TamperedError, UnavailableError
from rounds_bench import RULES, floats


class Told:
    """An exchange that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.tick: int | None = None
        self.error: CloisterError | None = None

    def await_tick(self, tick: int) -> bool:
        """Be there until 5."""
        return tick < 5

    def publish_plan(self, plan: bytes, initial: Array) -> None:
        """Note it."""
        self.asked.append((plan, initial.tolist()))

    def await_plan(self, timeout_s: float) -> bytes:
        """Have it in time."""
        if timeout_s < 1:
            raise UnavailableError("no plan", code="server.unreachable")
        return b"plan"

    def pull(self, *, newer_than: int = -1, timeout_s: float = 0.0) -> tuple[int, Array]:
        """Have one version, or an error."""
        self.asked.append((newer_than, timeout_s))
        if self.error is not None:
            raise self.error
        return 7, floats(1, 2, 3)

    def push(self, difference: Array, based_on: int) -> bool:
        """Note it."""
        self.asked.append((difference.tolist(), based_on))
        return based_on == 7

    def metrics(self, number: int, values: Mapping[str, float]) -> None:
        """Note them."""
        self.asked.append((number, dict(values)))


@contextlib.contextmanager
def asking(told: Told) -> Iterator[tuple[Pipe, list[CloisterError]]]:
    """Yield the learner's end, and how the other ended."""
    ours, theirs = socket.socketpair()
    near, far = (
        Pipe(each.detach(), PIPE_FRAME_BYTES, pipe_limits(RULES)) for each in (ours, theirs)
    )
    ends: list[CloisterError] = []

    def answer() -> None:
        try:
            answer_learner(far, told)
        except CloisterError as e:
            ends.append(e)
        far.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield near, ends
    finally:
        near.close()
        thread.join(10)
    assert not thread.is_alive()


@pytest.mark.spec("TR-70")
def test_answers_are_the_exchanges() -> None:
    told = Told()
    with asking(told) as (pipe, _):
        exchange = PipedExchange(pipe)
        assert exchange.tick is None
        told.tick = 4
        assert exchange.tick == 4
        assert exchange.await_tick(4)
        assert not exchange.await_tick(5)
        exchange.publish_plan(b"a plan", floats(1, 2))
        assert exchange.await_plan(1.0) == b"plan"
        with pytest.raises(UnavailableError):
            exchange.await_plan(0.5)
        version, flat = exchange.pull(newer_than=3, timeout_s=0.25)
        assert (version, flat.tolist()) == (7, [1, 2, 3])
        assert exchange.push(floats(4, 5, 6), 7)
        assert not exchange.push(floats(0, 0, 0), 6)
        exchange.metrics(2, {"loss": 0.5})
    assert told.asked == [
        (b"a plan", [1, 2]), (3, 0.25), ([4, 5, 6], 7), ([0, 0, 0], 6), (2, {"loss": 0.5}),
    ]  # fmt: skip


def test_a_refusal_is_one_and_does_not_end_it() -> None:
    told = Told()
    told.error = TamperedError("put back", code="state.rolled-back")
    with asking(told) as (pipe, _):
        exchange = PipedExchange(pipe)
        with pytest.raises(LocalProtocolError):
            exchange.pull()
        with pytest.raises(LocalProtocolError):
            exchange.metrics(1, {"loss": float("nan")})
        assert exchange.await_tick(1)


@pytest.mark.spec("TR-71")
@pytest.mark.parametrize(
    ("kind", "fields", "arrays"),
    [
        ("close", {}, {}),
        ("await-tick", {}, {}),
        ("await-tick", {"tick": "1"}, {}),
        ("await-tick", {"tick": True}, {}),
        ("pull", {"newer_than": -1, "timeout_s": "1"}, {}),
        ("push", {"based_on": 1}, {}),
        ("push", {"based_on": 1}, {"difference": np.zeros(3)}),
        ("push", {"based_on": 1}, {"difference": np.zeros((1, 3), np.float32)}),
        ("publish-plan", {}, {"plan": np.zeros(3), "initial": floats(1)}),
        ("metrics", {"round": 1, "values": 3}, {}),
        ("metrics", {"round": 1, "values": {"loss": "high"}}, {}),
    ],
)
def test_what_is_no_question_is_the_last(
    kind: str, fields: Mapping[str, FieldValue], arrays: Mapping[str, Any]
) -> None:
    """Whoever says it is answered no more; what was asked is not done."""
    told = Told()
    with asking(told) as (pipe, ends):
        pipe.send(Message(kind, fields, arrays))
        with pytest.raises(CloisterError):
            pipe.receive(10)
    assert [e.code for e in ends] == ["message.malformed"]
    assert told.asked == []
