"""The HTTP interface over a bench, asked without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cloister.keyservice.metrics import Gauges, Metrics
from cloister.keyservice.view.access import Access
from cloister.keyservice.view.facts import Facts
from cloister.keyservice.view.openapi import document
from cloister.keyservice.view.operations import Sources
from cloister.keyservice.view.token import ViewToken
from cloister.keyservice.view.web import Web
from cloister.keyservice.view_grants import ViewGrants
from cloister.testing.keyservice import ServiceBench, policy_text

Message = MutableMapping[str, Any]


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def record(self) -> dict[str, Any]:
        """The body as JSON."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


@dataclass
class Viewer:
    """Somebody who looks at a bench's service."""

    bench: ServiceBench
    web: Web
    metrics: Metrics
    stopped: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, bench: ServiceBench) -> Viewer:
        """Build the interface as the server does."""
        metrics, stopped = Metrics(), []
        web = Web(
            Sources(
                Facts(
                    bench.domain,
                    bench.store,
                    bench.service.checkpoint,
                    sees=lambda _: False,
                ),
                metrics=lambda: metrics.text(Gauges(1, 2, 3, 4, 5)),
                openapi=document,
            ),
            access=Access(
                ViewGrants(bench.store),
                service=bench.domain.identity,
                owner=bench.domain.owner,
                sees=bench.service.sees,
            ),
            clock=bench.clock,
            viewed=metrics.viewed,
            stop=lambda: stopped.append(1),
        )
        return cls(bench, web, metrics, stopped)

    def token(self, scope: str = "view", hours: int = 1) -> str:
        """A token of the owner's."""
        token = ViewToken.make(
            self.bench.domain.identity, scope=scope, hours=hours, at=self.bench.clock().at
        )
        return token.signed(self.bench.owner_key)

    def get(self, target: str, token: str | None = None, **more: Any) -> Reply:
        """Look at a path with a query; with the owner's token unless another is given."""
        text = self.token() if token is None else token
        headers = [("authorization", f"Bearer {text}")] if text else []
        return self.ask(target, headers + list(more.pop("headers", [])), **more)

    def ask(
        self, target: str, headers: list[tuple[str, str]] | None = None, *, method: str = "GET"
    ) -> Reply:
        """Send any request."""
        return asyncio.run(self.send(target, headers or [], method=method))

    async def send(
        self,
        target: str,
        headers: list[tuple[str, str]],
        *,
        method: str = "GET",
        gate: asyncio.Event | None = None,
    ) -> Reply:
        """Send a request in this loop; `gate` holds back whoever takes the answer."""
        path, _, query = target.partition("?")
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(message: Message) -> None:
            if gate is not None:
                await gate.wait()
            sent.append(message)

        scope: Message = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers],
        }
        await self.web(scope, receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], found, b"".join(each.get("body", b"") for each in sent))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServiceBench]:
    """A domain with two volumes and a policy."""
    bench = ServiceBench.create(tmp_path)
    bench.register_volumes()
    bench.apply(policy_text(bench))
    yield bench
    bench.close()


@pytest.fixture
def viewer(bench: ServiceBench) -> Viewer:
    """Whoever looks at it."""
    return Viewer.of(bench)
