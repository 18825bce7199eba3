"""The operator runs something else under the key service's name; owners give it no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import AppraisalError, CloisterError, EndorsementError, RefusedError
from cloister.keyservice.genuine import ATTEST_PATH
from cloister.keyservice.messages import OWNER_PATH
from cloister.keyservice.service import KeyService
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.keyservice import ServiceBench


@pytest.fixture
def bench(tmp_path: Path) -> ServiceBench:
    """A domain whose owner has a volume's key to entrust."""
    return ServiceBench.create(tmp_path)


def entrust(bench: ServiceBench) -> CloisterError:
    """Have the owner register a volume; return the refusal, after which nothing was sent."""
    with pytest.raises(RefusedError) as e:
        bench.register_volumes()
    assert [path for path, _ in bench.requests if path == OWNER_PATH] == []
    return e.value


@pytest.mark.spec("KR-96", "KR-98")
def test_another_image_gets_no_secret(bench: ServiceBench) -> None:
    """The service's keys, unsealed by a changed Cloister on the same platform."""
    attester = SimAttester(bench.platform, image=b"x" * 32)
    bench.service = KeyService(bench.store, moment=bench.clock(), attester=attester, witnesses=None)
    error = entrust(bench)
    assert error.code == "appraisal.measurement"
    assert isinstance(error, AppraisalError)
    assert error.rule == "service.measurement"


@pytest.mark.spec("KR-96", "KR-97")
def test_the_same_keys_on_another_platform_get_no_secret(
    bench: ServiceBench, tmp_path: Path
) -> None:
    """State that was carried away and opened elsewhere."""
    other = SimPlatform.create(tmp_path / "other", svn=1, debug=False)
    attester = SimAttester(other, image=bench.attester().measurement)
    bench.service = KeyService(bench.store, moment=bench.clock(), attester=attester, witnesses=None)
    error = entrust(bench)
    assert isinstance(error, EndorsementError)


@pytest.mark.spec("KR-96", "KR-97")
def test_a_recorded_proof_is_good_for_nobody_else(bench: ServiceBench) -> None:
    """Yesterday's reply is not signed for today's nonce."""
    recorded: list[bytes] = []

    def replay(path: str, request: bytes, answer: bytes) -> bytes:
        del request
        if path != ATTEST_PATH:
            return answer
        recorded.append(answer)
        return recorded[0]

    bench.tap = replay
    bench.owner().call.require_genuine(bench.domain.hpke)
    error = entrust(bench)
    assert error.code == "identity.keyservice"


@pytest.mark.spec("KR-96")
def test_the_real_service_gets_them_after_one_proof(bench: ServiceBench) -> None:
    """Once for each client, before the first secret."""
    bench.register_volumes()
    paths = [path for path, _ in bench.requests]
    assert paths.index(ATTEST_PATH) < paths.index(OWNER_PATH)
    assert paths.count(ATTEST_PATH) == 1
