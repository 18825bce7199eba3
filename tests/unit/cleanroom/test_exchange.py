"""A trainer's exchange against a real server on loopback, and against one that lies."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from cloister.cleanroom.exchange import ExchangeClient
from cloister.cleanroom.exchange_message import (
    SERVER,
    ExchangeMessage,
    Kind,
    message_bytes,
    read_message,
    write_message,
)
from cloister.errors import CloisterError, LocalProtocolError, TamperedError, UnavailableError
from rounds_bench import LIFE, PLAN, RULES, SLOW, floats, rules, serving, trainer, until


def train(client: ExchangeClient, step: float) -> dict[int, list[float]]:
    """Push one difference in each round; return what was pulled, by its version.

    Where the machine is too busy a round is lost, as it is anywhere.
    """
    if client._index == 0:
        client.publish_plan(PLAN, floats(0, 0, 0))
    assert client.await_plan(5) == PLAN
    seen: dict[int, list[float]] = {}
    version = -1
    with contextlib.suppress(UnavailableError):  # the end
        while True:
            version, parameters = client.pull(newer_than=version, timeout_s=5)
            seen[version] = parameters.tolist()
            client.metrics(version, {"loss": 1 / (version + 1)})
            client.push(np.full(3, step, np.float32), version)
    return seen


@pytest.mark.spec("TR-20", "TR-35", "TR-44", "TR-45")
def test_two_trainers_and_a_server_from_beginning_to_end() -> None:
    """Each sees the same parameters; each message had its tick; the end is the schedule's."""
    terms = rules(**SLOW)
    seen: dict[int, dict[int, list[float]]] = {}
    with (
        serving(terms) as server,
        trainer(server.connect, terms, 0) as zero,
        trainer(server.connect, terms, 1) as one,
    ):
        other = threading.Thread(target=lambda: seen.update({1: train(one, 2.0)}))
        other.start()
        seen[0] = train(zero, 1.0)
        other.join()
        counts = [client.finish(10) for client in (zero, one)]
        server.thread.join(10)
    both = seen[0].keys() & seen[1].keys()
    assert len(both) > 3
    assert all(seen[0][version] == seen[1][version] for version in both)
    assert seen[0][max(both)][0] > 1
    for each, tally in zip(counts, server.mind.tallies, strict=True):
        assert each.sent + each.missed == terms.schedule.ticks - 1
        assert (each.lost, each.refused, each.connections) == (0, 0, 1)
        # The last one, after the last round, is to no round.
        assert 0 < tally.added <= each.pushed <= tally.added + tally.stale + tally.repeated + 2
        assert tally.added + tally.missing == 8
    assert [seat.refused for seat in server.mind.seats] == [0, 0]
    assert server.mind.version == 8


@pytest.mark.spec("TR-44")
def test_who_is_late_goes_idle_and_others_do_not_wait() -> None:
    """Trainer 1 says nothing; trainer 0's rounds go on, and the server counts what was missing."""
    terms = rules(**SLOW)
    with (
        serving(terms) as server,
        trainer(server.connect, terms, 0) as zero,
        trainer(server.connect, terms, 1) as one,
    ):
        seen = train(zero, 1.0)
        counts = one.finish(10)
    assert seen[max(seen)][0] > 1
    assert server.mind.tallies[0].added > 1
    assert server.mind.tallies[1].missing == 8
    assert counts.pushed == 0
    assert counts.sent + counts.missed == terms.schedule.ticks - 1


@pytest.mark.spec("TR-45")
def test_a_trainer_that_never_comes_is_not_waited_for() -> None:
    terms = rules(join_s=0.2)
    with serving(terms) as server, trainer(server.connect, terms, 0) as zero:
        assert zero.await_tick(3)
        server.thread.join(20)
        assert server.mind.tick == terms.schedule.ticks - 1


