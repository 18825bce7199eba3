"""The query enclave's sockets: TLS, sizes, times, and clients that keep to no rule."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom import client
from cloister.cleanroom.agreement import Room
from cloister.cleanroom.query_message import GREETING_BYTES, Answer, Outcome, QueryRules
from cloister.cleanroom.query_server import SLOW_TICKS, QueryLimits
from cloister.cleanroom.query_service import Reply
from cloister.crypto.signature import SigningKey
from cloister.errors import (
    CloisterError,
    ConfigError,
    IdentityError,
    RemoteProtocolError,
    UnavailableError,
)
from cloister.testing.certificates import FakeDomain
from cloister.testing.cleanroom import DATA_OWNER, PRINCIPAL
from unit.cleanroom.asking import room_with
from unit.cleanroom.enclave import DOMAIN, NOW, ROOM, Enclave, policy_of_room, write_trust

RECORD = np.arange(64, dtype=np.float32).reshape(8, 8)


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    """The trust domain's public facts."""
    return write_trust(tmp_path, room=ROOM)


Asker = Callable[..., client.RoomClient]


@pytest.fixture
def asker(trust: Path) -> Iterator[Asker]:
    """Connects as the sample's principal; closes at the end."""
    with contextlib.ExitStack() as stack:

        def connect(enclave: Enclave, **changes: Any) -> client.RoomClient:
            arguments: dict[str, Any] = {
                "terms": enclave.room, "trust": trust, "principal": "clinic", "key": PRINCIPAL,
                "timeout_s": 20.0,
            }  # fmt: skip
            return stack.enter_context(client.connect(enclave.url, **(arguments | changes)))

        yield connect


@pytest.mark.spec("CQ-17", "CQ-18", "CQ-51")
def test_three_lines_ask(trust: Path, tmp_path: Path) -> None:
    """From files, as the guide says; and the enclave's facts are at hand."""
    (tmp_path / "terms.cbor").write_bytes(ROOM.agreement.to_bytes())
    with Enclave(ROOM) as enclave, contextlib.ExitStack() as stack:
        room = stack.enter_context(
            client.connect(
                enclave.url,
                terms=tmp_path / "terms.cbor",
                trust=trust,
                principal="clinic",
                key=PRINCIPAL,
            )
        )
        found = room.ask(RECORD)
        assert found == client.Labels((7, 6, 5), (7.0, 6.0, 5.0), 99)
        again = room.ask((RECORD * 4).astype(np.uint8))
        assert again.labels == (7, 6, 5)
        assert again.scores == (0.11, 0.09, 0.08)
        assert room.standing() == client.Tally(98, room.standing().standing)
        assert room.peer.identity.role == "query"
        room.close()


@pytest.mark.spec("CQ-53")
def test_outcomes_are_errors(asker: Asker) -> None:
    """With their codes; and the connection goes on."""
    with Enclave(ROOM) as enclave:
        enclave.purse.left = 1
        room = asker(enclave)
        room.ask(RECORD)
        with pytest.raises(CloisterError) as caught:
            room.ask(RECORD)
        assert caught.value.code == "budget.spent"
        stranger = asker(enclave, key=SigningKey(b"\x70" * 32))
        with pytest.raises(IdentityError) as refused:
            stranger.ask(RECORD)
        assert refused.value.code == "query.principal"
        owner = asker(enclave, key=DATA_OWNER)
        assert owner.standing("clinic").standing.answered == 1


@pytest.mark.spec("CQ-50", "CQ-51")
def test_another_enclave_is_refused(asker: Asker, trust: Path) -> None:
    """By policy, by role, by protocol, by the domain's key service, by its authority."""
    for changes, code in (
        ({"policy": bytes(32)}, "identity.peer"),
        ({"role": "server"}, "identity.peer"),
        ({"alpn": "http/1.1"}, "identity.tls"),
    ):
        with Enclave(ROOM, **changes) as enclave, pytest.raises(IdentityError) as caught:
            asker(enclave)
        assert caught.value.code == code
    facts = json.loads(trust.read_text())
    other = FakeDomain("clinic.example", at=NOW)
    for change, code in (
        ({"identity": "ed25519:" + "52" * 32}, "identity.peer"),
        ({"ca": other.ca_pem.decode()}, "identity.tls"),
        ({"name": "other.example"}, "identity.peer"),
        ({"namespace": "rooms/digit"}, "identity.peer"),
        ({"namespace": ""}, "identity.peer"),
    ):
        trust.write_text(json.dumps(facts | change))
        with Enclave(ROOM) as enclave, pytest.raises(IdentityError) as caught:
            asker(enclave)
        assert caught.value.code == code


