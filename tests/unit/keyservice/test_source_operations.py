"""The owner's operations on sources, each refusal by its code."""

from __future__ import annotations

import dataclasses

import pytest

from cloister.crypto.digest import sha256
from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.log import LogEntry
from cloister.keyservice.source_messages import reference_to_value
from cloister.keyservice.source_store import SourceStore
from cloister.testing.keyservice import ServiceBench
from cloister.testing.secrets import EXTERNAL, pin_source, put_source, secret_policy


def code_of(bench: ServiceBench, **changes: object) -> str:
    """The code with which a registration is refused, or nothing."""
    try:
        put_source(bench, **changes)
    except CloisterError as e:
        return e.code
    return ""


def entries(bench: ServiceBench) -> list[LogEntry]:
    """The log's entries."""
    return [LogEntry.from_bytes(data) for data in bench.store.entries(0, 100)]


@pytest.mark.spec("EXT-20", "EXT-25", "EXT-27")
def test_a_source_is_registered_listed_and_kept(bench: ServiceBench) -> None:
    """Across a restart, with its log entry; no answer and no `repr` has the token."""
    put_source(bench)
    bench.restart()
    (fact,) = bench.owner().sources.vaults("lab")
    assert (fact.name, fact.address, fact.at) == ("vault", "vault.example:8200", bench.clock.at)
    assert (fact.ca, fact.waiting) == (sha256(bench.domain.ca), ())
    assert bench.owner().sources.vaults("lab/deep") == ()
    record = SourceStore(bench.store).source("lab", "vault")
    assert record is not None
    assert record.token == b"hvs.planted-token"
    shown = [repr(record), repr(fact), *(str(dataclasses.asdict(each)) for each in entries(bench))]
    assert not any("planted" in text for text in shown)
    assert [(e.operation, e.subject) for e in entries(bench)][-1] == ("source.put", "lab/vault")


@pytest.mark.spec("EXT-23")
def test_a_source_is_registered_once(bench: ServiceBench) -> None:
    """The same again changes nothing; another address, authority or token is refused."""
    assert code_of(bench) == ""
    size = bench.store.log_size
    assert code_of(bench) == ""
    assert bench.store.log_size == size
    assert code_of(bench, address="vault.example:8201") == "config.exists"
    assert code_of(bench, token=b"hvs.other") == "config.exists"
    assert code_of(bench, namespace="lab/deep", token=b"hvs.other") == ""


@pytest.mark.spec("EXT-20", "EXT-21")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"address": "https://vault.example:8200"}, "message.malformed"),
        ({"address": "vault.example"}, "message.malformed"),
        ({"name": "Vault"}, "message.malformed"),
        ({"namespace": "/"}, "message.malformed"),
        ({"token": b"a\r\nX-Vault-Namespace: b"}, "message.malformed"),
        ({"token": b""}, "message.malformed"),
    ],
)
def test_what_is_no_source_is_refused(
    bench: ServiceBench, changes: dict[str, object], code: str
) -> None:
    """And nothing of it stays."""
    assert code_of(bench, **changes) == code
    assert list(SourceStore(bench.store).sources()) == []


@pytest.mark.spec("EXT-20")
def test_what_is_no_authority_is_refused(bench: ServiceBench) -> None:
    """`certificate.malformed`, and nothing of it stays."""
    with pytest.raises(CloisterError) as e:
        bench.owner().sources.put(
            b"token",
            namespace="lab",
            name="vault",
            address="vault.example:8200",
            ca=b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            service_hpke=bench.domain.hpke,
        )
    assert e.value.code == "certificate.malformed"
    assert list(SourceStore(bench.store).sources()) == []


@pytest.mark.spec("EXT-22")
@pytest.mark.parametrize(
    "changes",
    [{"namespace": "other"}, {"name": "second"}, {"address": "evil.example:8200"}],
)
def test_a_token_does_not_open_for_another_place(
    bench: ServiceBench, changes: dict[str, str]
) -> None:
    """Sealed for one, sent for another, by a client that signs what it likes."""
    owner = bench.owner()
    sent = owner.call.do

    def elsewhere(operation: str, arguments: dict[str, object]) -> object:
        return sent(operation, {**arguments, **changes})

    owner.call.do = elsewhere
    with pytest.raises(CloisterError) as e:
        put_source(bench, owner)
    assert e.value.code == "message.malformed"
    assert list(SourceStore(bench.store).sources()) == []


@pytest.mark.spec("EXT-24")
def test_a_source_counts_as_a_secret(bench: ServiceBench) -> None:
    """As many as the charter allows, with values together."""
    key = SigningKey.generate()
    bench.owner().propose_charter(bench.charter("lab", (key,), secrets=1))
    client = bench.client(key)
    put_source(bench, client)
    with pytest.raises(CloisterError) as e:
        put_source(bench, client, name="second")
    assert e.value.code == "quota.exceeded"
    assert len(list(SourceStore(bench.store).sources())) == 1