@pytest.mark.spec("TR-44")
def test_a_connection_that_breaks_is_made_again() -> None:
    """Ticks without a connection were missed; what came before is still known."""
    terms = rules(rounds=40)
    with (
        serving(terms) as server,
        trainer(server.connect, terms, 0) as zero,
        trainer(server.connect, terms, 1) as one,
    ):
        zero.publish_plan(PLAN, floats(0, 0, 0))
        version, _ = one.pull(timeout_s=5)
        until(lambda: one._link is not None)
        assert one._link is not None
        one._link.end()
        until(lambda: one.counts.connections == 2)
        while not server.mind.tallies[1].added:
            version, _ = one.pull(newer_than=version, timeout_s=5)
            one.push(floats(4, 4, 4), version)
    assert one.counts.missed > 0


class Liar:
    """A server that says whatever a test gives it, one message each time."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.connections: list[socket.socket] = []
        self.heard: list[ExchangeMessage] = []

    def connect(self) -> socket.socket:
        return socket.create_connection(self.listener.getsockname(), timeout=5)

    def accept(self) -> None:
        sock, _ = self.listener.accept()
        sock.settimeout(5)
        self.connections.append(sock)
        assert self.hear().kind is Kind.HELLO

    def hear(self) -> ExchangeMessage:
        data = bytearray()
        while len(data) < message_bytes(RULES):
            data += self.connections[-1].recv(message_bytes(RULES) - len(data))
        message = read_message(bytes(data), RULES)
        self.heard.append(message)
        return message

    def say(self, kind: Kind, tick: int, **fields: object) -> None:
        out = bytearray(message_bytes(RULES))
        known = {"epoch": 1, "life": LIFE} | fields
        write_message(ExchangeMessage(kind, SERVER, tick, **known), RULES, out)  # type: ignore[arg-type]  # fields of any
        self.connections[-1].sendall(out)

    def close(self) -> None:
        for sock in (*self.connections, self.listener):
            sock.close()


@pytest.fixture
def liar() -> Iterator[Liar]:
    found = Liar()
    yield found
    found.close()


LIES: dict[str, tuple[Callable[[Liar], None], str]] = {
    "an earlier version": (
        lambda server: server.say(Kind.PARAMETERS, 2, version=4, body=floats(1)),
        "state.rolled-back",
    ),
    "an earlier epoch": (lambda server: server.say(Kind.IDLE, 2, epoch=0), "state.rolled-back"),
    "another life": (
        lambda server: server.say(Kind.IDLE, 2, version=9, life=b"M" * 16),
        "state.forked",
    ),
    "a later epoch below what was kept": (
        lambda server: server.say(Kind.IDLE, 2, epoch=2, life=b"M" * 16, version=2, durable=2),
        "state.rolled-back",
    ),
}


@pytest.mark.spec("TR-34")
@pytest.mark.parametrize("name", LIES)
def test_a_server_that_was_put_back_is_believed_nothing_any_more(name: str, liar: Liar) -> None:
    """And told nothing: the trainer's messages go on, empty, until the schedule ends."""
    lie, code = LIES[name]
    with trainer(liar.connect, RULES, 1) as client:
        liar.accept()
        liar.say(Kind.WELCOME, 0, version=5, durable=3)
        liar.say(Kind.PARAMETERS, 1, version=5, durable=3, body=floats(1))
        assert client.pull(timeout_s=5)[0] == 5
        lie(liar)
        until(lambda: client.failure is not None)
        for question in (
            client.pull,
            lambda: client.push(floats(1), 5),
            lambda: client.await_plan(1),
        ):
            with pytest.raises(TamperedError) as caught:
                question()
            assert caught.value.code == code
        liar.say(Kind.PARAMETERS, 3, version=9, durable=9, body=floats(7))
        before = len(liar.heard)
        while liar.hear().tick < 20:
            pass
        later = liar.heard[before + 1 :]
        assert len(later) > 5
        assert {message.kind for message in later} == {Kind.IDLE}
        with pytest.raises(TamperedError):
            client.pull()


