"""The owner's operations on secrets, each refusal by its code."""

from __future__ import annotations

import dataclasses

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.log import LogEntry
from cloister.keyservice.owner import OwnerClient
from cloister.testing.keyservice import ServiceBench
from cloister.testing.secrets import EVERY_KIND, secret_policy

WHERE = {"namespace": "lab", "policy": "keeper"}
SECRETS = EVERY_KIND + "  second: {opaque: {max_bytes: 8}, epoch: 5}\n"


@pytest.fixture
def owner(bench: ServiceBench) -> OwnerClient:
    """The owner, with a policy of every kind applied."""
    bench.apply(secret_policy(bench, secrets=SECRETS))
    return bench.owner()


def put(bench: ServiceBench, owner: OwnerClient, value: bytes, **changes: object) -> str:
    """Put a value; return the code of the refusal, or nothing."""
    given = WHERE | {"name": "token", "epoch": 1, "service_hpke": bench.domain.hpke} | changes
    try:
        owner.secrets.put(value, **given)
    except CloisterError as e:
        return e.code
    return ""


@pytest.mark.spec("SEC-50", "SEC-51")
def test_a_value_is_put_once_for_an_epoch(bench: ServiceBench, owner: OwnerClient) -> None:
    """The same again changes nothing, another one is refused; a restart keeps it."""
    assert put(bench, owner, b"secret-value") == ""
    size = bench.store.log_size
    assert put(bench, owner, b"secret-value") == ""
    assert bench.store.log_size == size
    assert put(bench, owner, b"another-value") == "config.exists"
    bench.restart()
    assert put(bench, bench.owner(), b"secret-value") == ""


@pytest.mark.spec("SEC-50")
@pytest.mark.parametrize(
    ("value", "changes", "code"),
    [
        (b"x", {"policy": "nobody"}, "release.policy-unknown"),
        (b"x", {"namespace": "other"}, "release.policy-unknown"),
        (b"x", {"name": "nobody"}, "release.secret-missing"),
        (b"x", {"name": "db"}, "release.secret-missing"),
        (b"x", {"epoch": 2}, "release.secret-missing"),
        (b"x", {"name": "second"}, "release.secret-missing"),
        (b"", {}, "message.malformed"),
        (b"123456789", {"name": "second", "epoch": 5}, "message.malformed"),
    ],
)
def test_a_value_is_put_where_the_policy_wants_it(
    bench: ServiceBench, owner: OwnerClient, value: bytes, changes: dict[str, object], code: str
) -> None:
    """An opaque secret of the current policy, in its current epoch, within its length."""
    assert put(bench, owner, value, **changes) == code


@pytest.mark.spec("SEC-50")
def test_a_seal_for_another_place_does_not_open(bench: ServiceBench, owner: OwnerClient) -> None:
    """A recorded value cannot be put under another name, by the owner's own client either."""

    class Elsewhere:
        """Seals under another label."""

        raw = bench.domain.hpke.raw

        def seal(self, plaintext: bytes, *, info: bytes) -> bytes:
            return bench.domain.hpke.seal(plaintext, info=info + b"x")

    assert put(bench, owner, b"value", service_hpke=Elsewhere()) == "message.malformed"


@pytest.mark.spec("SEC-52")
def test_a_list_has_public_parts_only(bench: ServiceBench, owner: OwnerClient) -> None:
    """Every kind and epoch, what is there and what is not."""
    assert put(bench, owner, b"secret-value") == ""
    facts = {fact.name: fact for fact in owner.secrets.list(**WHERE)}
    assert {(fact.name, fact.kind, fact.epoch, fact.present) for fact in facts.values()} == {
        ("seed", "symmetric", 1, True),
        ("db", "password", 1, True),
        ("signing", "key_pair", 1, True),
        ("ca", "authority", 1, True),
        ("tls", "certificate", 1, True),
        ("token", "opaque", 1, True),
        ("second", "opaque", 5, False),
    }
    assert {name: set(fact.public) for name, fact in facts.items() if fact.public} == {
        "signing": {"public"},
        "ca": {"public", "certificate"},
        "tls": {"public", "certificate", "chain"},
    }
    assert all(fact.current for fact in facts.values())
    assert b"PRIVATE" not in b"".join(part for f in facts.values() for part in f.public.values())
    assert "secret-value" not in repr(facts)


@pytest.mark.spec("SEC-52")
def test_a_list_of_an_unknown_policy_is_refused(owner: OwnerClient) -> None:
    """`release.policy-unknown`."""
    with pytest.raises(CloisterError) as e:
        owner.secrets.list(namespace="lab", policy="nobody")
    assert e.value.code == "release.policy-unknown"


@pytest.mark.spec("SEC-53")
def test_only_the_owner_puts_and_lists(bench: ServiceBench, owner: OwnerClient) -> None:
    """Another signer gets neither."""
    thief = OwnerClient(
        bench,
        bench.pinned,
        owner=SigningKey.generate(),
        reference=bench.domain.service,
        clock=bench.clock,
        deadline_s=0.0,
    )
    assert put(bench, thief, b"x") == "release.not-owner"
    with pytest.raises(CloisterError) as e:
        thief.secrets.list(**WHERE)
    assert e.value.code == "release.not-owner"


@pytest.mark.spec("SEC-53")
def test_a_value_that_is_put_is_logged(bench: ServiceBench, owner: OwnerClient) -> None:
    """By its place; the entry has nothing of it."""
    assert put(bench, owner, b"secret-value") == ""
    (data,) = bench.store.entries(bench.store.log_size - 1, 1)
    entry = LogEntry.from_bytes(data)
    assert (entry.operation, entry.subject) == ("secret.put", "lab/keeper/token@1")
    assert "secret-value" not in str(dataclasses.asdict(entry))


@pytest.mark.spec("SEC-53", "POL-17")
def test_a_reader_whom_the_policy_names_lists_its_secrets(bench: ServiceBench) -> None:
    """And those of no other policy; a successor without him ends it; he puts nothing."""
    rex = SigningKey.generate()
    access = f'access: {{readers: ["{rex.public.text}"]}}\n'
    first = bench.apply(secret_policy(bench, secrets=SECRETS) + access)
    bench.apply(secret_policy(bench, name="second", secrets=SECRETS))
    found = bench.client(rex).secrets.list(**WHERE)
    assert {fact.name for fact in found} >= {"db", "token"}
    for other in (WHERE | {"policy": "second"}, WHERE | {"policy": "nobody"}):
        with pytest.raises(CloisterError) as e:
            bench.client(rex).secrets.list(**other)
        assert e.value.code == "release.policy-unknown"
    assert put(bench, bench.client(rex), b"x") == "release.not-owner"
    other = SigningKey.generate()
    access = f'access: {{readers: ["{other.public.text}"]}}\n'
    bench.apply(secret_policy(bench, secrets=SECRETS, predecessor=first) + access)
    with pytest.raises(CloisterError) as e:
        bench.client(rex).secrets.list(**WHERE)
    assert e.value.code == "release.not-owner"
