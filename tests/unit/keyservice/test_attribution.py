"""Whose an entry is, for every kind of entry that there is."""

from __future__ import annotations

import pytest

from cloister.crypto.signature import SigningKey
from cloister.crypto.x509 import TLSKey
from cloister.errors import CloisterError
from cloister.keyservice.attribution import Attribution, within
from cloister.keyservice.log import LogEntry, StateCommitment, read_leaf
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.testing.keyservice import DATA_ID, ServiceBench, policy_text
from cloister.testing.secrets import EXTERNAL, ask, bring, pin_source, put_source, secret_policy


def entry(operation: str, subject: str, policy: bytes = bytes(32)) -> bytes:
    """A leaf."""
    return LogEntry(0, operation, "", policy, subject, "", bytes(32), bytes(32)).to_bytes()


def found(bench: ServiceBench) -> dict[str, set[str | None]]:
    """What the log has: operation to the namespaces that its entries concern."""
    seen: dict[str, set[str | None]] = {}
    attribution = Attribution(bench.store)
    for leaf in bench.store.entries(0, 1000):
        read = read_leaf(leaf)
        name = read.operation if isinstance(read, LogEntry) else "state"
        seen.setdefault(name, set()).add(attribution.namespace_of(leaf))
    return seen


@pytest.mark.spec("RL-60")
def test_every_kind_of_entry_concerns_what_it_names(bench: ServiceBench) -> None:
    """Of the root's volumes, of a tenant, of a client, of a policy that waits."""
    owner = bench.owner()
    bench.register_volumes(namespace="lab", first=b"L")
    owner.volume_key(b"L" + DATA_ID[1:])
    owner.take_lease(b"L" + DATA_ID[1:])
    owner.break_lease(b"L" + DATA_ID[1:])
    put_source(bench)
    pin_source(bench, bench, service=SigningKey.generate().public)
    policy = bench.apply(secret_policy(bench, secrets=EXTERNAL, environment='{A: "${secret:db}"}'))
    bring(bench, b"value")
    ask(bench, policy)
    owner.sources.remove("lab", "vault")
    owner.enroll_client(
        namespace="lab/deep",
        name="ann",
        instance="1",
        certificate_request=TLSKey.generate().request(),
    )
    keys = (bench.owner_key, SigningKey.generate())
    owner.propose_charter(bench.charter("other", keys, threshold=2))
    waiting = parse_policy(policy_text(bench, namespace="other").encode(), source="p")
    owner.propose_policy(canonical_bytes(waiting))
    assert found(bench) == {
        "volume.register": {"/", "lab"},
        "volume.key": {"lab"},
        "lease.take": {"lab"},
        "lease.break": {"lab"},
        "source.put": {"lab"},
        "source.pin": {"lab"},
        "source.remove": {"lab"},
        "policy.apply": {"lab", "other"},
        "secret.fetch": {"lab"},
        "release": {"lab"},
        "client.enroll": {"lab/deep"},
        "namespace.apply": {"other"},
    }


@pytest.mark.spec("RL-60")
def test_what_names_nothing_that_is_known_is_nobodys(bench: ServiceBench) -> None:
    """A refused owner, an unknown policy or volume, a commitment, a subject of another form."""
    attribution = Attribution(bench.store)
    with pytest.raises(CloisterError):
        bench.owner().volume_key(b"?" * 16)
    (refused,) = bench.store.entries(bench.store.log_size - 1, 1)
    for leaf in (
        refused,
        entry("release", "train", b"?" * 32),
        entry("volume.key", "3f" * 16),
        entry("volume.key", ""),
        entry("volume.key", "lab"),
        entry("client.enroll", "lab"),
        entry("source.put", "vault"),
        entry("namespace.apply", ""),
        entry("status", "lab"),
        StateCommitment(5, b"d" * 32).to_bytes(),
    ):
        assert attribution.namespace_of(leaf) is None


@pytest.mark.parametrize(
    ("namespace", "above", "is_within"),
    [
        ("lab", "lab", "yes"),
        ("lab/deep", "lab", "yes"),
        ("lab", "/", "yes"),
        ("/", "/", "yes"),
        ("lab", "lab/deep", "no"),
        ("laboratory", "lab", "no"),
        ("/", "lab", "no"),
    ],
)
def test_within_goes_by_names(namespace: str, above: str, is_within: str) -> None:
    """Not by the beginnings of names."""
    assert within(namespace, above) == (is_within == "yes")