@pytest.mark.spec("TR-42")
@pytest.mark.parametrize(
    "lie",
    [
        lambda server: server.say(Kind.WELCOME, 2),
        lambda server: server.say(Kind.IDLE, 1),
        lambda server: server.say(Kind.PARAMETERS, 2, version=2, body=floats(np.nan)),
        lambda server: server.connections[-1].sendall(bytes(message_bytes(RULES))),
        lambda server: server.connections[-1].sendall(b"\xff" * message_bytes(RULES)),
    ],
    ids=["a second welcome", "a tick again", "no numbers", "zeros", "noise"],
)
def test_what_a_server_may_not_say_ends_the_connection(
    lie: Callable[[Liar], None], liar: Liar
) -> None:
    """The trainer comes again, with what it has seen."""
    with trainer(liar.connect, RULES, 1) as client:
        liar.accept()
        liar.say(Kind.WELCOME, 0)
        liar.say(Kind.IDLE, 1, version=2)
        lie(liar)
        liar.accept()
        assert (liar.heard[-1].epoch, liar.heard[-1].version) == (1, 2)
        assert client.failure is None
        assert client.counts.refused == 1
        liar.say(Kind.WELCOME, 5, version=3)
        until(lambda: client.counts.received >= 3)


def test_questions_that_cannot_be_answered(liar: Liar) -> None:
    with trainer(liar.connect, RULES, 1) as client:
        assert client.tick is None
        with pytest.raises(UnavailableError):
            client.pull(timeout_s=0.05)
        with pytest.raises(UnavailableError):
            client.await_plan(0.05)
        for mistake in (
            lambda: client.publish_plan(PLAN, floats(1)),  # not trainer 0
            lambda: client.push(floats(1), 0),  # nothing was pulled
            lambda: client.metrics(0, {"other": 1.0}),
            lambda: client.metrics(0, {"loss": float("nan")}),
            lambda: ExchangeClient(liar.connect, RULES, index=2),
        ):
            with pytest.raises(LocalProtocolError):
                mistake()
    assert not client.await_tick(0)  # closed
    zero = ExchangeClient(liar.connect, RULES, index=0)
    for plan, initial in (
        (b"", floats(1)),
        (bytes(257), floats(1)),
        (PLAN, floats()),
        (PLAN, floats(np.inf)),
    ):
        with pytest.raises(CloisterError):
            zero.publish_plan(plan, initial)


@pytest.mark.spec("TR-28")
def test_one_difference_waits_and_an_epochs_end_loses_it(liar: Liar) -> None:
    with trainer(liar.connect, RULES, 1) as client:
        liar.accept()
        liar.say(Kind.WELCOME, 0)
        liar.say(Kind.PARAMETERS, 1, version=1, body=floats(1))
        assert client.pull(timeout_s=5)[0] == 1
        client._stop.wait(0.05)
        liar.connections[-1].close()
        until(lambda: client._link is None)
        assert client.push(floats(2), 1)
        assert not client.push(floats(3), 1)
        liar.accept()
        liar.say(Kind.WELCOME, 9, epoch=2, life=b"M" * 16, version=1)
        until(lambda: client.counts.lost == 1)
        assert client.counts.pushed == 0


@pytest.mark.spec("TR-5", "TR-23", "TR-24")
@pytest.mark.parametrize("count", [1, 4, 8])
def test_trainers_that_do_not_wait_for_each_other(count: int) -> None:
    """What each adds is in the end in the parameters, once."""
    terms = rules(
        mode="bounded-stale",
        damping="none",
        max_staleness=100,
        trainers=count,
        rounds=12,
        tick_ms=30,
    )
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(terms))
        clients = [stack.enter_context(trainer(server.connect, terms, n)) for n in range(count)]
        clients[0].publish_plan(PLAN, floats(0, 0, 0))

        def work(client: ExchangeClient) -> None:
            with contextlib.suppress(UnavailableError):
                version, _ = client.pull(timeout_s=5)
                while client.push(floats(1, 2, 0), version) or client.await_tick(
                    (client.tick or 0) + 1
                ):
                    version, _ = client.pull(newer_than=version, timeout_s=1)

        threads = [threading.Thread(target=work, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.thread.join(20)
        found = server.mind.pull()
        assert found is not None
        version, parameters = found
        assert version == sum(tally.added for tally in server.mind.tallies)
        assert version > 2 * count
        assert parameters.tolist() == [version, 2 * version, 0]
        assert [seat.refused for seat in server.mind.seats] == [0] * count
