"""Other tenants, the source itself and whoever looks, against secrets that another store keeps."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.external_secrets import Errand
from cloister.keyservice.fetching import fetch
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.keyservice.source_records import Fetched
from cloister.testing.keyservice import ServiceBench
from cloister.testing.secrets import EXTERNAL, ask, bring, importer, put_source, secret_policy

ANN, EVE = (SigningKey(bytes([number]) * 32) for number in range(1, 3))
VARIABLES = '{A: "${secret:db}"}'
VALUE = "planted-value"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServiceBench]:
    """`lab` is Ann's and has a source; `other` and what lies below it is Eve's."""
    bench = ServiceBench.create(tmp_path)
    bench.owner().propose_charter(bench.charter("lab", (ANN,)))
    bench.owner().propose_charter(bench.charter("other", (EVE,)))
    put_source(bench, bench.client(ANN))
    yield bench
    bench.close()


def apply(bench: ServiceBench, key: SigningKey, **changes: str) -> bytes:
    """Put a policy with an external secret into force."""
    facts = {"secrets": EXTERNAL, "environment": VARIABLES} | changes
    text = secret_policy(bench, **facts)
    return bench.client(key).apply_policy(canonical_bytes(parse_policy(text.encode(), source="p")))


def code_of(bench: ServiceBench, policy: bytes) -> str:
    """The code with which a release is refused."""
    with pytest.raises(CloisterError) as e:
        ask(bench, policy)
    return e.value.code


@pytest.mark.spec("EXT-41")
@pytest.mark.parametrize("namespace", ["other", "other/lab"])
def test_a_tenant_names_no_source_of_another(bench: ServiceBench, namespace: str) -> None:
    """The same name elsewhere is another source, or none."""
    policy = apply(bench, EVE, namespace=namespace)
    assert bench.service.external.errands() == []
    assert code_of(bench, policy) == "keyservice.source"


@pytest.mark.spec("EXT-41")
def test_a_namespace_below_has_sources_of_its_own(bench: ServiceBench) -> None:
    """What was registered above is not for it, although the same people govern both."""
    apply(bench, ANN, namespace="lab/deep")
    assert bench.service.external.errands() == []


@pytest.mark.spec("EXT-22", "EXT-23", "EXT-28")
def test_a_tenant_turns_no_token_towards_himself(bench: ServiceBench) -> None:
    """Neither by replacing the source, nor by what was recorded of its registration."""
    with pytest.raises(CloisterError) as e:
        put_source(bench, bench.client(EVE), address="evil.example:8200", token=b"x")
    assert e.value.code == "release.not-owner"
    recorded: list[Mapping[str, object]] = []
    ann = bench.client(ANN)
    sent = ann.call.do

    def record(operation: str, arguments: Mapping[str, object]) -> object:
        recorded.append(arguments)
        return sent(operation, arguments)

    ann.call.do = record
    put_source(bench, ann)
    for change in ({"namespace": "other"}, {"namespace": "other", "address": "evil.example:1"}):
        with pytest.raises(CloisterError) as e:
            bench.client(EVE).call.do("source.put", {**recorded[0], **change})
        assert e.value.code == "message.malformed"


@pytest.mark.spec("EXT-42")
def test_a_source_that_changes_its_mind_changes_no_running_job(bench: ServiceBench) -> None:
    """Whoever takes the store over later has nothing to say about this epoch."""
    policy = apply(bench, ANN)
    (errand,) = bench.service.external.errands()
    bring(bench, b"first")
    mine = Fetched(b"mine", until=0)
    for _ in range(2):
        bench.service.settle(partial(bench.service.external.keep, errand, mine, bench.clock()))
        assert bring(bench, b"mine") == []
        assert ask(bench, policy).environment == {"A": "first"}
        bench.restart()


@pytest.mark.spec("EXT-45")
def test_a_release_that_waits_leaves_nothing_half_done(bench: ServiceBench) -> None:
    """No membership, no lease; the refusal is logged, and the next release is complete."""
    policy = apply(bench, ANN)
    before = {name: dict(rows) for name, rows in bench.store.tables.all().items()}
    assert code_of(bench, policy) == "keyservice.source"
    after = {name: dict(rows) for name, rows in bench.store.tables.all().items()}
    changing = {"spent", "time"}
    assert {n: r for n, r in before.items() if n not in changing} == {
        n: r for n, r in after.items() if n not in changing
    }
    (entry,) = bench.store.entries(bench.store.log_size - 1, 1)
    assert b"keyservice.source" in entry
    bring(bench, b"value")
    assert ask(bench, policy).environment == {"A": "value"}


@pytest.mark.spec("EXT-46", "EXT-25")
def test_nothing_that_leaves_or_stays_shows_token_or_value(
    bench: ServiceBench, caplog: pytest.LogCaptureFixture
) -> None:
    """Wire, owners' answers, log entries, log lines, errors, `repr`s, the disk."""
    caplog.set_level(logging.DEBUG)
    wire: list[bytes] = []

    def tap(path: str, body: bytes, answer: bytes) -> bytes:
        del path
        wire.extend((body, answer))
        return answer

    bench.tap = tap
    put_source(bench, bench.client(ANN), name="second")
    policy = apply(bench, ANN)
    (errand,) = bench.service.external.errands()
    refusals = [
        refusal(bench, errand, body) for body in (b'{"planted-value', b"[]", answer(5), b"")
    ]
    bench.service.external.note_trouble(errand, code=refusals[0].code, message=refusals[0].public)
    facts = bench.client(ANN).sources.vaults("lab")
    bring(bench, VALUE.encode())
    bundle = ask(bench, policy)
    assert bundle.environment == {"A": VALUE}
    texts = [
        repr(errand),
        repr(facts),
        repr(bundle),
        repr(bench.client(ANN).secrets.list(namespace="lab", policy="keeper")),
        caplog.text,
        *(f"{each} {each.detail} {each.__cause__!r}" for each in refusals),
    ]
    entries = bench.store.entries(0, 100)
    disk = [path.read_bytes() for path in bench.domain.directory.rglob("*") if path.is_file()]
    for place in (*wire, *(text.encode() for text in texts), *entries, *disk):
        assert b"planted" not in place


def answer(value: object) -> bytes:
    """A source's answer with a value."""
    metadata = {"destroyed": False, "deletion_time": ""}
    return json.dumps({"data": {"data": {"password": value}, "metadata": metadata}}).encode()


def refusal(bench: ServiceBench, errand: Errand, body: bytes) -> CloisterError:
    """What a fetch ends with, when the source answers so."""

    def get(*_: object, **__: object) -> tuple[int, bytes]:
        return 200, body

    with pytest.raises(CloisterError) as e:
        fetch(errand, get, importer(bench), allowed=frozenset({errand.source.address}))
    return e.value