@pytest.mark.spec("EXT-26", "EXT-27")
def test_a_source_is_removed(bench: ServiceBench) -> None:
    """With its token, and logged; one that is not there is `config.missing`."""
    put_source(bench)
    bench.owner().sources.remove("lab", "vault")
    assert list(SourceStore(bench.store).sources()) == []
    assert entries(bench)[-1].operation == "source.remove"
    with pytest.raises(CloisterError) as e:
        bench.owner().sources.remove("lab", "vault")
    assert e.value.code == "config.missing"
    put_source(bench, token=b"hvs.other")


@pytest.mark.spec("EXT-25")
def test_a_list_says_what_is_wanted_and_why_it_is_not_there(bench: ServiceBench) -> None:
    """Before a try, and after one that failed."""
    put_source(bench)
    bench.apply(secret_policy(bench, secrets=EXTERNAL, environment='{A: "${secret:db}"}'))
    ((before,),) = (fact.waiting for fact in bench.owner().sources.vaults("lab"))
    assert (before.secret, before.code) == ("lab/keeper/db@1", "")
    (errand,) = bench.service.external.errands()
    bench.service.external.note_trouble(errand, code="source.refused", message="it answered 403")
    ((after,),) = (fact.waiting for fact in bench.owner().sources.vaults("lab"))
    assert (after.code, after.message) == ("source.refused", "it answered 403")


def pin_code(bench: ServiceBench, **changes: object) -> str:
    """The code with which pinning another service is refused, or nothing."""
    facts: dict[str, object] = {"service": SigningKey(b"o" * 32).public} | changes
    try:
        pin_source(bench, bench, **facts)
    except CloisterError as e:
        return e.code
    return ""


@pytest.mark.spec("EXP-50", "EXP-52", "EXP-53")
def test_another_service_is_pinned_listed_kept_and_removed(bench: ServiceBench) -> None:
    """With its log entries, across a restart, beside the vaults."""
    put_source(bench)
    assert pin_code(bench) == ""
    bench.restart()
    (fact,) = bench.owner().sources.services("lab")
    assert (fact.name, fact.address, fact.trust_domain) == (
        "partner",
        "example.test:8400",
        "example.test",
    )
    assert fact.service == SigningKey(b"o" * 32).public.raw
    assert (fact.reference, fact.at, fact.waiting) == (bench.domain.service, bench.clock.at, ())
    assert [each.name for each in bench.owner().sources.vaults("lab")] == ["vault"]
    assert bench.owner().sources.services("lab/deep") == ()
    bench.owner().sources.remove("lab", "partner")
    assert bench.owner().sources.services("lab") == ()
    assert [(e.operation, e.subject) for e in entries(bench)][-2:] == [
        ("source.pin", "lab/partner"),
        ("source.remove", "lab/partner"),
    ]


@pytest.mark.spec("EXP-51")
def test_a_service_is_pinned_once(bench: ServiceBench) -> None:
    """The same again changes nothing; other facts, and the name of a vault, are refused."""
    assert pin_code(bench) == ""
    size = bench.store.log_size
    bench.clock.move(5)
    assert pin_code(bench) == ""
    assert bench.store.log_size == size
    reference = dataclasses.replace(bench.domain.service, minimum_svn=9)
    for change in (
        {"address": "example.test:8401"},
        {"service": SigningKey(b"p" * 32).public},
        {"trust_domain": "other.test"},
        {"hpke_key": HPKEPrivateKey(b"h" * 96).public},
        {"reference": reference},
    ):
        assert pin_code(bench, **change) == "config.exists"
    assert code_of(bench, name="partner") == "config.exists"
    put_source(bench)
    assert pin_code(bench, name="vault") == "config.exists"


@pytest.mark.spec("EXP-50")
@pytest.mark.parametrize(
    "change",
    [
        {"namespace": "/"},
        {"name": "A"},
        {"address": "http://far.test:1"},
        {"trust_domain": "-"},
        {"reference": None},
        {"service": None},
    ],
)
def test_facts_that_are_none_are_refused(
    bench: ServiceBench, change: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is kept; a service is no source of its own."""
    if "service" in change:
        change = {"service": bench.domain.identity}
    if "reference" in change:
        change = {}
        monkeypatch.setattr(
            "cloister.keyservice.owner_secrets.reference_to_value",
            lambda reference: reference_to_value(reference) | {"anchors": []},
        )
    assert pin_code(bench, **change) == "message.malformed"
    assert bench.owner().sources.services("lab") == ()


@pytest.mark.spec("EXP-53")
def test_a_pinned_service_counts_as_a_secret(bench: ServiceBench) -> None:
    """The quota of the namespace holds."""
    key = SigningKey.generate()
    bench.owner().propose_charter(bench.charter("lab", (key,), secrets=1))
    bench.owner_key = key
    assert pin_code(bench) == ""
    assert pin_code(bench, name="second") == "quota.exceeded"
