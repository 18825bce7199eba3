"""The importing side against a service that is slow, far away, or a day off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from cloister.errors import CloisterError, LocalProtocolError
from cloister.keyservice.external_secrets import Errand
from cloister.keyservice.fetching import fetch
from cloister.keyservice.importing import Importer
from cloister.keyservice.policy.secret_rules import RemoteForm
from cloister.keyservice.source_records import Fetched, ServiceSource
from cloister.keyservice.source_store import SourceStore
from cloister.testing.keyservice import HandClock, ServiceBench
from cloister.testing.secrets import export_entry, importer, pin_source, put_source, secret_policy

REMOTE = """
  key: {remote: {source: partner, namespace: feeds, policy: source, secret: key, epoch: 1, \
max_bytes: 64}}
"""


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[tuple[ServiceBench, ServiceBench]]:
    """The exporter and the importer."""
    far = ServiceBench.create(tmp_path, "far.test")
    near = ServiceBench.create(tmp_path, "near.test")
    secrets = f"\n  key: {{symmetric: {{bytes: 16}}, export: [{export_entry(near)}]}}\n"
    far.apply(secret_policy(far, name="source", namespace="feeds", secrets=secrets))
    pin_source(near, far)
    near.apply(secret_policy(near, secrets=REMOTE))
    yield far, near
    far.close()
    near.close()


def only_errand(near: ServiceBench) -> Errand:
    """What is to be fetched."""
    (errand,) = near.service.external.errands()
    return errand


def ask(importing: Importer, errand: Errand, *, timeout_s: float = 10.0) -> object:
    """Fetch from an allowed address."""
    source, form = errand.source, errand.wanted.form
    assert isinstance(source, ServiceSource)
    assert isinstance(form, RemoteForm)
    return importing.fetch(
        errand.wanted, form, source, allowed=frozenset({source.address}), timeout_s=timeout_s
    )


@pytest.mark.spec("EXP-60")
def test_time_runs_from_before_the_request(benches: tuple[ServiceBench, ServiceBench]) -> None:
    """However long the exporter takes to answer."""
    far, near = benches
    began = near.clock.at

    def late(path: str, body: bytes, answer: bytes) -> bytes:
        del path, body
        near.clock.move(50)
        return answer

    far.tap = late
    found = ask(importer(near, far), only_errand(near))
    assert isinstance(found, Fetched)
    assert began < found.until <= began + 50 + 3600
    assert found.value.hex() not in repr(found)


@pytest.mark.spec("EXP-42")
def test_each_request_has_a_key_of_its_own(benches: tuple[ServiceBench, ServiceBench]) -> None:
    """Two fetches have nothing in common that opens the other's answer."""
    far, near = benches
    for _ in range(2):
        ask(importer(near, far), only_errand(near))
    bodies = [body for path, body in far.requests if path == "/v1/export"]
    keys = {body.partition(b"hpke_key")[2][:1219] for body in bodies}
    assert len(keys) == 2


@pytest.mark.spec("EXP-40")
def test_all_of_it_has_one_time(benches: tuple[ServiceBench, ServiceBench]) -> None:
    """A service that answers every request just in time is too slow in the end."""
    far, near = benches

    def slow(path: str, body: bytes, answer: bytes) -> bytes:
        del path, body
        time.sleep(0.15)
        return answer

    far.tap = slow
    with pytest.raises(CloisterError) as e:
        ask(importer(near, far), only_errand(near), timeout_s=0.2)
    assert e.value.code == "server.unreachable"


@pytest.mark.spec("EXP-41")
def test_clocks_that_differ_are_noticed(benches: tuple[ServiceBench, ServiceBench]) -> None:
    """A clock that was stopped to stretch a lifetime does not get another one."""
    far, near = benches
    far.clock.move(301)
    with pytest.raises(CloisterError) as e:
        ask(importer(near, far), only_errand(near))
    assert e.value.code == "identity.clock"


def test_an_importer_shows_no_key(benches: tuple[ServiceBench, ServiceBench]) -> None:
    """In its `repr`."""
    assert repr(importer(benches[1])).count("=") == 0


@pytest.mark.spec("EXT-41")
def test_a_source_of_another_kind_is_none(benches: tuple[ServiceBench, ServiceBench]) -> None:
    """A vault of that name gives nothing to a policy that names a key service."""
    _, near = benches
    remote = only_errand(near)
    near.owner().sources.remove("lab", "partner")
    put_source(near, name="partner")
    assert near.service.external.errands() == []
    clock = HandClock()
    importing = near.service.importer(dial=lambda _: nullcontext(near), clock=clock)
    (vault,) = SourceStore(near.store).sources()
    crossed = Errand(remote.wanted, vault, remote.tenant, 0)
    with pytest.raises(LocalProtocolError):
        fetch(crossed, never, importing, allowed=frozenset({"vault.example:8200"}))


def never(*_: object, **__: object) -> tuple[int, bytes]:
    """Nothing is asked."""
    raise AssertionError
