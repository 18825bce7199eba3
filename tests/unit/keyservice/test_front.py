"""The ASGI application without sockets, and connections over a real one."""

import asyncio
import http.client
import os
import signal
import socket
import threading
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Never

import pytest

from cloister.errors import (
    MalformedError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice import front
from cloister.keyservice.clock import Moment, read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.front import MAX_GROUP, MAX_HEAD_BYTES, Application
from cloister.keyservice.messages import (
    CHALLENGE_PATH,
    MAX_REQUEST_BYTES,
    MEDIA_TYPE,
    Challenge,
    ChallengeRequest,
    Failure,
    Reply,
    SignedReply,
)
from cloister.keyservice.metrics import Gauges, Metrics
from cloister.keyservice.server import ServerSettings, serve
from cloister.keyservice.service import Answer, Call
from cloister.testing.keyservice import ServiceBench

Message = MutableMapping[str, Any]


def call(
    bench: ServiceBench,
    parts: list[bytes],
    *,
    method: str = "POST",
    stopped: list[int] | None = None,
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send one request in parts; returns status, headers and body."""
    sent: list[Message] = []
    waiting = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]

    async def receive() -> Message:
        if not waiting:
            await asyncio.sleep(3600)
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    stops = [] if stopped is None else stopped
    application = Application(bench.service, clock=bench.clock, stop=lambda: stops.append(1))
    scope = {"type": "http", "method": method, "path": CHALLENGE_PATH}
    asyncio.run(application(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def test_a_request_in_parts_is_answered(bench: ServiceBench) -> None:
    """However the network cut it."""
    body = ChallengeRequest(b"n" * 32).to_bytes()
    status, headers, answer = call(bench, [body[:5], b"", body[5:]])
    assert (status, headers[b"content-type"]) == (200, MEDIA_TYPE.encode())
    reply = SignedReply.from_bytes(answer).open(
        path=CHALLENGE_PATH, request=body, service=bench.domain.identity
    )
    assert isinstance(reply, Reply)
    assert Challenge.from_bytes(reply.result).service == bench.domain.identity.raw


@pytest.mark.spec("KR-6")
def test_a_body_over_the_limit_is_cut_off(bench: ServiceBench) -> None:
    """It is not kept in memory to be refused later."""
    assert call(bench, [b"x" * MAX_REQUEST_BYTES, b"x"])[0] == 413


@pytest.mark.spec("KR-6")
def test_a_body_that_does_not_come_is_given_up(
    bench: ServiceBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that sends nothing holds nothing for long."""
    monkeypatch.setattr(front, "BODY_TIMEOUT_S", 0.01)
    assert call(bench, [])[0] == 408


@pytest.mark.spec("KR-6")
def test_a_service_that_cannot_answer_says_when_to_ask_again(
    bench: ServiceBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every 503 has it, and no other answer."""

    def busy(*_: object) -> Never:
        raise UnavailableError("too much", code="keyservice.busy")

    body = ChallengeRequest(b"n" * 32).to_bytes()
    status, headers, _ = call(bench, [body])
    assert (status, b"retry-after" in headers) == (200, False)
    monkeypatch.setitem(bench.service._routes, CHALLENGE_PATH, lambda *_: busy)
    status, headers, _ = call(bench, [body])
    assert (status, headers[b"retry-after"]) == (503, b"1")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_refused(bench: ServiceBench, method: str) -> None:
    """There is one verb."""
    assert call(bench, [b""], method=method)[0] == 405


def test_damage_to_the_state_stops_the_server(
    bench: ServiceBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that cannot trust its state says so once and does not go on."""

    def damaged(body: bytes, moment: object) -> bytes:
        raise TamperedError("changed", code="state.tampered")

    monkeypatch.setitem(bench.service._routes, CHALLENGE_PATH, damaged)
    stopped: list[int] = []
    assert call(bench, [b""], stopped=stopped)[0] == 500
    assert stopped == [1]
    assert "state.tampered" in caplog.text


def test_a_malformed_body_is_answered(bench: ServiceBench) -> None:
    """With a signed reason."""
    status, _, answer = call(bench, [b"x"])
    assert status == 400
    with pytest.raises(MalformedError):
        raise (
            SignedReply.from_bytes(answer)
            .open(path=CHALLENGE_PATH, request=b"x", service=bench.domain.identity)
            .error()
        )


@pytest.mark.spec("KR-2", "KH-1")
def test_what_is_not_the_protocols_goes_to_another_application(bench: ServiceBench) -> None:
    """Which is made once, when somebody asks; a POST to nowhere stays the protocol's."""
    made: list[str] = []
    seen: list[tuple[str, str]] = []

    class Elsewhere:
        """Has one path."""

        def has(self, path: str) -> bool:
            return path == "/there"

        async def __call__(self, scope: Message, *_: object) -> None:
            seen.append((scope["method"], scope["path"]))

    def make() -> Elsewhere:
        made.append("made")
        return Elsewhere()

    application = Application(bench.service, clock=bench.clock, stop=lambda: None, other=make)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask(method: str, path: str) -> None:
        await application({"type": "http", "method": method, "path": path}, receive, send)

    asyncio.run(ask("POST", CHALLENGE_PATH))
    asyncio.run(ask("GET", CHALLENGE_PATH))
    assert made == []
    assert [each["status"] for each in sent if "status" in each] == [400, 405]
    for method, path in (("GET", "/nowhere"), ("POST", "/there"), ("POST", "/nowhere")):
        asyncio.run(ask(method, path))
    assert made == ["made"]
    assert seen == [("GET", "/nowhere"), ("POST", "/there")]
    failure = SignedReply.from_bytes(sent[-1]["body"]).open(
        path="/nowhere", request=b"x", service=bench.domain.identity
    )
    assert isinstance(failure, Failure)
    assert failure.code == "message.malformed"


def test_answers_are_counted(bench: ServiceBench) -> None:
    """By path and code, with the size of their group."""
    metrics = Metrics()
    application = Application(bench.service, clock=bench.clock, stop=lambda: None, metrics=metrics)
    asyncio.run(together(application, 3))
    text = metrics.text(Gauges(0, 0, 0, 0, 0))
    assert 'requests_total{path="/v1/challenge",code="ok"} 3' in text
    assert 'group_size_bucket{le="4"} 1' in text


async def together(application: Application, count: int) -> list[int]:
    """Send so many requests at once; returns the statuses."""
    statuses: list[int] = []

    async def one(number: int) -> None:
        body = ChallengeRequest(bytes([number]) * 32).to_bytes()

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            if "status" in message:
                statuses.append(message["status"])

        await application({"type": "http", "method": "POST", "path": CHALLENGE_PATH}, receive, send)

    await asyncio.gather(*(one(number) for number in range(count)))
    return statuses


def test_requests_that_are_there_together_are_a_group(
    bench: ServiceBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of at most `MAX_GROUP`; each gets its own answer."""
    sizes: list[int] = []
    real = bench.service.handle_together

    def watched(calls: Sequence[Call], moment: Moment) -> list[Answer]:
        sizes.append(len(calls))
        return real(calls, moment)

    monkeypatch.setattr(bench.service, "handle_together", watched)
    application = Application(bench.service, clock=bench.clock, stop=lambda: None)
    assert asyncio.run(together(application, MAX_GROUP + 3)) == [200] * (MAX_GROUP + 3)
    assert sizes == [MAX_GROUP, 3]


def test_a_full_disk_is_every_answer_of_the_group(
    bench: ServiceBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was not made durable was not decided."""

    def full(size: int) -> None:
        raise StorageFullError("full", code="storage.full")

    monkeypatch.setattr(bench.store, "_commit", full)
    body = b"x"

    def change() -> bytes:
        with bench.store.transaction():
            bench.store.append(b"entry")
        return b"done"

    monkeypatch.setitem(bench.service._routes, CHALLENGE_PATH, lambda *_: change)
    before = bench.store.log_size
    answers = bench.service.handle_together([Call(CHALLENGE_PATH, body)] * 3, bench.clock())
    assert [answer.status for answer in answers] == [507] * 3
    assert bench.store.log_size == before
    failure = SignedReply.from_bytes(answers[0].body).open(
        path=CHALLENGE_PATH, request=body, service=bench.domain.identity
    )
    assert isinstance(failure, Failure)
    assert failure.code == "storage.full"


# -- over a real socket

HEAD = b"POST /v1/challenge HTTP/1.1\r\nHost: x\r\nConnection: %s\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A served domain, with short patience, in a child process."""
    monkeypatch.setattr(front, "HEAD_TIMEOUT_S", 0.4)
    domain = TrustDomain.create(tmp_path / "domain", "example.test", moment=read_clock())
    settings = ServerSettings(domain.directory, "127.0.0.1:0", idle_exit_s=0, lease_ttl_s=15)
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            serve(
                settings,
                ready=lambda facts: os.write(sending, facts["url"].encode()) and None,
                get=None,
            )
        finally:
            os._exit(0)
    os.close(sending)
    url = os.read(receiving, 100).decode()
    os.close(receiving)
    yield int(url.rpartition(":")[2])
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def converse(port: int, *parts: bytes) -> bytes:
    """Send parts and read until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        found = b""
        try:
            for part in parts:
                connection.sendall(part)
            while data := connection.recv(65536):
                found += data
        except ConnectionError:
            pass
        return found


@pytest.mark.spec("KR-6")
def test_heads_have_an_end(port: int) -> None:
    """One that never comes, one that comes slowly, one that is long, one that never stops."""
    assert converse(port) == b""
    assert converse(port, b"POST /v1/challenge HT") == b""
    start = b"POST /v1/challenge HTTP/1.1\r\nHost: x\r\n"
    whole = start + b"A: " + b"a" * MAX_HEAD_BYTES + b"\r\nContent-Length: 0\r\n\r\n"
    assert b" 200 " not in converse(port, whole)
    assert converse(port, start, *[b"A: " + b"a" * 1000 + b"\r\n"] * 200) == b""


def test_a_connection_may_ask_again_and_nonsense_may_not(port: int) -> None:
    """Two requests in a row, then bytes that are none."""
    body = ChallengeRequest(b"n" * 32).to_bytes()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(2):
        client.request("POST", CHALLENGE_PATH, body)
        answer = client.getresponse()
        assert (answer.status, len(answer.read()) > 0) == (200, True)
    client.sock.sendall(b"nonsense\r\n\r\n")
    found = b""
    while data := client.sock.recv(65536):
        found += data
    client.close()
    assert b" 400 " in found


def test_many_clients_at_once_are_answered(port: int) -> None:
    """Each its own reply."""
    body = ChallengeRequest(b"n" * 32).to_bytes()
    whole = HEAD % (b"close", len(body)) + body
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(converse(port, whole))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answer.startswith(b"HTTP/1.1 200 OK") for answer in found)
    assert len(set(found)) == 20
