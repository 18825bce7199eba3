"""Fetching beside the loop: which addresses, how many at once, and when again."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, RemoteProtocolError, StateMovedError, TamperedError
from cloister.keyservice.fetching import FETCH_TIMEOUT_S, MAX_AT_ONCE, Fetching, fetch
from cloister.keyservice.kv2 import MAX_ANSWER_BYTES
from cloister.testing.keyservice import ServiceBench
from cloister.testing.secrets import (
    EXTERNAL,
    ask,
    export_entry,
    importer,
    pin_source,
    put_source,
    secret_policy,
)

ADDRESS = "vault.example:8200"
ALLOWED = frozenset({ADDRESS})
VARIABLES = '{A: "${secret:db}"}'


class Source:
    """A `Get` that answers when it is let, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, int], str, str]] = []
        self.open = threading.Event()
        self.open.set()
        self.status = 200
        self.error: Exception | None = None
        self.running = self.most = 0

    def __call__(
        self,
        address: tuple[str, int],
        target: str,
        headers: Mapping[str, str],
        *,
        ca_pem: bytes,
        timeout_s: float,
        max_bytes: int,
    ) -> tuple[int, bytes]:
        assert (timeout_s, max_bytes) == (FETCH_TIMEOUT_S, MAX_ANSWER_BYTES)
        assert ca_pem.startswith(b"-----BEGIN CERTIFICATE")
        self.running += 1
        self.most = max(self.most, self.running)
        self.asked.append((address, target, headers["X-Vault-Token"]))
        self.open.wait(10)
        self.running -= 1
        if self.error is not None:
            raise self.error
        metadata = {"destroyed": False, "deletion_time": ""}
        data = {"data": {"password": "fetched"}, "metadata": metadata}
        return self.status, json.dumps({"data": data}).encode()


def fetching(
    bench: ServiceBench,
    source: Source,
    *,
    allowed: frozenset[str] = ALLOWED,
    stop: Callable[[], None] = lambda: None,
    settle: Callable[[Callable[[], None]], None] | None = None,
) -> Fetching:
    """What the server runs."""
    return Fetching(
        bench.service.external,
        settle=settle or bench.service.settle,
        get=source,
        importer=importer(bench),
        allowed=allowed,
        clock=bench.clock,
        stop=stop,
    )


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop and the threads run until something is so."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def trouble(bench: ServiceBench) -> str:
    """The code that the owner sees."""
    ((found,),) = (fact.waiting for fact in bench.owner().sources.vaults("lab"))
    return found.code


@pytest.fixture
def policy(bench: ServiceBench) -> bytes:
    """A source, and a policy that wants a value of it."""
    put_source(bench)
    return bench.apply(secret_policy(bench, secrets=EXTERNAL, environment=VARIABLES))


