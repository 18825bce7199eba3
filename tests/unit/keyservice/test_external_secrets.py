"""What becomes of values that other stores keep, through the service that ships."""

from __future__ import annotations

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.log import LogEntry
from cloister.testing.keyservice import ServiceBench
from cloister.testing.secrets import EXTERNAL, ask, bring, put_source, secret_policy

VARIABLES = '{A: "${secret:db}"}'


@pytest.fixture
def policy(bench: ServiceBench) -> bytes:
    """A source, and a policy that wants a value of it."""
    put_source(bench)
    return bench.apply(secret_policy(bench, secrets=EXTERNAL, environment=VARIABLES))


def code_of(bench: ServiceBench, policy: bytes) -> str:
    """The code with which a release is refused."""
    with pytest.raises(CloisterError) as e:
        ask(bench, policy)
    assert e.value.retryable == (e.value.code == "keyservice.source")
    return e.value.code


@pytest.mark.spec("EXT-2", "EXT-40", "EXT-42", "EXT-45")
def test_a_release_waits_for_the_first_value_and_keeps_it(
    bench: ServiceBench, policy: bytes
) -> None:
    """Across a restart; what the source would say later is not asked for."""
    assert code_of(bench, policy) == "keyservice.source"
    bench.restart()
    assert bring(bench, b"first") == ["lab/keeper/db@1"]
    assert ask(bench, policy).environment == {"A": "first"}
    bench.restart()
    assert bring(bench, b"second") == []
    assert ask(bench, policy).environment == {"A": "first"}


@pytest.mark.spec("EXT-42", "EXT-43")
def test_a_value_that_arrives_twice_changes_nothing(bench: ServiceBench, policy: bytes) -> None:
    """Two replicas may have fetched it, at two moments."""
    (errand,) = bench.service.external.errands()
    bring(bench, b"first")
    size = bench.store.log_size
    bench.service.settle(lambda: bench.service.external.keep(errand, b"second", bench.clock()))
    assert bench.store.log_size == size
    assert ask(bench, policy).environment == {"A": "first"}


@pytest.mark.spec("EXT-40", "EXT-42")
def test_a_new_epoch_is_fetched_anew(bench: ServiceBench, policy: bytes) -> None:
    """And the old one still resolves where it is readable."""
    bring(bench, b"first")
    rotated = EXTERNAL.replace("}}", "}, epoch: 2, readable: [1]}")
    both = '{A: "${secret:db}", B: "${secret:db@1}"}'
    second = bench.apply(
        secret_policy(bench, secrets=rotated, environment=both, predecessor=policy)
    )
    assert code_of(bench, second) == "keyservice.source"
    assert bring(bench, b"second") == ["lab/keeper/db@2"]
    assert ask(bench, second).environment == {"A": "second", "B": "first"}


@pytest.mark.spec("EXT-40", "EXT-43")
def test_what_a_policy_drops_is_wanted_no_more(bench: ServiceBench, policy: bytes) -> None:
    """A fetch that is under way brings nothing back."""
    (errand,) = bench.service.external.errands()
    bench.apply(secret_policy(bench, predecessor=policy))
    assert bench.service.external.errands() == []
    size = bench.store.log_size
    bench.service.settle(lambda: bench.service.external.keep(errand, b"late", bench.clock()))
    assert bench.store.log_size == size


@pytest.mark.spec("EXT-43")
@pytest.mark.parametrize("again", ["", "second.example:8200"])
def test_what_a_removed_source_says_is_dropped(
    bench: ServiceBench, policy: bytes, again: str
) -> None:
    """Also where another one has its name by now."""
    (errand,) = bench.service.external.errands()
    bench.owner().sources.remove("lab", "vault")
    if again:
        put_source(bench, address=again)
    bench.service.settle(lambda: bench.service.external.keep(errand, b"late", bench.clock()))
    assert code_of(bench, policy) == "keyservice.source"


@pytest.mark.spec("EXT-40", "POL-42")
def test_another_form_needs_another_epoch(bench: ServiceBench, policy: bytes) -> None:
    """An epoch does not come from two places."""
    other = EXTERNAL.replace("training/db", "training/other")
    with pytest.raises(CloisterError) as e:
        bench.apply(secret_policy(bench, secrets=other, environment=VARIABLES, predecessor=policy))
    assert e.value.code == "policy.epoch"


@pytest.mark.spec("EXT-44", "RL-8")
def test_what_arrives_is_logged_without_its_value(bench: ServiceBench, policy: bytes) -> None:
    """By its place and policy, with random bytes instead of a requester."""
    bring(bench, b"planted-value")
    (data,) = bench.store.entries(bench.store.log_size - 1, 1)
    entry = LogEntry.from_bytes(data)
    assert (entry.operation, entry.subject) == ("secret.fetch", "lab/keeper/db@1")
    assert (entry.policy, entry.code) == (policy, "")
    assert len(set(entry.requester)) > 8
    assert b"planted" not in data


@pytest.mark.spec("EXT-44")
def test_a_namespace_that_is_full_keeps_no_value(bench: ServiceBench) -> None:
    """Nothing of it stays, not even that it is wanted no more."""
    key = SigningKey.generate()
    bench.owner().propose_charter(bench.charter("lab", (key,), secrets=1))
    put_source(bench, bench.client(key))
    text = secret_policy(bench, secrets=EXTERNAL, environment=VARIABLES)
    bench.owner_key = key
    policy = bench.apply(text)
    with pytest.raises(CloisterError) as e:
        bring(bench, b"value")
    assert e.value.code == "quota.exceeded"
    assert len(bench.service.external.errands()) == 1
    assert code_of(bench, policy) == "keyservice.source"


@pytest.mark.spec("EXT-2")
def test_an_external_secret_is_exported_like_another(bench: ServiceBench, policy: bytes) -> None:
    """To a policy that names no source, and only while that is so."""
    secrets = EXTERNAL.replace("}}", "}, export: [{namespace: partner, policy: reader}]}")
    bench.apply(secret_policy(bench, secrets=secrets, environment=VARIABLES, predecessor=policy))
    reader = bench.apply(
        secret_policy(
            bench,
            name="reader",
            namespace="partner",
            imports="\n  far: {namespace: lab, policy: keeper, secret: db}\n",
            environment='{A: "${secret:far.hex}"}',
        )
    )
    assert code_of(bench, reader) == "keyservice.source"
    bring(bench, b"\xff")
    assert ask(bench, reader).environment == {"A": "ff"}


@pytest.mark.spec("EXT-2")
def test_an_external_secret_cannot_be_put(bench: ServiceBench, policy: bytes) -> None:
    """Its value comes from its source."""
    with pytest.raises(CloisterError) as e:
        bench.owner().secrets.put(
            b"mine",
            namespace="lab",
            policy="keeper",
            name="db",
            epoch=1,
            service_hpke=bench.domain.hpke,
        )
    assert e.value.code == "release.secret-missing"
    (fact,) = bench.owner().secrets.list(namespace="lab", policy="keeper")
    assert (fact.kind, fact.present) == ("external", False)
