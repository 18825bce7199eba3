"""Gathering cosignatures: enough of them, in time, whatever single witnesses do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, UnavailableError
from cloister.keyservice.cosigning import Cosigner, Quorum, WitnessKey
from cloister.keyservice.notes import Note
from cloister.keyservice.witness import (
    ADD_CHECKPOINT_PATH,
    SIZE_MEDIA_TYPE,
    TEXT_MEDIA_TYPE,
    AddCheckpoint,
    Held,
    Verdict,
    Witness,
)
from cloister.keyservice.witnessing import WitnessCircle, WitnessEndpoint
from cloister.testing.log import ORIGIN, MemoryLog

Judge = Callable[[bytes], Verdict]
COSIGNERS = [Cosigner(f"w{n}.example", SigningKey(bytes([n]) * 32)) for n in range(4)]


class Honest:
    """A witness in memory."""

    def __init__(self, cosigner: Cosigner) -> None:
        """Nothing seen."""
        self.witness = Witness(cosigner, {ORIGIN: SigningKey(b"k" * 32).public})
        self.held: dict[str, Held] = {}
        self.asked: list[int] = []

    def __call__(self, data: bytes) -> Verdict:
        """Judge and keep."""
        self.asked.append(AddCheckpoint.from_bytes(data).old)
        verdict = self.witness.judge(data, self.held, at=7)
        if verdict.origin:
            self.held[verdict.origin] = verdict.held
        return verdict


@contextmanager
def listening(judge: Judge) -> Iterator[str]:
    """Answer as `judge` says, on a loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            verdict = judge(body) if self.path == ADD_CHECKPOINT_PATH else Verdict(404)
            self.send_response(verdict.status)
            self.send_header("Content-Type", verdict.media_type)
            self.send_header("Content-Length", str(len(verdict.body)))
            with suppress(OSError):
                self.end_headers()
                self.wfile.write(verdict.body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def circle_of(
    judges: list[Judge], *, required: int, deadline_s: float = 5.0
) -> Iterator[WitnessCircle]:
    """A circle of witnesses, each answering as its judge says."""
    with contextmanager(_all)(judges) as urls:
        endpoints = [
            WitnessEndpoint(url, cosigner.public)
            for url, cosigner in zip(urls, COSIGNERS, strict=False)
        ]
        yield WitnessCircle(endpoints, required=required, deadline_s=deadline_s)


def _all(judges: list[Judge]) -> Iterator[list[str]]:
    if not judges:
        yield []
        return
    with listening(judges[0]) as first, contextmanager(_all)(judges[1:]) as others:
        yield [first, *others]


@pytest.fixture
def log() -> MemoryLog:
    """Five decisions."""
    log = MemoryLog()
    log.decide(5)
    return log


def counted(note: str, required: int) -> set[str]:
    """Who cosigned a note, of which so many must have."""
    quorum = Quorum(tuple(each.public for each in COSIGNERS), required)
    return {each.witness for each in quorum.require(Note.from_text(note))}


@pytest.mark.spec("RL-44")
def test_enough_lines_come_back_in_the_note(log: MemoryLog) -> None:
    """Behind the service's own."""
    with circle_of([Honest(each) for each in COSIGNERS[:3]], required=3) as circle:
        note = circle.cosign(log.note(), log.prove)
    assert note.startswith(log.note())
    assert counted(note, 3) == {"w0.example", "w1.example", "w2.example"}


@pytest.mark.spec("RL-44")
def test_each_witness_is_asked_from_what_it_saw(log: MemoryLog) -> None:
    """A size that is not known is learnt by one refusal, and remembered."""
    honest = Honest(COSIGNERS[0])
    honest.held[ORIGIN] = Held(3, log.checkpoint(3).root)
    with circle_of([honest], required=1) as circle:
        circle.cosign(log.note(), log.prove)
        log.decide(2)
        circle.cosign(log.note(), log.prove)
    assert honest.asked == [0, 3, 5]
    assert honest.held[ORIGIN].size == 7


def test_no_witnesses_are_enough_for_nobody(log: MemoryLog) -> None:
    """A service without witnesses signs alone."""
    circle = WitnessCircle([], required=0, deadline_s=1.0)
    assert circle.cosign(log.note(), log.prove) == log.note()


def slow(_: bytes) -> Verdict:
    """Answers when nobody waits any more."""
    time.sleep(4.0)
    return Verdict(500)


def garbage(_: bytes) -> Verdict:
    """Says yes with something else."""
    return Verdict(200, b"\xff\xfe" * 100)


def endless(_: bytes) -> Verdict:
    """Says yes at length."""
    return Verdict(200, b"\xe2\x80\x94 w1.example " + b"A" * 100_000)


def empty(_: bytes) -> Verdict:
    """Says yes with nothing."""
    return Verdict(200)


def liar(_: bytes) -> Verdict:
    """Holds another size each time."""
    return Verdict(409, f"{time.monotonic_ns() % 5 + 1}\n".encode(), SIZE_MEDIA_TYPE)


def ahead(_: bytes) -> Verdict:
    """Has seen more than there is."""
    return Verdict(409, b"99\n", SIZE_MEDIA_TYPE)


def vague(_: bytes) -> Verdict:
    """Holds nobody knows what."""
    return Verdict(409, b"-1\n", SIZE_MEDIA_TYPE)


def other_type(_: bytes) -> Verdict:
    """A conflict in another form."""
    return Verdict(409, b"3\n", TEXT_MEDIA_TYPE)


def mover(log_note: str) -> Judge:
    """Cosigns another checkpoint than it was asked for."""
    line = COSIGNERS[1].cosign(Note.from_text(log_note), at=7)
    return lambda _: Verdict(200, line.to_text().encode())


def impostor(body: bytes) -> Verdict:
    """Cosigns in another witness's name."""
    note = Note.from_text(AddCheckpoint.from_bytes(body).note)
    return Verdict(200, COSIGNERS[2].cosign(note, at=7).to_text().encode())


BAD: dict[str, tuple[Judge, str]] = {
    "slow": (slow, "no answer in time"),
    "garbage": (garbage, "its line does not hold"),
    "endless": (endless, "its line does not hold"),
    "empty": (empty, "its line does not hold"),
    "liar": (liar, "holds"),
    "ahead": (ahead, "holds 99 entries"),
    "vague": (vague, "answered 409"),
    "other type": (other_type, "answered 409"),
    "mover": (mover(MemoryLog().note()), "its line does not hold"),
    "impostor": (impostor, "its line does not hold"),
    "broken": (lambda _: Verdict(500), "answered 500"),
    "forbidden": (lambda _: Verdict(403), "answered 403"),
}


@pytest.mark.spec("RL-44")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_witness_costs_its_own_line_only(log: MemoryLog, name: str) -> None:
    """Where the others are enough, it is not waited for and adds nothing."""
    judges = [Honest(COSIGNERS[0]), BAD[name][0], Honest(COSIGNERS[2])]
    began = time.monotonic()
    with circle_of(judges, required=2) as circle:
        note = circle.cosign(log.note(), log.prove)
        assert time.monotonic() - began < 3.9
    assert counted(note, 2) == {"w0.example", "w2.example"}


@pytest.mark.spec("RL-44")
@pytest.mark.parametrize("name", BAD)
def test_too_few_are_said_in_time(log: MemoryLog, name: str) -> None:
    """With the reason of each that is missing, for the operator."""
    judge, reason = BAD[name]
    began = time.monotonic()
    with circle_of([Honest(COSIGNERS[0]), judge], required=2, deadline_s=0.5) as circle:
        with pytest.raises(UnavailableError) as e:
            circle.cosign(log.note(), log.prove)
        assert time.monotonic() - began < 3.5
    assert e.value.code == "keyservice.witnesses"
    assert e.value.retryable
    assert f"w1.example: {reason}" in (e.value.detail or "")
    assert "w0.example" not in (e.value.detail or "")


@pytest.mark.spec("RL-44")
def test_a_witness_that_drips_or_is_not_there_delays_nobody(log: MemoryLog) -> None:
    """One byte at a time keeps a socket alive, and not the caller."""
    with socket.create_server(("127.0.0.1", 0)) as dripping, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))

        def drip() -> None:
            connection, _ = dripping.accept()
            with connection:
                try:
                    while True:
                        connection.sendall(b"H")
                        time.sleep(0.05)
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        endpoints = [
            WitnessEndpoint(f"http://127.0.0.1:{each.getsockname()[1]}", cosigner.public)
            for each, cosigner in zip((dripping, closed), COSIGNERS, strict=False)
        ]
        began = time.monotonic()
        with pytest.raises(UnavailableError) as e:
            WitnessCircle(endpoints, required=1, deadline_s=0.3).cosign(log.note(), log.prove)
        assert time.monotonic() - began < 5
        thread.join(timeout=5)
        assert not thread.is_alive()
    assert "w1.example: cannot be reached" in (e.value.detail or "")


