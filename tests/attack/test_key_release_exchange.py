"""The operator owns the wire between a requester and the key service.

Relay, replay, diversion, reflection, substitution and tampering: none yields a key, each is refused
by its own code. The service and the client are the real ones; the attacker sits between them.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.attestation.evidence import Evidence, ReportData
from cloister.crypto.digest import digest_to_text
from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.x509 import TLSKey
from cloister.errors import CloisterError, EvidenceError, IdentityError
from cloister.keyservice.bundle import Bundle
from cloister.keyservice.client import Release, ReleaseClient
from cloister.keyservice.messages import (
    CHALLENGE_PATH,
    RELEASE_PATH,
    Challenge,
    ChallengeRequest,
    Failure,
    ReleaseRequest,
    Reply,
    SignedReply,
    bundle_info,
)
from cloister.keyservice.pinned import PinnedService
from cloister.testing.keyservice import DATA_KEY, MEASUREMENT, ServiceBench, policy_text


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServiceBench]:
    """A domain with two volumes and an applied policy."""
    bench = ServiceBench.create(tmp_path)
    bench.register_volumes()
    yield bench
    bench.close()


@pytest.fixture
def policy(bench: ServiceBench) -> bytes:
    """The applied policy's hash."""
    return bench.apply(policy_text(bench))


def ask(
    bench: ServiceBench, policy: bytes, *, transport: object = None, pinned: object = None
) -> Release:
    """A requester that knows nothing of the attack."""
    client = ReleaseClient(
        transport or bench, pinned or bench.pinned, clock=bench.clock, deadline_s=0.0
    )
    return client.release(
        policy=policy,
        workload="serve",
        instance="run-1",
        measurement=MEASUREMENT,
        attester=bench.attester(),
    )


def recorded(bench: ServiceBench, policy: bytes) -> bytes:
    """A request that was granted, as the wire saw it."""
    ask(bench, policy)
    return next(body for path, body in reversed(bench.requests) if path == RELEASE_PATH)


def send(bench: ServiceBench, body: bytes) -> Reply | Failure:
    """Post a release request as the attacker."""
    data = bench.service.handle(RELEASE_PATH, body, bench.clock()).body
    return SignedReply.from_bytes(data).open(
        path=RELEASE_PATH, request=body, service=bench.domain.identity
    )


def challenge(bench: ServiceBench) -> bytes:
    """A fresh nonce for the attacker."""
    request = ChallengeRequest(b"a" * 32).to_bytes()
    data = bench.service.handle(CHALLENGE_PATH, request, bench.clock()).body
    reply = SignedReply.from_bytes(data).open(
        path=CHALLENGE_PATH, request=request, service=bench.domain.identity
    )
    assert isinstance(reply, Reply)
    return Challenge.from_bytes(reply.result).nonce


def refused(answer: Reply | Failure) -> str:
    """The code of a refusal."""
    assert isinstance(answer, Failure)
    return answer.code


@pytest.mark.spec("KR-11")
def test_a_replayed_request_is_refused(bench: ServiceBench, policy: bytes) -> None:
    """The recorded bytes, once more, while the challenge would still live."""
    assert refused(send(bench, recorded(bench, policy))) == "evidence.replayed"


@pytest.mark.spec("KR-12")
def test_a_request_that_was_held_back_is_refused(bench: ServiceBench, policy: bytes) -> None:
    """Delivered after the challenge's lifetime."""

    class Delay:
        def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
            if path == RELEASE_PATH:
                bench.clock.move(61)
            return bench.post(path, body, timeout_s=timeout_s)

    with pytest.raises(EvidenceError) as e:
        ask(bench, policy, transport=Delay())
    assert e.value.code == "evidence.expired"


@pytest.mark.spec("KR-11", "KR-12")
def test_a_recorded_request_is_worthless_after_a_restart(
    bench: ServiceBench, policy: bytes
) -> None:
    """What was spent is a part of the state."""
    body = recorded(bench, policy)
    bench.restart()
    assert refused(send(bench, body)) == "evidence.replayed"


@pytest.mark.spec("KR-25")
def test_old_evidence_under_a_fresh_challenge_is_refused(
    bench: ServiceBench, policy: bytes
) -> None:
    """The nonce in the request is not the one in the evidence."""
    request = ReleaseRequest.from_bytes(recorded(bench, policy))
    body = dataclasses.replace(request, nonce=challenge(bench)).to_bytes()
    assert refused(send(bench, body)) == "evidence.binding"