@pytest.mark.spec("CQ-50")
def test_a_namespace_has_an_authority(asker: Asker, trust: Path) -> None:
    """The room's own file is enough, and one of a namespace above; neither names a key service."""
    for namespace in ("rooms/digits", "rooms"):
        facts = {"name": DOMAIN.name, "namespace": namespace, "ca": DOMAIN.ca_pem.decode()}
        trust.write_text(json.dumps(facts))
        with Enclave(ROOM) as enclave:
            assert asker(enclave).standing().left == 100


@pytest.mark.spec("CQ-2")
def test_an_enclave_of_other_terms_is_refused(asker: Asker) -> None:
    """Its greeting says which."""
    with Enclave(room_with(tick_ms=260), policy=policy_of_room(ROOM)) as enclave:
        enclave.room = ROOM
        with pytest.raises(IdentityError) as caught:
            asker(enclave)
    assert caught.value.code == "identity.peer"


def test_arguments_that_cannot_be_meant(asker: Asker, trust: Path) -> None:
    """A URL, a record, a file."""
    with Enclave(ROOM) as enclave:
        room = asker(enclave)
        for record in (np.zeros((8, 7)), np.full((8, 8), np.nan), np.full((8, 8), "x")):
            with pytest.raises(ConfigError):
                room.ask(record)
        trust.write_text("{}")
        with pytest.raises(ConfigError):
            asker(enclave)
    for url in ("http://a:1", "https://a", "https://a:1/x", "https://[a"):
        with pytest.raises(ConfigError):
            client._address(url)


class Scripted:
    """A service that does what it is told."""

    def __init__(self, answer: Callable[[bytes, Any, float], Reply], room: Room = ROOM) -> None:
        self._answer = answer
        self.rules = QueryRules.of(room)

    def answer(self, data: bytes, session: Any, *, deadline: float, held: Any) -> Reply:
        """Answer."""
        self.held = held
        return self._answer(data, session, deadline)


def failed(number: int) -> Reply:
    """The shortest reply."""
    return Reply(Answer(Outcome.FAILED, number))


@pytest.mark.spec("CQ-22")
def test_what_is_late_is_thrown_away(asker: Asker) -> None:
    """It leaves at the same time and says so; and what follows does not get it."""
    took = iter([0.6, 0.0, 0.0, 0.0])

    def answer(data: bytes, session: Any, deadline: float) -> Reply:
        time.sleep(next(took, 0.0))
        return Reply(Answer(Outcome.SPENT, session.number))

    with Enclave(ROOM, service=Scripted(answer)) as enclave:
        room = asker(enclave)
        codes = []
        for _ in range(4):
            with pytest.raises(CloisterError) as caught:
                room.ask(RECORD)
            codes.append(caught.value.code)
    assert codes[0] == "query.failed"
    assert codes[-1] == "budget.spent"
    assert set(codes) <= {"query.failed", "query.late", "budget.spent"}


@pytest.mark.spec("CQ-8", "CQ-20", "CQ-22")
def test_answers_leave_at_ticks_whatever_they_are(asker: Asker) -> None:
    """Quick, slow, refused, failed: from a tick to the same number of ticks later."""
    room = room_with(tick_ms=200)
    kinds = iter([0.0, 0.1, 0.0, 0.1])

    def answer(data: bytes, session: Any, deadline: float) -> Reply:
        time.sleep(next(kinds))
        return failed(session.number)

    with Enclave(room, service=Scripted(answer, room)) as enclave:
        asking = asker(enclave)
        instants = []
        for _ in range(4):
            with pytest.raises(CloisterError):
                asking.ask(RECORD)
            instants.append(time.monotonic())
        clock = enclave.server._clock
        phases = [(at - clock.start) % clock.tick_s for at in instants]
        waits = np.diff(instants) / clock.tick_s
    # Who asks at once after an answer gets the next after two ticks; the machine may be slow.
    assert max(phases) < 0.7 * clock.tick_s
    assert np.allclose(np.round(waits), 2)


