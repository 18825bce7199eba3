"""What the service answers before anybody decides: routes, malformed bodies, challenges."""

import pytest

from cloister.keyservice.messages import RELEASE_PATH, ChallengeRequest, SignedReply
from cloister.testing.keyservice import ServiceBench


@pytest.mark.spec("KR-2")
def test_an_unknown_path_is_malformed(bench: ServiceBench) -> None:
    """What is no operation has no route."""
    answer = bench.service.handle("/v1/other", b"", bench.clock())
    assert answer.status == 400
    failure = SignedReply.from_bytes(answer.body).open(
        path="/v1/other", request=b"", service=bench.domain.identity
    )
    assert failure.code == "message.malformed"


@pytest.mark.spec("KR-7")
@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (RELEASE_PATH, b"", 400, "wire.malformed"),
        (RELEASE_PATH, b"\xa0", 400, "message.malformed"),
        (RELEASE_PATH, b"\x00" * 600_000, 413, "wire.too-large"),
        ("/v1/challenge", b"x", 400, "wire.malformed"),
        ("/v1/anchor", b"x", 400, "wire.malformed"),
        ("/v1/owner", b"x", 400, "wire.malformed"),
    ],
)
def test_malformed_bodies_get_a_signed_code(
    bench: ServiceBench, path: str, body: bytes, status: int, code: str
) -> None:
    """A reason can be trusted as far as the service can."""
    answer = bench.service.handle(path, body, bench.clock())
    assert answer.status == status
    failure = SignedReply.from_bytes(answer.body).open(
        path=path, request=body, service=bench.domain.identity
    )
    assert failure.code == code


@pytest.mark.spec("KR-10")
def test_challenges_are_never_the_same(bench: ServiceBench) -> None:
    """Each has its own nonce."""
    request = ChallengeRequest(b"n" * 32).to_bytes()
    bodies = {bench.service.handle("/v1/challenge", request, bench.clock()).body for _ in range(20)}
    assert len(bodies) == 20
