"""The server among trainers that are slow, rude or gone, and its second life."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

from cloister.cleanroom import exchange_server
from cloister.cleanroom.checkpoint import Checkpoint
from cloister.cleanroom.exchange_message import (
    ExchangeMessage,
    Kind,
    message_bytes,
    write_message,
)
from cloister.cleanroom.exchange_server import ExchangeServer
from cloister.cleanroom.round_rules import RoundRules
from cloister.errors import UnavailableError
from rounds_bench import (
    LIFE,
    PLAN,
    RULES,
    SLOW,
    Anybody,
    RunningServer,
    begun,
    coordinator,
    floats,
    rules,
    said,
    serving,
    trainer,
    until,
)


def written(message: ExchangeMessage, terms: RoundRules = RULES) -> bytes:
    out = bytearray(message_bytes(terms))
    write_message(message, terms, out)
    return bytes(out)


def ended(sock: socket.socket) -> bool:
    """Read what is left; whether the other side has hung up."""
    sock.settimeout(5)
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


HELLO = written(ExchangeMessage(Kind.HELLO, 1, 0))


@pytest.mark.spec("TR-40", "TR-41", "TR-42", "TR-46")
@pytest.mark.parametrize(
    "words",
    [
        [bytes(len(HELLO))],
        [b"\xff" * len(HELLO)],
        [written(said(Kind.IDLE, 1, 0))],  # no greeting
        [HELLO, HELLO],
        [HELLO, written(said(Kind.IDLE, 0, 1))],  # another trainer's
        [HELLO, written(said(Kind.IDLE, 1, 0)) + written(said(Kind.IDLE, 1, 0))],  # twice
        [HELLO, written(said(Kind.IDLE, 1, 5000))],  # of the future
        [HELLO + b"more" + HELLO],  # longer than a message
        [HELLO, written(said(Kind.INITIAL, 1, 0, body=floats(1)))],
        [HELLO, written(said(Kind.IDLE, 1, 0, epoch=2))],  # has seen what is not yet
        [HELLO, written(said(Kind.IDLE, 1, 0, life=b"M" * 16))],
        [written(ExchangeMessage(Kind.HELLO, 1, 0, epoch=3, life=LIFE))],
    ],
)
def test_what_a_trainer_may_not_say_ends_its_connection_and_nothing_else(
    words: list[bytes],
) -> None:
    terms = rules(join_s=0.1, rounds=100)
    # Written for this room, whose digest and sizes are the same.
    with serving(terms) as server, trainer(server.connect, terms, 0) as zero:
        with server.connect() as rude:
            for word in words:
                rude.sendall(word)
            assert ended(rude)
        zero.publish_plan(PLAN, floats(1, 2, 3))
        assert zero.pull(timeout_s=5)[1].tolist() == [1, 2, 3]
        assert zero.counts.connections == 1
    assert sum(seat.refused for seat in server.mind.seats) == (
        len(words) > 1 or len(words[0]) > len(HELLO)
    )


@pytest.mark.spec("TR-46")
def test_strangers_that_say_nothing_are_few_and_do_not_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange_server, "_GREETING_S", 0.3)
    monkeypatch.setattr(exchange_server, "_STRANGERS", 3)
    terms = rules(join_s=2.0, trainers=1)
    with serving(terms) as server:
        silent = [server.connect() for _ in range(3)]
        until(lambda: server.server._strangers == 3)
        with server.connect() as fourth:
            assert ended(fourth)
        assert all(ended(sock) for sock in silent)
        for sock in silent:
            sock.close()
        with trainer(server.connect, terms, 0) as zero:
            assert zero.await_tick(1)


@pytest.mark.spec("TR-41")
def test_the_newest_connection_of_a_trainer_is_its_only_one() -> None:
    terms = rules(trainers=1)
    with serving(terms) as server, server.connect() as before:
        before.sendall(written(ExchangeMessage(Kind.HELLO, 0, 0), terms))
        until(lambda: 0 in server.server._lines)
        with trainer(server.connect, terms, 0) as zero:
            assert ended(before)
            assert zero.await_tick(2)
            assert server.mind.seats[0].refused == 0


@pytest.mark.spec("TR-44")
def test_a_trainer_that_reads_nothing_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_server, "_STALLED_S", 0.2)
    terms = rules(parameters_max=1 << 18, rounds=8, join_s=0.5)
    with (
        serving(terms) as server,
        trainer(server.connect, terms, 0) as zero,
        socket.socket() as deaf,
    ):
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        deaf.connect(server.address)
        deaf.sendall(written(ExchangeMessage(Kind.HELLO, 1, 0), terms))
        zero.publish_plan(PLAN, np.zeros(3, np.float32))
        version, _ = zero.pull(timeout_s=5)
        until(lambda: 1 in server.server._lines)
        until(lambda: 1 not in server.server._lines)  # given up
        assert zero.pull(newer_than=version, timeout_s=5)[0] > version
    assert zero.counts.connections == 1


@pytest.mark.spec("TR-47", "TR-52")
def test_nothing_is_told_before_a_life_is_kept() -> None:
    def fail(checkpoint: Checkpoint) -> None:
        raise UnavailableError("no", code="volume.io")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ExchangeServer(
            listener, coordinator(), RULES, speakers=Anybody(), keep=fail, job=lambda _: None
        )
        with pytest.raises(UnavailableError):
            server.serve()
        with socket.create_connection(listener.getsockname()) as sock:
            sock.settimeout(0.2)
            with pytest.raises(TimeoutError):
                sock.recv(1)


@pytest.mark.spec("TR-51")
def test_a_checkpoint_that_is_not_kept_is_counted_and_time_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept: list[Checkpoint] = []

    def keep(checkpoint: Checkpoint) -> None:
        kept.append(checkpoint)
        if len(kept) == 3:
            raise UnavailableError("no", code="volume.io")

    terms = rules(trainers=1, checkpoint_every=1, **SLOW)
    mind = coordinator(terms)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = ExchangeServer(
            listener, mind, terms, speakers=Anybody(), keep=keep, job=lambda _: None
        )
        thread = threading.Thread(target=server.serve)
        thread.start()
        with trainer(lambda: socket.create_connection(listener.getsockname()), terms, 0) as zero:
            zero.publish_plan(PLAN, floats(1, 2, 3))
            zero.finish(10)
        thread.join(10)
    assert len(kept) > 3
    assert (server.jobs_lost, mind.durable) == (1, kept[-1].version)
    assert mind.tick == terms.schedule.ticks - 1
    assert "volume.io" in caplog.text


@pytest.mark.spec("TR-47", "TR-48", "TR-53")
def test_a_server_that_is_killed_goes_on_from_its_checkpoint() -> None:
    """In the trainers' time; they lose what was not kept, and notice nothing else."""
    terms = rules(rounds=24, checkpoint_every=1, trainers=2)
    first = RunningServer(coordinator(terms), terms)
    place = [first]

    def connect() -> socket.socket:
        return place[0].connect()

    with trainer(connect, terms, 0) as zero, trainer(connect, terms, 1) as one:
        zero.publish_plan(PLAN, floats(0, 0, 0))
        version, _ = one.pull(timeout_s=5)
        assert one.push(floats(1, 1, 1), version)
        until(lambda: first.mind.durable >= 1)
        first.stop()
        lost = first.kept[-1]
        place[0] = RunningServer(coordinator(terms, checkpoint=lost, life=b"M" * 16), terms)
        try:
            until(lambda: zero.counts.connections >= 2 and one.counts.connections >= 2)
            assert place[0].mind.epoch == 2
            until(lambda: one._standing.epoch == 2)
            version, parameters = one.pull(timeout_s=5)
            assert parameters.tolist() == [1, 1, 1]
            assert place[0].mind.tick >= zero._told  # the trainers' time, not the checkpoint's
            while parameters[0] < 2:  # a difference may miss its round
                one.push(floats(1, 1, 1), version)
                version, parameters = one.pull(newer_than=version, timeout_s=5)
            assert parameters.tolist() == [2, 2, 2]
            counts = [client.finish(20) for client in (zero, one)]
            place[0].thread.join(20)
        finally:
            place[0].stop()
    assert [each.refused for each in counts] == [0, 0]
    assert zero.failure is None
    assert one.failure is None
    assert [seat.refused for seat in place[0].mind.seats] == [0, 0]
    assert place[0].mind.version == 24
    assert [each.sent + each.missed for each in counts] == [terms.schedule.ticks - 1] * 2


@pytest.mark.spec("TR-48")
def test_a_later_life_does_not_wait_for_a_trainer_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And goes on at the time that it is by then, not at that of the greeting."""
    monkeypatch.setattr(exchange_server, "_OTHERS_S", 0.4)
    terms = rules(rounds=60, join_s=60.0, trainers=3)
    mind = coordinator(terms, checkpoint=begun(terms).snapshot(), life=b"M" * 16)
    with serving(terms, mind) as server, server.connect() as sock:
        with server.connect() as new:  # one that began again does not know the time
            new.sendall(written(ExchangeMessage(Kind.HELLO, 0, 0), terms))
            until(lambda: 0 in server.server._lines)
            sock.sendall(written(ExchangeMessage(Kind.HELLO, 1, 100), terms))
            until(lambda: mind.tick > 2)
        assert mind.tick >= 100 + 0.4 / terms.schedule.tick_s - 1
        assert mind.tick < 200