def test_a_witness_that_is_still_busy_is_not_asked_again(log: MemoryLog) -> None:
    """Threads do not pile up behind one that hangs."""
    judges: list[Judge] = [slow]
    with circle_of(judges, required=1, deadline_s=0.1) as circle:
        circle._busy.add(circle._endpoints[0])
        with pytest.raises(UnavailableError) as e:
            circle.cosign(log.note(), log.prove)
    assert "still busy" in (e.value.detail or "")


@pytest.mark.parametrize(
    "url", ["", "https://a:1", "http://a", "http://:1", "http://a:x", "a:1", "http://a:1/b c"]
)
def test_an_address_is_checked_when_it_is_read(url: str) -> None:
    """Not when it is first needed."""
    with pytest.raises(ConfigError) as e:
        WitnessEndpoint(url, COSIGNERS[0].public)
    assert e.value.code == "config.value"


def test_a_circle_has_room_for_sixteen() -> None:
    """As a note has."""
    endpoints = [
        WitnessEndpoint(f"http://a:{n}", WitnessKey(f"w{n}", SigningKey(bytes([n]) * 32).public))
        for n in range(1, 18)
    ]
    assert WitnessCircle(endpoints[:16], required=9, deadline_s=1.0).quorum.required == 9
    with pytest.raises(ConfigError) as e:
        WitnessCircle(endpoints, required=9, deadline_s=1.0)
    assert e.value.code == "config.value"
