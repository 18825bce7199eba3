"""How an owner asks: answers to this request alone, and no secret before the service is proved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cloister.crypto.hpke import HPKEPrivateKey
from cloister.errors import CloisterError, IdentityError, RefusedError
from cloister.keyservice.genuine import ATTEST_PATH
from cloister.keyservice.messages import CHALLENGE_PATH, OWNER_PATH
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.service import KeyService
from cloister.tee.sim.attester import SimAttester
from cloister.testing.keyservice import ServiceBench

Attempt = Callable[[ServiceBench, OwnerClient], object]

ATTEMPTS: dict[str, Attempt] = {
    "volume.register": lambda bench, owner: owner.register_volume(
        b"v" * 16,
        key=b"k" * 32,
        version=1,
        root=b"r" * 32,
        kind="data",
        service_hpke=bench.domain.hpke,
    ),
    "secret.put": lambda bench, owner: owner.secrets.put(
        b"value",
        namespace="lab",
        policy="keeper",
        name="token",
        epoch=1,
        service_hpke=bench.domain.hpke,
    ),
    "source.put": lambda bench, owner: owner.sources.put(
        b"token",
        namespace="lab",
        name="vault",
        address="vault.example:8200",
        ca=b"certificate",
        service_hpke=bench.domain.hpke,
    ),
}


@pytest.fixture
def bench(tmp_path: Path) -> ServiceBench:
    """A domain that nobody has asked anything yet."""
    return ServiceBench.create(tmp_path)


def paths(bench: ServiceBench) -> list[str]:
    """What was asked so far."""
    return [path for path, _ in bench.requests]


@pytest.mark.spec("KR-96")
@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_a_service_that_proves_something_else_gets_no_secret(
    bench: ServiceBench, attempt: Attempt
) -> None:
    """Of no kind; it is asked for the proof alone."""
    attester = SimAttester(bench.platform, image=b"x" * 32)
    bench.service = KeyService(bench.store, moment=bench.clock(), attester=attester, witnesses=None)
    with pytest.raises(RefusedError) as e:
        attempt(bench, bench.owner())
    assert e.value.code == "appraisal.measurement"
    assert paths(bench) == [ATTEST_PATH]


@pytest.mark.spec("KR-96")
def test_the_proof_is_asked_for_once_for_a_key(bench: ServiceBench) -> None:
    """And again for another key, which the service does not have."""
    call = bench.owner().call
    call.require_genuine(bench.domain.hpke)
    call.require_genuine(bench.domain.hpke)
    assert paths(bench) == [ATTEST_PATH]
    for _ in range(2):
        with pytest.raises(CloisterError):
            call.require_genuine(HPKEPrivateKey.generate().public)
    assert paths(bench) == [ATTEST_PATH] * 3
    call.require_genuine(bench.domain.hpke)  # what was proved before still holds
    assert paths(bench) == [ATTEST_PATH] * 3


def test_every_operation_has_a_challenge_of_its_own(bench: ServiceBench) -> None:
    """So that no request can be sent twice."""
    call = bench.owner().call
    for _ in range(2):
        call.do("status", {})
    assert paths(bench) == [CHALLENGE_PATH, OWNER_PATH] * 2
    first, second = (body for path, body in bench.requests if path == OWNER_PATH)
    assert first != second


def test_an_answer_to_another_request_is_refused(bench: ServiceBench) -> None:
    """Though the pinned service gave it, to this very owner, a moment ago."""
    recorded: list[bytes] = []

    def replay(path: str, request: bytes, answer: bytes) -> bytes:
        del request
        if path == OWNER_PATH:
            recorded.append(answer)
            return recorded[0]
        return answer

    bench.tap = replay
    call = bench.owner().call
    call.do("status", {})
    with pytest.raises(IdentityError) as e:
        call.do("status", {})
    assert e.value.code == "identity.keyservice"


def test_time_is_the_clocks(bench: ServiceBench) -> None:
    """That was given, and no other."""
    before = bench.owner().call.now()
    bench.clock.move(60)
    assert bench.owner().call.now() == before + 60
