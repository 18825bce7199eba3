"""What of the SuperLink a site may reach: Flower's Fleet interface, and one call of ours.

Flower 1.42 serves everything at one port: what sites need, what starts and stops runs and uploads
apps, and what the ServerApp asks. The gate stands before it as one more ASGI application. What
comes in at the inner address (loopback, within the workload) passes; what comes from sites is
judged.

Our own call is a site's question how the run is, under its number: Flower has none that says that
a run is over. The number is a claim, of somebody whom the shield's relay let in: a site of this
policy.

Spec: federation-v1, clauses FED-7 to FED-10.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["FLEET", "FORMAT", "SITE", "Application", "Gate", "Refusal", "judge"]

FORMAT: Final = "cloister/federation/v1"
SITE: Final = re.compile(r"/v1/cloister/sites/(0|[1-9][0-9]{0,3})")

FLEET: Final = frozenset(
    f"/v1/fleet/{call}"
    for call in (
        "register-node",
        "activate-node",
        "deactivate-node",
        "unregister-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)
REPLIES: Final = "/v1/fleet/push-messages"
_MAX_DIGITS: Final = 12
_LOG: Final = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that a site gets instead of the SuperLink's."""

    status: int
    reason: str


def judge(
    *, method: str, path: str, query: bytes, lengths: list[bytes], most: int
) -> Refusal | None:
    """Decide on a request of a site by what stands before its body.

    Args:
        method: Of HTTP.
        path: As the server decoded it; only exact matches count.
        query: What stood behind a question mark; Fleet's calls have none.
        lengths: Every `content-length` that was sent.
        most: The longest body that is taken, in bytes.

    Spec: FED-8, FED-9.
    """
    if query:
        return Refusal(404, "not for sites")
    if SITE.fullmatch(path):
        return None if method == "GET" else Refusal(405, "GET only")
    if path not in FLEET:
        return Refusal(404, "not for sites")
    if method != "POST":
        return Refusal(405, "POST only")
    if len(lengths) != 1 or not lengths[0].isdigit():
        return Refusal(411, "one length is needed")
    if len(lengths[0]) > _MAX_DIGITS or int(lengths[0]) > most:
        return Refusal(413, "too long")
    return None


class Gate:
    """An ASGI application before another.

    Invariants: a request that did not come in at the inner address is judged before the inner
    application sees anything of it; what is not HTTP is closed.
    """

    def __init__(
        self,
        application: Application,
        *,
        inner: tuple[str, int],
        most: int,
        on_replies: Callable[[bytes], None],
        on_site: Callable[[int], str | None],
    ) -> None:
        """Keep what is needed.

        Args:
            application: The SuperLink.
            inner: Address and port that only this workload reaches.
            most: The longest body from a site, in bytes.
            on_replies: Sees the body of each report of results before the SuperLink does.
            on_site: Told that a site of that number is there; returns how the run is, or None
                where there is no such site.
        """
        self._application = application
        self._inner = inner
        self._most = most
        self._on_replies = on_replies
        self._on_site = on_site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        kind = scope["type"]
        if kind == "lifespan" or tuple(scope.get("server") or ()) == self._inner:
            await self._application(scope, receive, send)
            return
        if kind != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = judge(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            lengths=[value for name, value in scope["headers"] if name == b"content-length"],
            most=self._most,
        )
        if refusal is not None:
            _LOG.info("refused method=%s status=%s", scope["method"][:8], refusal.status)
            await _answer(refusal, send)
        elif site := SITE.fullmatch(scope["path"]):
            await _tell(self._on_site(int(site[1])), send)
        elif scope["path"] == REPLIES:
            body = await _body(receive)
            if body is not None:
                self._on_replies(body)
                await self._application(scope, _again(body, receive), send)
        else:
            await self._application(scope, receive, send)


async def _tell(state: str | None, send: Send) -> None:
    if state is None:
        await _answer(Refusal(404, "no such site"), send)
    else:
        body = json.dumps({"format": FORMAT, "run": state}).encode()
        await _respond(200, b"application/json", body, send)


async def _answer(refusal: Refusal, send: Send) -> None:
    await _respond(refusal.status, b"text/plain", refusal.reason.encode(), send)


async def _respond(status: int, kind: bytes, body: bytes, send: Send) -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes | None:
    """Read a body of judged length, which the server does not let grow; None if the peer left."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a channel that gives the body once more, then what else comes."""
    given = False

    async def read() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read
