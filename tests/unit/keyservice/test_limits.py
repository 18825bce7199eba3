"""Quotas and rates through the service: who pays, and that a refusal changes nothing."""

import itertools

import pytest

from cloister.crypto.digest import digest_to_text
from cloister.crypto.signature import SigningKey
from cloister.errors import ReleaseDeniedError, UnavailableError
from cloister.keyservice.limits import QUESTIONS_PER_MINUTE
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.testing.keyservice import MEASUREMENT, ServiceBench, policy_text

ANN, BEN, EVE = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))


def chartered(bench: ServiceBench, namespace: str, key: SigningKey, **quotas: object) -> bytes:
    """Charter a namespace of the root's for one key."""
    return bench.owner().propose_charter(bench.charter(namespace, (key,), **quotas)).hash


@pytest.mark.spec("PA-50", "PA-51")
def test_policies_and_volumes_are_counted_with_the_change(bench: ServiceBench) -> None:
    """In the namespaces that the charter governs; a successor uses nothing more."""
    chartered(bench, "lab", ANN, policies=1, volumes=2)
    client = bench.client(ANN)
    bench.register_volumes(client, namespace="lab", first=b"a")
    size = len(bench.store.volumes())
    with pytest.raises(ReleaseDeniedError) as e:
        bench.register_volumes(client, namespace="lab/deep", first=b"b")
    assert e.value.code == "quota.exceeded"
    assert len(bench.store.volumes()) == size
    bench.register_volumes(client, namespace="lab", first=b"a")

    def apply(**changes: str) -> bytes:
        text = policy_text(bench, **changes)
        return client.apply_policy(canonical_bytes(parse_policy(text.encode(), source="p")))

    digest = apply()
    apply(predecessor=digest_to_text(digest), svn="2")
    with pytest.raises(ReleaseDeniedError) as e:
        apply(name="other", namespace="lab/deep")
    assert e.value.code == "quota.exceeded"
    assert bench.store.current_policy("lab/deep", "other") is None


@pytest.mark.spec("PA-50", "PA-52", "PA-7")
def test_quotas_are_not_multiplied_by_charters_below(bench: ServiceBench) -> None:
    """What is granted below is gone above; more needs both boards, and room."""
    chartered(bench, "lab", ANN, volumes=10)
    client = bench.client(ANN)
    with pytest.raises(ReleaseDeniedError) as e:
        client.propose_charter(bench.charter("lab/a", (BEN,), volumes=11))
    assert e.value.code == "quota.exceeded"
    small = {"policies": 1, "secrets": 1, "members": 1, "requests_per_minute": 9}
    first = bench.charter("lab/a", (BEN,), volumes=9, **small)
    digest = client.propose_charter(first).hash
    bench.register_volumes(bench.client(BEN), namespace="lab/a", first=b"a")
    with pytest.raises(ReleaseDeniedError) as e:
        bench.register_volumes(client, namespace="lab", first=b"b")
    assert e.value.code == "quota.exceeded"
    more = bench.charter("lab/a", (BEN,), volumes=11, predecessor=digest_to_text(digest), **small)
    assert bench.client(BEN).propose_charter(more).missing == (ANN.public.raw,)
    with pytest.raises(ReleaseDeniedError) as e:
        bench.client(BEN).propose_charter(more, bench.approve(more, ANN))
    assert e.value.code == "quota.exceeded"


@pytest.mark.spec("PA-53")
def test_nothing_is_limited_where_the_founder_governs(bench: ServiceBench) -> None:
    """As before there were charters."""
    for _ in range(2 * QUESTIONS_PER_MINUTE):
        bench.owner().status()


@pytest.mark.spec("PA-54")
def test_operations_are_charged_to_the_governing_charter(bench: ServiceBench) -> None:
    """Others are not touched, strangers use no tokens, and the log does not grow."""
    chartered(bench, "lab", ANN, requests_per_minute=3)
    chartered(bench, "other", EVE)
    for _ in range(5):
        with pytest.raises(ReleaseDeniedError):
            bench.client(EVE).read_namespace("lab")
    for _ in range(3):
        bench.client(ANN).read_namespace("lab")
    size = bench.store.log_size
    with pytest.raises(UnavailableError) as e:
        bench.client(ANN).read_namespace("lab")
    assert e.value.code == "keyservice.busy"
    assert bench.store.log_size == size
    bench.client(EVE).read_namespace("other")
    bench.clock.move(20)
    bench.client(ANN).read_namespace("lab")


@pytest.mark.spec("PA-54")
def test_releases_are_charged_too(bench: ServiceBench, policy: bytes) -> None:
    """Those that would be granted; the log has no entry of what was too much."""
    root = bench.charter("/", (bench.owner_key,), requests_per_minute=2)
    bench.owner().propose_charter(root)
    bench.clock.move(120)

    instances = itertools.count()

    def release() -> object:
        return bench.release_client().release(
            policy=policy,
            workload="serve",
            instance=f"i{next(instances)}",
            measurement=MEASUREMENT,
            attester=bench.attester(),
        )

    release()
    release()
    size = bench.store.log_size
    with pytest.raises(UnavailableError) as e:
        release()
    assert e.value.code == "keyservice.busy"
    assert bench.store.log_size == size


@pytest.mark.spec("PA-55")
def test_refusals_do_not_let_the_log_grow_without_end(bench: ServiceBench) -> None:
    """A tenant who keeps trying what he may not do is told to wait, without an entry."""
    chartered(bench, "lab", ANN)
    chartered(bench, "other", EVE)
    for _ in range(QUESTIONS_PER_MINUTE):
        with pytest.raises(ReleaseDeniedError):
            bench.client(EVE).read_namespace("lab")
    size = bench.store.log_size
    with pytest.raises(UnavailableError) as e:
        bench.client(EVE).read_namespace("lab")
    assert e.value.code == "keyservice.busy"
    assert bench.store.log_size == size


@pytest.mark.spec("PA-55")
def test_questions_about_the_domain_are_charged_to_whoever_asks(bench: ServiceBench) -> None:
    """A tenant who asks too often leaves the root's tokens alone."""
    chartered(bench, "lab", ANN)
    for _ in range(QUESTIONS_PER_MINUTE):
        bench.client(ANN).pending()
    with pytest.raises(UnavailableError) as e:
        bench.client(ANN).namespaces()
    assert e.value.code == "keyservice.busy"
    bench.owner().pending()
