"""Attacks on a room's query enclave: by the operator on the wire, and by who may ask."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom import client
from cloister.cleanroom.query_message import Answer, Outcome, QueryRules, Session
from cloister.cleanroom.query_service import QueryService
from cloister.cleanroom.terms import Stealing
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, WorkloadError
from cloister.testing.cleanroom import PRINCIPAL
from unit.cleanroom.asking import Purse, Rows, request, room_with, service_of, session
from unit.cleanroom.enclave import ROOM, Enclave, write_trust

RECORD = np.arange(64, dtype=np.float32).reshape(8, 8)


class Wire:
    """What an operator sees between an asker and the enclave: sizes, by direction, in order."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._target = target
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.seen = {"in": 0, "out": 0}
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Wire:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def taken(self) -> tuple[int, int]:
        """The bytes since it was asked the last time, towards the enclave and back."""
        found = self.seen["in"], self.seen["out"]
        self.seen = {"in": 0, "out": 0}
        return found

    def _start(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listener.accept()
                other = socket.create_connection(self._target)
                self._sockets += [one, other]
                self._start(self._carry, one, other, "in")
                self._start(self._carry, other, one, "out")

    def _carry(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.seen[way] += len(data)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    """The authority that askers pin."""
    return write_trust(tmp_path, room=ROOM)


@contextlib.contextmanager
def asking(url: str, trust: Path, **changes: Any) -> Iterator[client.RoomClient]:
    """As the sample's principal."""
    arguments: dict[str, Any] = {"principal": "clinic", "key": PRINCIPAL, "terms": ROOM}
    with client.connect(url, trust=trust, **(arguments | changes)) as room:
        yield room


@pytest.mark.spec("CQ-8", "CQ-10", "CQ-28")
def test_the_wire_does_not_tell_an_answer_from_a_refusal(trust: Path) -> None:
    """Answered, failed, spent, a stranger's, a standing: as many bytes there and back."""
    with Enclave(ROOM) as enclave, Wire(enclave.listener.getsockname()) as wire:
        found = {}
        with asking(wire.url, trust) as room:
            room.standing()
            wire.taken()
            room.ask(RECORD)
            found["answered"] = wire.taken()
            room.standing()
            found["standing"] = wire.taken()

            def fail() -> None:
                raise WorkloadError("raised", code="recipe.failed")

            enclave.model.after = fail
            for kind, left in (("failed", 10), ("spent", 0)):
                enclave.purse.left = left
                with pytest.raises(CloisterError):
                    room.ask(RECORD)
                found[kind] = wire.taken()
        with asking(wire.url, trust, key=SigningKey(b"\x09" * 32)) as room:
            for _ in range(2):  # the first comes with the greeting
                wire.taken()
                with pytest.raises(CloisterError):
                    room.ask(RECORD)
            found["stranger"] = wire.taken()
    assert len(set(found.values())) == 1, found


@pytest.mark.spec("CQ-7", "CQ-26")
def test_a_request_is_good_once() -> None:
    """Again on its connection, on another, at another enclave, under other terms: not spent."""
    purse, model = Purse(), Rows()
    service = service_of(ROOM, model, purse)
    data = request(ROOM, RECORD)
    first = service.answer(data, session(ROOM), deadline=1e18)
    assert first.answer.outcome is Outcome.ANSWERED
    other_room = room_with(limit=7)
    elsewhere: list[tuple[QueryService, Session]] = [
        (service, session(ROOM, 1)),
        (service, session(ROOM, nonce=b"\x01" * 32)),
        (service, dataclasses.replace(session(ROOM), server="spiffe://x.y/r/d/query/other")),
        (service_of(other_room, model, purse), session(other_room)),
    ]
    for answering, where in elsewhere:
        reply = answering.answer(data, where, deadline=1e18).answer
        assert reply == Answer(Outcome.PRINCIPAL, where.number)
    assert (purse.left, model.asked) == (99, 1)


class Linear:
    """A model that is worth stealing."""

    weights = np.random.default_rng(8).normal(size=(64, 10))

    def prepare(self, **_: Any) -> None:
        """There is nothing to prepare."""

    def predict(self, record: Any, **_: Any) -> Any:
        """Scores of ten labels."""
        return record.reshape(-1) @ self.weights


def asked(queries: Any, *, action: Any = "refuse") -> list[Outcome]:
    """What becomes of one principal's queries."""
    room = room_with(stealing=Stealing(threshold=Decimal("0.9"), action=action), limit=10_000)
    service = service_of(room, Linear(), Purse(10_000))
    outcomes = []
    for number, record in enumerate(queries):
        data = request(room, record, number=number)
        outcomes.append(service.answer(data, session(room, number), deadline=1e18).answer.outcome)
    return outcomes


@pytest.mark.spec("CQ-38", "CQ-43")
def test_a_copier_is_refused_and_a_natural_asker_is_not() -> None:
    """Substitute training by steps along signs; searches of the border; a natural stream."""
    generator = np.random.default_rng(9)
    middles = generator.random((10, 64))

    def natural(count: int) -> Any:
        spread = generator.gamma(9, 1 / 9, (count, 1))
        at = middles[generator.integers(0, 10, count)]
        found = at + 0.3 * spread * generator.normal(size=(count, 64))
        return found.reshape(count, 8, 8)

    assert set(asked(natural(200))) == {Outcome.ANSWERED}
    stepped = natural(30)
    for _ in range(3):
        towards = np.sign(Linear.weights[:, generator.integers(0, 10, len(stepped))]).T
        stepped = np.concatenate([stepped, stepped + 0.05 * towards.reshape(-1, 8, 8)])
    outcomes = asked(stepped)
    assert Outcome.COPYING in outcomes
    assert set(outcomes[outcomes.index(Outcome.COPYING) :]) == {Outcome.COPYING}
    pairs = natural(20).reshape(10, 2, 8, 8)
    walked = [a + (b - a) * t for a, b in pairs for t in np.linspace(0, 1, 20)]
    assert Outcome.COPYING in asked(walked)


@pytest.mark.spec("CQ-39")
@pytest.mark.parametrize("every", [40, 101], ids=["before it can tell", "when it was noticed"])
def test_a_copier_with_the_operator_gains_nothing_by_restarts(every: int) -> None:
    """The enclave begins anew after every so many queries; the key service does not."""
    room = room_with(stealing=Stealing(threshold=Decimal("0.9"), action="refuse"), limit=2000)
    purse, outcomes = Purse(2000), []
    for number in range(1000):
        if number % every == 0:
            service = service_of(room, Linear(), purse)
        data = request(room, RECORD, number=number)
        outcomes.append(service.answer(data, session(room, number), deadline=1e18).answer.outcome)
    answered = outcomes.count(Outcome.ANSWERED)
    assert answered <= 3 * (100 + room.terms.data.classes)
    assert set(outcomes[answered:]) == {Outcome.COPYING}
    assert answered == (330 if every == 40 else 100)


@pytest.mark.spec("CQ-27")
def test_endless_queries_end() -> None:
    """With the budget; a hundred more are answered with nothing, and cost nothing."""
    room = room_with(limit=5)
    purse, model = Purse(5), Rows()
    service = service_of(room, model, purse)
    outcomes = [
        service.answer(
            request(room, RECORD + number, number=number), session(room, number), deadline=1e18
        ).answer
        for number in range(100)
    ]
    assert [answer.outcome for answer in outcomes] == [Outcome.ANSWERED] * 5 + [Outcome.SPENT] * 95
    assert model.asked == 5
    sizes = {len(answer.to_bytes(QueryRules.of(room))) for answer in outcomes}
    assert len(sizes) == 1