@pytest.mark.spec("KR-25")
@pytest.mark.parametrize(
    "field", ["hpke_key", "certificate_request", "instance", "workload", "measurement"]
)
def test_a_substituted_part_is_refused(bench: ServiceBench, policy: bytes, field: str) -> None:
    """The attacker's key, certificate, name, role or measurement in somebody's live request."""
    substitute = {
        "hpke_key": HPKEPrivateKey.generate().public.raw,
        "certificate_request": TLSKey.generate().request(),
        "instance": "run-2",
        "workload": "train",
        "measurement": dataclasses.replace(MEASUREMENT, runtime=b"x" * 32),
    }

    class Substitute:
        def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
            if path == RELEASE_PATH:
                request = ReleaseRequest.from_bytes(body)
                body = dataclasses.replace(request, **{field: substitute[field]}).to_bytes()
                answer = send(bench, body)
                assert refused(answer) == "evidence.binding"
                raise EvidenceError("as expected", code="evidence.binding")
            return bench.post(path, body, timeout_s=timeout_s)

    with pytest.raises(EvidenceError):
        ask(bench, policy, transport=Substitute())


@pytest.mark.spec("KR-25")
def test_relayed_evidence_gives_the_relay_nothing(bench: ServiceBench, policy: bytes) -> None:
    """A genuine environment answers the attacker's challenge; the bundle opens only inside.

    The attacker takes a nonce, has an honest requester make evidence over it, and forwards all of
    it. The service grants it, to the key in the evidence: the attacker holds bytes that he cannot
    open, and his own key in the request is refused.
    """
    nonce = challenge(bench)
    honest, thief = HPKEPrivateKey.generate(), HPKEPrivateKey.generate()
    parts = {
        "service": bench.domain.identity.raw,
        "nonce": nonce,
        "policy": policy,
        "workload": "serve",
        "instance": "run-1",
        "hpke_key": honest.public.raw,
        "certificate_request": TLSKey.generate().request(),
        "measurement": MEASUREMENT,
    }
    blank = ReleaseRequest(**parts, evidence=Evidence("a/b", b""))
    evidence = bench.attester().collect(blank.report_data())
    body = dataclasses.replace(blank, evidence=evidence).to_bytes()
    answer = send(bench, body)
    assert isinstance(answer, Reply)
    info = bundle_info(service=bench.domain.identity.raw, nonce=nonce, request=body)
    wrong = IdentityError("not for you", code="identity.keyservice")
    with pytest.raises(IdentityError):
        thief.open(answer.result, info=info, error=wrong)
    opened = Bundle.from_bytes(honest.open(answer.result, info=info, error=wrong))
    assert opened.volumes["/data"].keys.newest == DATA_KEY


@pytest.mark.spec("KR-19")
def test_a_request_diverted_to_another_service_is_refused(
    bench: ServiceBench, policy: bytes, tmp_path: Path
) -> None:
    """A second genuine service of the same operator does not take the first one's requests."""
    other = ServiceBench.create(tmp_path, "other.test")
    nonce = challenge(other)
    request = ReleaseRequest.from_bytes(recorded(bench, policy))
    body = dataclasses.replace(request, nonce=nonce).to_bytes()
    data = other.service.handle(RELEASE_PATH, body, other.clock()).body
    answer = SignedReply.from_bytes(data).open(
        path=RELEASE_PATH, request=body, service=other.domain.identity
    )
    assert refused(answer) == "evidence.binding"
    # Renaming the service in the request does not help: the evidence names the first one.
    renamed = dataclasses.replace(request, nonce=nonce, service=other.domain.identity.raw)
    data = other.service.handle(RELEASE_PATH, renamed.to_bytes(), other.clock()).body
    answer = SignedReply.from_bytes(data).open(
        path=RELEASE_PATH, request=renamed.to_bytes(), service=other.domain.identity
    )
    assert refused(answer) == "release.policy-unknown"
    other.close()


@pytest.mark.spec("KR-4")
def test_a_client_diverted_to_another_service_notices(
    bench: ServiceBench, policy: bytes, tmp_path: Path
) -> None:
    """Another genuine key service answers at the address."""
    other = ServiceBench.create(tmp_path, "other.test")
    with pytest.raises(IdentityError) as e:
        ask(bench, policy, transport=other)
    assert e.value.code == "identity.keyservice"
    with pytest.raises(IdentityError):
        ask(bench, policy, pinned=PinnedService(other.domain.identity, other.domain.origin))
    other.close()


@pytest.mark.spec("KR-3")
def test_reflected_bytes_are_no_reply(bench: ServiceBench, policy: bytes) -> None:
    """The requester's own message, or a reply to another question, sent back to it."""
    kept: list[bytes] = []

    def reflect(path: str, request: bytes, answer: bytes) -> bytes:
        kept.append(answer)
        return request if path == RELEASE_PATH else answer

    def stale(path: str, request: bytes, answer: bytes) -> bytes:
        return kept[0] if path == RELEASE_PATH else answer

    for tap in (reflect, stale):
        bench.tap = tap
        with pytest.raises(IdentityError) as e:
            ask(bench, policy)
        assert e.value.code == "identity.keyservice"


