"""A member's client: what it refuses to believe."""

import dataclasses

import pytest

from cloister.errors import CloisterError, EvidenceError, MalformedError
from cloister.keyservice.bundle import Bundle
from cloister.keyservice.member_messages import MEMBER_PATH
from cloister.keyservice.messages import CHALLENGE_PATH
from cloister.testing.keyservice import MEASUREMENT, ServiceBench


@pytest.fixture
def bundle(bench: ServiceBench, policy: bytes) -> Bundle:
    """A member's bundle."""
    return (
        bench.release_client()
        .release(
            policy=policy,
            workload="serve",
            instance="run-1",
            measurement=MEASUREMENT,
            attester=bench.attester(),
        )
        .bundle
    )


def test_a_bundle_without_a_membership_has_no_member(bench: ServiceBench, bundle: Bundle) -> None:
    """There is nothing to ask with."""
    with pytest.raises(MalformedError) as e:
        bench.member(dataclasses.replace(bundle, member=None))
    assert e.value.code == "message.malformed"


@pytest.mark.spec("MEM-37")
def test_a_member_remembers_the_newest_epoch(bench: ServiceBench, bundle: Bundle) -> None:
    """A service that shows an older one is not believed."""
    client = bench.member(bundle)
    assert client.roster().epoch == client.epoch == 1
    client.epoch = 2
    with pytest.raises(EvidenceError) as e:
        client.roster()
    assert e.value.code == "roster.stale"


def test_a_tampered_answer_is_refused(bench: ServiceBench, bundle: Bundle) -> None:
    """One bit."""

    def flip(path: str, request: bytes, answer: bytes) -> bytes:
        return answer[:-1] + bytes([answer[-1] ^ 1]) if path == MEMBER_PATH else answer

    bench.tap = flip
    client = bench.member(bundle)
    for operation in (client.roster, client.leave):
        with pytest.raises(CloisterError) as e:
            operation()
        assert e.value.code == "identity.keyservice"


@pytest.mark.spec("MEM-21")
def test_leaving_with_a_stale_nonce_is_refused(bench: ServiceBench, bundle: Bundle) -> None:
    """Only `release.not-member` means that it is done; twice is once."""

    def delay(path: str, request: bytes, answer: bytes) -> bytes:
        if path == CHALLENGE_PATH:
            bench.clock.move(61)
        return answer

    client = bench.member(bundle)
    bench.tap = delay
    with pytest.raises(EvidenceError) as e:
        client.leave()
    assert e.value.code == "evidence.expired"
    bench.tap = None
    assert client.roster().epoch == 1
    client.leave()
    client.leave()
    assert client.epoch == 2