@pytest.mark.spec("EXT-30", "EXT-36", "EXT-46")
def test_what_is_wanted_is_fetched_once(
    bench: ServiceBench, policy: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """With the source's token, and kept; no log line has value or token."""
    caplog.set_level(logging.DEBUG)
    source = Source()

    async def run() -> None:
        running = asyncio.create_task(fetching(bench, source).run())
        await until(lambda: bench.service.external.errands() == [])
        running.cancel()

    asyncio.run(run())
    token = "hvs.planted-token"
    assert source.asked == [(("vault.example", 8200), "/v1/secret/data/training/db", token)]
    assert ask(bench, policy).environment == {"A": "fetched"}
    assert "external.fetched secret=lab/keeper/db@1" in caplog.text
    assert "planted" not in caplog.text
    assert "password" not in caplog.text


@pytest.mark.spec("EXT-35")
@pytest.mark.parametrize(
    "allowed",
    [(), ("vault.example:8201",), ("vault.example",), ("example:8200",), ("VAULT.EXAMPLE:8200",)],
)
def test_nothing_but_what_the_operator_named_is_reached(
    bench: ServiceBench, policy: bytes, allowed: tuple[str, ...]
) -> None:
    """The owner is told; nothing is asked, not even the resolver."""
    source = Source()
    (errand,) = bench.service.external.errands()
    with pytest.raises(CloisterError) as e:
        fetch(errand, source, importer(bench), allowed=frozenset(allowed))
    assert e.value.code == "source.address"

    async def run() -> None:
        fetching(bench, source, allowed=frozenset(allowed)).start_due()
        await until(lambda: trouble(bench) == "source.address")

    asyncio.run(run())
    assert source.asked == []
    with pytest.raises(CloisterError) as e:
        ask(bench, policy)
    assert e.value.code == "keyservice.source"


@pytest.mark.spec("EXT-25", "EXT-37")
def test_what_failed_is_tried_again_less_and_less_often(bench: ServiceBench, policy: bytes) -> None:
    """After 2 s, 4 s, and so on, up to a minute; success ends it."""
    source = Source()
    source.status = 403

    async def run() -> list[float]:
        work, times = fetching(bench, source), list[float]()
        while len(times) < 8:
            work.start_due()
            await until(lambda: not work._busy)
            if len(source.asked) > len(times):
                times.append(bench.clock.uptime)
                assert trouble(bench) == "source.refused"
            bench.clock.move(1)
        source.status = 200
        bench.clock.move(60)
        work.start_due()
        await until(lambda: bench.service.external.errands() == [])
        return [later - earlier for earlier, later in itertools.pairwise(times)]

    assert asyncio.run(run()) == [2, 4, 8, 16, 32, 60, 60]
    assert ask(bench, policy).environment == {"A": "fetched"}


@pytest.mark.spec("EXT-36")
def test_one_tenant_has_one_fetch_at_once_and_all_have_a_few(bench: ServiceBench) -> None:
    """A tenant with many slow values keeps nobody else waiting."""
    form = "path: a/data/N, field: password"
    secrets = "".join(
        f"\n  s{n}: {{external: {{source: vault, {form.replace('N', str(n))}, max_bytes: 9}}}}"
        for n in range(3)
    )
    founder = bench.owner_key
    for number in range(MAX_AT_ONCE + 2):
        key, namespace = SigningKey.generate(), f"lab{number}"
        bench.owner_key = founder
        bench.owner().propose_charter(bench.charter(namespace, (key,)))
        bench.owner_key = key
        put_source(bench, namespace=namespace)
        bench.apply(secret_policy(bench, namespace=namespace, secrets=secrets + "\n"))
    source = Source()
    source.open.clear()

    async def run() -> None:
        work = fetching(bench, source)
        work.start_due()
        work.start_due()
        await until(lambda: source.running == MAX_AT_ONCE)
        assert len({token for _, token, _ in source.asked}) == 1  # the first value of each
        source.open.set()
        await until(lambda: not work._busy)
        while bench.service.external.errands():
            work.start_due()
            await until(lambda: not work._busy)

    asyncio.run(run())
    assert source.most == MAX_AT_ONCE
    assert len(source.asked) == 3 * (MAX_AT_ONCE + 2)


@pytest.mark.spec("EXT-36")
def test_a_fetch_that_breaks_is_over_and_tried_again(
    bench: ServiceBench, policy: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it raises: the tenant's next fetch is not kept waiting."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    source = Source()
    source.error = ZeroDivisionError()

    async def run() -> None:
        work = fetching(bench, source)
        work.start_due()
        await until(lambda: trouble(bench) == "server.unreachable")
        source.error = None
        bench.clock.move(3)
        work.start_due()
        await until(lambda: bench.service.external.errands() == [])

    asyncio.run(run())
    assert ask(bench, policy).environment == {"A": "fetched"}


@pytest.mark.parametrize(
    "error",
    [
        StateMovedError("moved", code="keyservice.moved"),
        RemoteProtocolError("no", code="protocol.remote"),
        TamperedError("changed", code="state.tampered"),
    ],
)
@pytest.mark.spec("EXT-37")
def test_a_value_that_cannot_be_kept_is_fetched_again(
    bench: ServiceBench, policy: bytes, error: CloisterError, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless the state cannot be trusted any more: then the server stops."""
    source, stops = Source(), list[str]()

    def settle(change: Callable[[], None]) -> None:
        del change
        raise error

    async def run() -> None:
        work = fetching(bench, source, settle=settle, stop=lambda: stops.append("stop"))
        work.start_due()
        await until(lambda: len(source.asked) == 1 and not work._busy)

    asyncio.run(run())
    assert bool(stops) == isinstance(error, TamperedError)
    assert len(bench.service.external.errands()) == 1


class OnLoop:
    """A transport to a bench whose state belongs to the loop's own thread."""

    def __init__(self, bench: ServiceBench, loop: asyncio.AbstractEventLoop) -> None:
        self._bench, self._loop = bench, loop

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        async def answer() -> bytes:
            return self._bench.post(path, body, timeout_s=timeout_s)

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(timeout_s)


@pytest.mark.spec("EXP-40", "EXP-62", "EXP-63")
def test_another_key_service_is_asked_when_it_is_time(tmp_path: Path) -> None:
    """At once, then after half of the lifetime; its refusal erases, and never stops the server."""
    far = ServiceBench.create(tmp_path, "far.test")
    near = ServiceBench.create(tmp_path, "near.test")
    near.clock = far.clock
    pin_source(near, far)
    kind = "symmetric: {bytes: 16}"
    facts = {"name": "source", "namespace": "feeds"}
    text = f"\n  db: {{{kind}, export: [{export_entry(near)}]}}\n"
    exported = far.apply(secret_policy(far, secrets=text, **facts))
    remote = (
        "\n  db: {remote: {source: partner, namespace: feeds, policy: source, secret: db,"
        " epoch: 1, max_bytes: 64}}\n"
    )
    policy = near.apply(
        secret_policy(near, secrets=remote, environment=VARIABLES.replace("db", "db.hex"))
    )
    stops = list[str]()

    async def run() -> None:
        reached = OnLoop(far, asyncio.get_running_loop())
        asked = near.service.importer(dial=lambda _: nullcontext(reached), clock=near.clock)
        work = Fetching(
            near.service.external,
            settle=near.service.settle,
            get=Source(),
            importer=asked,
            allowed=frozenset({"far.test:8400"}),
            clock=near.clock,
            stop=lambda: stops.append("stop"),
        )

        async def turn() -> int:
            before = len(far.requests)
            work.start_due()
            await until(lambda: not work._busy)
            return len(far.requests) - before

        assert await turn() == 3
        assert len(ask(near, policy).environment["A"]) == 32
        near.clock.move(1799)
        assert await turn() == 0
        near.clock.move(1)
        assert await turn() == 3
        near.clock.move(1800)
        text = secret_policy(far, secrets=f"\n  db: {{{kind}}}\n", predecessor=exported, **facts)
        far.apply(text)
        assert await turn() == 3

    asyncio.run(run())
    assert stops == []
    ((found,),) = (fact.waiting for fact in near.owner().sources.services("lab"))
    assert found.code == "release.secret-not-exported"
    with pytest.raises(CloisterError) as e:
        ask(near, policy)
    assert e.value.code == "keyservice.source"
    far.close()
    near.close()
