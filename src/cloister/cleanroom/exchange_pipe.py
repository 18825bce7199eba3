"""An exchange for a learner in a process of its own: each call is a message over a pipe.

What keeps the schedule shares neither interpreter nor fate with what learns: a framework that
computes does not hold up its messages, and one that dies does not end them. Both processes are
trusted. The answering side checks all the same what it is asked, since a framework that was fed
a hostile model runs in the other.

Spec: training-round-v1, clauses TR-70 to TR-73.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import numpy as np

from cloister.cleanroom.aggregation import FLOAT, Array
from cloister.cleanroom.encoding import FieldValue, Limits, Message
from cloister.cleanroom.pipe import Pipe
from cloister.cleanroom.round_rules import RoundRules
from cloister.errors import (
    CloisterError,
    LocalProtocolError,
    MalformedError,
    UnavailableError,
)

__all__ = ["PIPE_FRAME_BYTES", "Exchange", "PipedExchange", "answer_learner", "pipe_limits"]

PIPE_FRAME_BYTES: Final = 1 << 16
_HEAD_BYTES: Final = 1 << 20


class Exchange(Protocol):
    """What a learner needs of an exchange."""

    @property
    def tick(self) -> int | None:
        """The present tick; None before the server has begun."""
        ...

    def await_tick(self, tick: int) -> bool:
        """Wait until a tick; False where the exchange ends before."""
        ...

    def publish_plan(self, plan: bytes, initial: Array) -> None:
        """Give the plan and the first parameters to the server."""
        ...

    def await_plan(self, timeout_s: float) -> bytes:
        """Wait for the plan of trainer 0."""
        ...

    def pull(self, *, newer_than: int = -1, timeout_s: float = 0.0) -> tuple[int, Array]:
        """Return the newest parameters and their version."""
        ...

    def push(self, difference: Array, based_on: int) -> bool:
        """Give a difference to the server, with the next message."""
        ...

    def metrics(self, number: int, values: Mapping[str, float]) -> None:
        """Report numbers about a round."""
        ...


def pipe_limits(rules: RoundRules) -> Limits:
    """Return what a message of either side may come to."""
    return Limits(message_bytes=_HEAD_BYTES + rules.plan_max_bytes + rules.body_bytes)


class PipedExchange:
    """The learner's end. One thread uses it."""

    def __init__(self, pipe: Pipe) -> None:
        """Take a pipe whose other end `answer_learner` serves."""
        self._pipe = pipe

    @property
    def tick(self) -> int | None:
        """See `ExchangeClient.tick`."""
        tick = self._ask("tick").fields.get("tick")
        return tick if isinstance(tick, int) else None

    def await_tick(self, tick: int) -> bool:
        """See `ExchangeClient.await_tick`."""
        return bool(self._ask("await-tick", {"tick": tick}).fields["is"])

    def publish_plan(self, plan: bytes, initial: Array) -> None:
        """See `ExchangeClient.publish_plan`."""
        arrays = {"plan": np.frombuffer(plan, np.uint8), "initial": np.asarray(initial, FLOAT)}
        self._ask("publish-plan", arrays=arrays)

    def await_plan(self, timeout_s: float) -> bytes:
        """See `ExchangeClient.await_plan`."""
        return self._ask("await-plan", {"timeout_s": timeout_s}).arrays["plan"].tobytes()

    def pull(self, *, newer_than: int = -1, timeout_s: float = 0.0) -> tuple[int, Array]:
        """See `ExchangeClient.pull`."""
        answer = self._ask("pull", {"newer_than": newer_than, "timeout_s": timeout_s})
        version = answer.fields["version"]
        if not isinstance(version, int):
            raise MalformedError("parameters of no version", code="message.malformed")
        return version, answer.arrays["parameters"]

    def push(self, difference: Array, based_on: int) -> bool:
        """See `ExchangeClient.push`."""
        arrays = {"difference": np.asarray(difference, FLOAT)}
        return bool(self._ask("push", {"based_on": based_on}, arrays).fields["is"])

    def metrics(self, number: int, values: Mapping[str, float]) -> None:
        """See `ExchangeClient.metrics`; what is not finite cannot be said at all."""
        if not all(map(math.isfinite, values.values())):
            raise LocalProtocolError("metrics that cannot be reported", code="protocol.local")
        self._ask("metrics", {"round": number, "values": dict(values)})

    def _ask(
        self,
        kind: str,
        fields: Mapping[str, FieldValue] | None = None,
        arrays: Mapping[str, Any] | None = None,
    ) -> Message:
        self._pipe.send(Message(kind, fields or {}, arrays or {}))
        answer = self._pipe.receive(None)
        if answer.kind == "unavailable":
            raise UnavailableError("the exchange has none yet", code="server.unreachable")
        if answer.kind != "answer":
            raise LocalProtocolError("the exchange refuses", code="protocol.local")
        return answer