@pytest.mark.spec("CQ-21")
def test_many_clients_take_turns(asker: Asker) -> None:
    """Everyone is answered, one in each window."""
    with Enclave(ROOM) as enclave:
        rooms = [asker(enclave) for _ in range(5)]
        found: list[Any] = []
        threads = [
            threading.Thread(target=lambda each=each: found.append(each.ask(RECORD)))  # type: ignore[misc]  # a default binds it
            for each in rooms
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(each.left for each in found) == [95, 96, 97, 98, 99]


@pytest.mark.spec("CQ-23")
def test_who_is_slowed_waits(asker: Asker) -> None:
    """Many ticks, in which the principal has nothing else on its way."""
    room = room_with(tick_ms=10)

    def answer(data: bytes, session: Any, deadline: float) -> Reply:
        return Reply(Answer(Outcome.SPENT, session.number), slow="clinic")

    service = Scripted(answer, room)
    with Enclave(room, service=service) as enclave:
        asking, other = asker(enclave), asker(enclave)
        began = time.monotonic()

        def ask() -> None:
            with pytest.raises(CloisterError):
                asking.ask(RECORD)

        first = threading.Thread(target=ask)
        first.start()
        while not enclave.server._held and time.monotonic() < began + 5:
            time.sleep(0.005)
        enclave.server._held["clinic"] += 10_000  # so that a slow machine sees it too
        with pytest.raises(CloisterError):
            other.ask(RECORD)
        first.join(10)
        assert time.monotonic() - began > SLOW_TICKS * 0.01
        assert service.held == frozenset({"clinic"})


@pytest.mark.spec("CQ-19")
def test_clients_without_manners_hold_up_nobody(asker: Asker) -> None:
    """Half a request, noise, silence, and one connection too many: others are answered."""
    limits = QueryLimits(connections=4, handshake_s=3, idle_s=3, request_s=3, take_s=1)
    with (
        Enclave(ROOM, limits=limits) as enclave,
        socket.create_connection(enclave.listener.getsockname()) as noise,
    ):
        noise.sendall(b"GET / HTTP/1.1\r\n\r\n")
        silent = asker(enclave)
        half = asker(enclave)
        half._connection.sendall(bytes(100))
        good = asker(enclave)
        assert good.ask(RECORD).left == 99
        fourth = asker(enclave)
        with pytest.raises((UnavailableError, IdentityError)):
            asker(enclave)
        fourth.close()
        for each in (half, silent):
            each._connection.settimeout(20)
            assert each._connection.recv(10) == b""
        assert asker(enclave).ask(RECORD).left == 98


@pytest.mark.spec("CQ-12", "CQ-52")
@pytest.mark.parametrize(
    "data", [b"\0" * 88, Answer(Outcome.FAILED, 7).to_bytes(QueryRules.of(ROOM)), b"CQA1"]
)
def test_a_client_believes_no_nonsense(data: bytes) -> None:
    """Whatever a server sends: one of our errors, and the connection is of no use after it."""
    ours, theirs = socket.socketpair()
    greeting = b"CQG1" + ROOM.digest + bytes(32)
    theirs.sendall(greeting.ljust(GREETING_BYTES, b"\0"))

    class Plain:
        peer = type("Peer", (), {"identity": DOMAIN.identity("query")})

        def __getattr__(self, name: str) -> Any:
            return getattr(ours, name)

        def getpeername(self) -> tuple[str, int]:
            return "127.0.0.1", 1

    room = client.RoomClient(
        Plain(),  # type: ignore[arg-type]  # not even a connection
        ROOM, principal="clinic", key=PRINCIPAL, timeout_s=5,
    )  # fmt: skip
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises((RemoteProtocolError, UnavailableError)):
        room.ask(RECORD)
    with pytest.raises(UnavailableError):
        room.ask(RECORD)
    for each in (ours, theirs):
        each.close()
