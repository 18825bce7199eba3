"""The HTTP interface for looking: an ASGI application on Starlette, beside the protocol's own.

What a request may be is bounded before anything is looked up: its method, its path, its token, its
parameters, that it has no body, how many are answered at once, and how long an answer takes.

Spec: keyservice-http-v1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from cloister.errors import (
    CloisterError,
    MalformedError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice.clock import Clock
from cloister.keyservice.view.access import Access
from cloister.keyservice.view.operations import OPERATIONS, Content, Operation, Sources
from cloister.keyservice.view.problems import PROBLEM_MEDIA, problem, status_of

__all__ = ["MAX_AT_ONCE", "Web"]

MAX_AT_ONCE: Final = 32
ANSWER_TIMEOUT_S: Final = 10
_LOG: Final = logging.getLogger(__name__)
_ALLOW: Final = "GET, HEAD, OPTIONS"
_UNKNOWN: Final = "other"
_NO_CONTENT: Final = 204
_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": _CSP,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Web:
    """Answers requests to look. One loop: it reads the state between two groups of decisions."""

    def __init__(
        self,
        sources: Sources,
        *,
        access: Access,
        clock: Clock,
        viewed: Callable[[str, int], None],
        stop: Callable[[], None],
    ) -> None:
        """Answer from `sources`, as far as `access` lets somebody see them."""
        self._sources = sources
        self._access = access
        self._clock = clock
        self._viewed = viewed
        self._stop = stop
        self._at_once = 0
        self._routes = [(Route(each.path, _not_called), each) for each in OPERATIONS]

    def has(self, path: str) -> bool:
        """Tell whether there is something at a path."""
        return self._find({"type": "http", "path": path, "method": "GET"})[0] is not None

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one HTTP request."""
        operation, digest = self._find(scope)
        label = _UNKNOWN if operation is None else operation.path
        if self._at_once >= MAX_AT_ONCE:
            busy = UnavailableError("too many requests at once", code="keyservice.busy")
            await self._send(_refusal(busy), label, scope, receive, send)
            return
        self._at_once += 1
        try:
            response = self._respond(operation, digest, Request(scope))
            await self._send(response, label, scope, receive, send)
        finally:
            self._at_once -= 1

    def _find(self, scope: _Scope) -> tuple[Operation | None, str]:
        for route, operation in self._routes:
            match, found = route.matches(scope)
            if match is not Match.NONE:
                return operation, found["path_params"].get("hash", "")
        return None, ""

    def _respond(self, operation: Operation | None, digest: str, request: Request) -> Response:
        try:
            if operation is None:
                raise MalformedError("there is nothing at this path", code="request.unknown")
            if request.method == "OPTIONS":
                return Response(status_code=_NO_CONTENT, headers={"allow": _ALLOW, **_HEADERS})
            if request.method not in {"GET", "HEAD"}:
                raise MalformedError("this can only be looked at", code="request.method")
            sources = self._seen(operation, request)
            _require_no_body(request)
            numbers = operation.read(request.query_params.multi_items())
            return _response(operation.answer(sources, numbers, digest))
        except CloisterError as e:
            _LOG.info("view.refused code=%s detail=%s", e.code, e.detail)
            if isinstance(e, TamperedError):
                self._stop()
            return _refusal(e)

    def _seen(self, operation: Operation, request: Request) -> Sources:
        """Return the sources as whoever asks may see them.

        Raises:
            IdentityError: No token that holds (`identity.viewer`), or one for something else
                (`identity.scope`).
        """
        if operation.scope is None:
            return self._sources
        given = request.headers.getlist("authorization")
        kind, _, text = (given[0] if len(given) == 1 else "").partition(" ")
        sees = self._access.admit(
            text if kind.lower() == "bearer" else "", operation.scope, at=self._clock().at
        )
        return replace(self._sources, facts=self._sources.facts.seen_by(sees))

    async def _send(
        self, response: Response, label: str, scope: _Scope, receive: _Receive, send: _Send
    ) -> None:
        self._viewed(label, response.status_code)
        _LOG.info("view.answered path=%s status=%d", label, response.status_code)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await response(scope, receive, send)


def _require_no_body(request: Request) -> None:
    length = request.headers.get("content-length", "0")
    if length != "0" or "transfer-encoding" in request.headers:
        raise MalformedError("a request to look has no body", code="request.malformed")


def _response(content: Content) -> Response:
    headers = {"content-type": content.media, **_HEADERS}
    return Response(content.body, status_code=content.status, headers=headers)


def _refusal(error: CloisterError) -> Response:
    headers = {"content-type": PROBLEM_MEDIA, **_HEADERS}
    if error.code == "identity.viewer":
        headers["www-authenticate"] = 'Bearer realm="cloister"'
    elif error.code == "identity.scope":
        headers["www-authenticate"] = 'Bearer realm="cloister", error="insufficient_scope"'
    elif error.code == "request.method":
        headers["allow"] = _ALLOW
    elif isinstance(error, UnavailableError):
        headers["retry-after"] = "1"
    return Response(problem(error), status_code=status_of(error), headers=headers)


async def _not_called(request: Request) -> Response:
    """Stand for an endpoint: routes are matched here, and `Web` answers."""
    raise LookupError(request.method)
