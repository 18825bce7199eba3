"""Of the SuperLink, sites reach the Fleet interface and one question of ours."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from cloister.training.federated.gate import FLEET, Gate, judge

INNER: Final = ("127.0.0.1", 40001)
OUTER: Final = ("10.77.0.1", 9092)
REPLY: Final = "/v1/fleet/push-messages"


@dataclass
class Passed:
    """Stands for the SuperLink: says what reached it."""

    scopes: list[Any] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            message = await receive()
            self.bodies.append(message.get("body", b""))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"flower"})


@dataclass
class Told:
    """What the gate tells, and what it is told."""

    bodies: list[bytes] = field(default_factory=list)
    sites: list[int] = field(default_factory=list)

    def site(self, number: int) -> str | None:
        self.sites.append(number)
        return "running" if number < 3 else None


def ask(
    path: str,
    *,
    method: str = "POST",
    body: bytes = b"",
    server: Any = OUTER,
    query: bytes = b"",
    headers: list[tuple[bytes, bytes]] | None = None,
    kind: str = "http",
    received: list[Any] | None = None,
) -> tuple[list[Any], Passed, Told]:
    """Send one request through a gate; return what it answered and what came through."""
    inside, told, sent = Passed(), Told(), []
    gate = Gate(inside, inner=INNER, most=100, on_replies=told.bodies.append, on_site=told.site)
    parts = received or [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "query_string": query,
        "headers": [(b"content-length", b"%d" % len(body))] if headers is None else headers,
        "server": server,
    }
    asyncio.run(gate(scope, receive, send))
    return sent, inside, told


@pytest.mark.spec("FED-8")
@pytest.mark.parametrize("path", sorted(FLEET))
def test_fleet_passes(path: str) -> None:
    """Flower's SuperNodes need these twelve."""
    sent, inside, _ = ask(path, body=b"abc")
    assert sent[0]["status"] == 200
    assert inside.bodies == [b"abc"]


@pytest.mark.spec("FED-8")
@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/start-run",
        "/v1/control/stop-run",
        "/v1/control/list-nodes",
        "/v1/runtime/acquire-task",
        "/v1/runtime/push-messages",
        "/health",
        "/docs",
        "/openapi.json",
        "/",
        "",
        "/v1/fleet",
        "/v1/fleet/",
        "/v1/fleet/get-fab/",
        "/v1/fleet/../control/start-run",
        "//v1/fleet/get-fab",
        "/V1/FLEET/GET-FAB",
        "/v1/fleet/get-fab\x00",
        "/v1/cloister/sites/00",
        "/v1/cloister/sites/-1",
        "/v1/cloister/sites/10000",
        "/v1/cloister/sites/1\n",
        "/v1/cloister/sites/\uff11",
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_nothing_else_passes(path: str, method: str) -> None:
    """What starts runs, what uploads apps, what the ServerApp asks: nothing of it is a site's."""
    sent, inside, told = ask(path, method=method)
    assert sent[0]["status"] == 404
    assert (inside.scopes, told.sites, told.bodies) == ([], [], [])


@pytest.mark.spec("FED-8")
@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "post"])
def test_fleet_is_posted(method: str) -> None:
    """Another method is refused, and so is a query."""
    assert ask("/v1/fleet/get-fab", method=method)[0][0]["status"] == 405
    assert ask("/v1/fleet/get-fab", query=b"a=1")[0][0]["status"] == 404
    assert ask("/v1/cloister/sites/1", method="POST")[0][0]["status"] == 405


@pytest.mark.spec("FED-9")
@pytest.mark.parametrize(
    ("lengths", "status"),
    [
        ([], 411),
        ([b"1", b"1"], 411),
        ([b"-1"], 411),
        ([b"1,1"], 411),
        ([b" 1"], 411),
        ([b""], 411),
        ([b"101"], 413),
        ([b"9" * 5000], 413),
    ],
)
def test_a_body_has_one_length_within_bounds(lengths: list[bytes], status: int) -> None:
    """No length, several, none that is a number, or too large a one."""
    refusal = judge(method="POST", path=REPLY, query=b"", lengths=lengths, most=100)
    assert refusal is not None
    assert refusal.status == status
    assert judge(method="POST", path=REPLY, query=b"", lengths=[b"100"], most=100) is None


@pytest.mark.spec("FED-10")
@pytest.mark.parametrize("path", ["/v1/control/start-run", REPLY, "/"])
def test_what_comes_from_inside_passes(path: str) -> None:
    """The inner address is reached by this workload only."""
    _, inside, told = ask(path, server=INNER, headers=[])
    assert len(inside.scopes) == 1
    assert told.bodies == []


@pytest.mark.spec("FED-10")
@pytest.mark.parametrize(
    "server", [None, (), ("127.0.0.1", 9092), ("10.77.0.1", 40001), ("127.0.0.1", "40001")]
)
def test_every_other_address_is_outside(server: Any) -> None:
    """Also one that the server could not tell."""
    sent, inside, _ = ask("/v1/control/start-run", server=server)
    assert sent[0]["status"] == 404
    assert inside.scopes == []


@pytest.mark.spec("FED-8")
def test_what_is_not_http_is_closed() -> None:
    """Flower's interface has websockets for nobody."""
    sent, inside, _ = ask("/v1/fleet/get-fab", kind="websocket")
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert inside.scopes == []


@pytest.mark.spec("FED-16")
def test_reports_are_seen_before_they_are_taken() -> None:
    """In whatever pieces they come; the SuperLink gets all of it."""
    pieces = [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"cd", "more_body": False},
    ]
    _, inside, told = ask(REPLY, body=b"abcd", received=pieces)
    assert told.bodies == [b"abcd"]
    assert inside.bodies == [b"abcd"]


def test_a_report_that_breaks_off_is_none() -> None:
    """Nothing of it is seen or passed on."""
    pieces = [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent, inside, told = ask(REPLY, body=b"abcd", received=pieces)
    assert (sent, inside.scopes, told.bodies) == ([], [], [])


@pytest.mark.spec("FED-18")
def test_a_site_is_told_how_the_run_is() -> None:
    """Under its number; a number that no site has is not taken."""
    sent, inside, told = ask("/v1/cloister/sites/2", method="GET")
    assert json.loads(sent[1]["body"]) == {"format": "cloister/federation/v1", "run": "running"}
    assert (inside.scopes, told.sites) == ([], [2])
    assert ask("/v1/cloister/sites/3", method="GET")[0][0]["status"] == 404