def answer_learner(pipe: Pipe, exchange: Exchange) -> None:
    """Answer a learner until it hangs up, or says what is no question.

    Raises:
        MalformedError: It said what is no message.
        WorkloadError: `cell.ended`: it hung up; `cell.late`.
    """
    while True:
        question = pipe.receive(None)
        ask = _ANSWERS.get(question.kind)
        if ask is None:
            raise MalformedError("no question for an exchange", code="message.malformed")
        try:
            answer = ask(exchange, question)
        except UnavailableError:
            answer = Message("unavailable")
        except CloisterError:
            answer = Message("refused")
        except (KeyError, TypeError, ValueError, OverflowError) as e:
            raise MalformedError("a question of no form", code="message.malformed") from e
        pipe.send(answer)


def _integer(question: Message, name: str) -> int:
    value = question.fields[name]
    if type(value) is not int:
        raise TypeError(name)
    return value


def _seconds(question: Message) -> float:
    value = question.fields["timeout_s"]
    if type(value) is not float and type(value) is not int:
        raise TypeError("timeout_s")
    return float(value)


def _floats(question: Message, name: str) -> Array:
    found = question.arrays[name]
    if found.dtype != FLOAT or found.ndim != 1:
        raise TypeError(name)
    return found


def _tick(exchange: Exchange, question: Message) -> Message:
    del question
    tick = exchange.tick
    return Message("answer", {} if tick is None else {"tick": tick})


def _await_tick(exchange: Exchange, question: Message) -> Message:
    return Message("answer", {"is": exchange.await_tick(_integer(question, "tick"))})


def _publish_plan(exchange: Exchange, question: Message) -> Message:
    plan = question.arrays["plan"]
    if plan.dtype != np.uint8:
        raise TypeError("plan")
    exchange.publish_plan(plan.tobytes(), _floats(question, "initial"))
    return Message("answer")


def _await_plan(exchange: Exchange, question: Message) -> Message:
    plan = exchange.await_plan(_seconds(question))
    return Message("answer", {}, {"plan": np.frombuffer(plan, np.uint8)})


def _pull(exchange: Exchange, question: Message) -> Message:
    newer_than = _integer(question, "newer_than")
    version, flat = exchange.pull(newer_than=newer_than, timeout_s=_seconds(question))
    return Message("answer", {"version": version}, {"parameters": flat})


def _push(exchange: Exchange, question: Message) -> Message:
    taken = exchange.push(_floats(question, "difference"), _integer(question, "based_on"))
    return Message("answer", {"is": taken})


def _metrics(exchange: Exchange, question: Message) -> Message:
    values = question.fields["values"]
    if not isinstance(values, Mapping):
        raise TypeError("values")
    numbers = {name: float(value) for name, value in values.items()}  # type: ignore[arg-type]  # raises for others
    exchange.metrics(_integer(question, "round"), numbers)
    return Message("answer")


_ANSWERS: Final[Mapping[str, Callable[[Exchange, Message], Message]]] = {
    "tick": _tick,
    "await-tick": _await_tick,
    "publish-plan": _publish_plan,
    "await-plan": _await_plan,
    "pull": _pull,
    "push": _push,
    "metrics": _metrics,
}
