"""The ASGI application without sockets."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from cloister.errors import MalformedError, TamperedError
from cloister.keyservice import server
from cloister.keyservice.messages import (
    CHALLENGE_PATH,
    MAX_REQUEST_BYTES,
    MEDIA_TYPE,
    Challenge,
    ChallengeRequest,
    Reply,
    SignedReply,
)
from cloister.keyservice.server import Application
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
    monkeypatch.setattr(server, "BODY_TIMEOUT_S", 0.01)
    assert call(bench, [])[0] == 408


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