@pytest.mark.spec("KR-3")
def test_a_reply_to_one_requester_is_none_for_another(bench: ServiceBench, policy: bytes) -> None:
    """Both requests are genuine; their answers cannot be swapped."""
    first: list[bytes] = []

    def swap(path: str, request: bytes, answer: bytes) -> bytes:
        if path != RELEASE_PATH:
            return answer
        first.append(answer)
        return first[0]

    bench.tap = swap
    ask(bench, policy)
    with pytest.raises(IdentityError) as e:
        ask(bench, policy)
    assert e.value.code == "identity.keyservice"


@pytest.mark.spec("KR-3")
@pytest.mark.parametrize("path", [CHALLENGE_PATH, RELEASE_PATH])
def test_a_tampered_reply_is_refused(bench: ServiceBench, policy: bytes, path: str) -> None:
    """One bit, at many places of either reply."""
    for step in range(40):

        def flip(at: str, request: bytes, answer: bytes, step: int = step) -> bytes:
            if at != path:
                return answer
            changed = bytearray(answer)
            changed[step * (len(answer) - 1) // 39] ^= 0x10
            return bytes(changed)

        bench.tap = flip
        with pytest.raises(IdentityError) as e:
            ask(bench, policy)
        assert e.value.code == "identity.keyservice"


@pytest.mark.spec("KR-3")
def test_a_grant_turned_into_a_refusal_is_refused(bench: ServiceBench, policy: bytes) -> None:
    """A reason that the service did not sign is not a reason."""

    def deny(path: str, request: bytes, answer: bytes) -> bytes:
        if path != RELEASE_PATH:
            return answer
        failure = Failure(bench.clock.at, "release.fenced", "go away")
        signature = SignedReply.from_bytes(answer).signature
        return SignedReply(failure.to_bytes(), signature).to_bytes()

    bench.tap = deny
    with pytest.raises(IdentityError) as e:
        ask(bench, policy)
    assert e.value.code == "identity.keyservice"


def test_an_old_policy_grants_nothing(bench: ServiceBench, policy: bytes) -> None:
    """The operator keeps asking under the policy that the owner replaced."""
    bench.apply(policy_text(bench, predecessor=digest_to_text(policy), svn="0"))
    with pytest.raises(CloisterError) as e:
        ask(bench, policy)
    assert e.value.code == "release.policy-changed"


def test_an_inspectable_platform_gets_nothing(bench: ServiceBench, policy: bytes) -> None:
    """Genuine evidence that says `debug`."""

    class Inspectable:
        def collect(self, report_data: ReportData) -> Evidence:
            bench.platform.debug = True
            try:
                return bench.attester().collect(report_data)
            finally:
                bench.platform.debug = False

    client = bench.release_client()
    with pytest.raises(CloisterError) as e:
        client.release(
            policy=policy,
            workload="serve",
            instance="i",
            measurement=MEASUREMENT,
            attester=Inspectable(),
        )
    assert e.value.code == "appraisal.debug"


@pytest.mark.spec("KR-33")
def test_no_key_crosses_the_wire_in_plain(bench: ServiceBench, policy: bytes) -> None:
    """What the operator records holds no key, command, environment or lease secret."""
    wire: list[bytes] = []

    def record(path: str, request: bytes, answer: bytes) -> bytes:
        wire.extend((request, answer))
        return answer

    bench.tap = record
    bundle = ask(bench, policy).bundle
    seen = b"".join(wire)
    for secret in (DATA_KEY, bundle.volumes["/data"].lease.secret, b"serve.py"):
        assert secret not in seen


@pytest.mark.timeout(30)
def test_a_small_request_never_stands_for_a_large_one(bench: ServiceBench, policy: bytes) -> None:
    """Whatever path it is sent to: a request whose parts refer to one another is refused at once.

    Written out, these 700 bytes were a tree of 16**13 leaves, and the service walked it.
    """
    shared, reference = b"\xd8\x1c", b"\xd8\x1d"
    levels = [shared + b"\x90" + b"\x00" * 16]
    levels += [shared + b"\x90" + (reference + bytes([n])) * 16 for n in range(12)]
    request = bytes([0x80 | len(levels)]) + b"".join(levels)
    assert len(request) < 700
    for path in bench.service._routes:
        answer = bench.service.handle(path, request, bench.clock())
        refused = SignedReply.from_bytes(answer.body).open(
            path=path, request=request, service=bench.domain.identity
        )
        assert isinstance(refused, Failure)
        assert refused.code in {"wire.malformed", "wire.too-large"}
    assert ask(bench, policy).entry.granted
