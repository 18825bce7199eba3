"""The operator's attacks on the exchange of keys, against a real service process over HTTP.

Each is refused in a signed reply by its own code, what comes back holds no bundle and no secret in
any spelling, and the log has what it should. `README.md` in this folder lists what is attacked.
"""

from __future__ import annotations

import dataclasses
import itertools
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from attack.served import Served
from attack.spellings import found_in
from cloister.attestation.evidence import Attester, Evidence
from cloister.crypto.digest import digest_to_text
from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.signature import SigningKey
from cloister.crypto.x509 import Identity, TLSKey
from cloister.errors import CloisterError, IdentityError
from cloister.keyservice.bundle import Bundle
from cloister.keyservice.messages import (
    CHALLENGE_PATH,
    RELEASE_PATH,
    ChallengeRequest,
    ReleaseRequest,
    Reply,
    bundle_info,
)
from cloister.keyservice.renewal import RENEWAL_PATH
from cloister.keyservice.view.operations import OPERATIONS
from cloister.keyservice.view.token import ViewToken
from cloister.network.tls import AnyClient, Credential, client_context, server_context
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.keyservice import DATA_KEY, MEASUREMENT, policy_text
from unit.network.test_tls import shake

LIFETIME_S = 600
_RUNS = itertools.count(1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of this file: an attack that succeeds nowhere disturbs nobody."""
    served = Served.create(tmp_path_factory.mktemp("served"))
    served.register_volumes()
    yield served
    served.close()
    served.require_nothing_on_the_wire()


@pytest.fixture(scope="module")
def policy(served: Served) -> bytes:
    """The applied policy's hash."""
    return served.apply(policy_text(served, lifetime=f"certificate_lifetime: {LIFETIME_S}"))


@pytest.fixture(scope="module")
def strict(served: Served) -> bytes:
    """A policy that asks for a newer platform than there is."""
    return served.apply(policy_text(served, name="strict", svn="2"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Another genuine key service of the same operator, with another policy."""
    other = Served.create(tmp_path_factory.mktemp("other"), "other.test")
    other.register_volumes()
    other.apply(policy_text(other, name="letters"))
    yield other
    other.close()


class Requester:
    """A genuine environment: keys of its own, and evidence about itself."""

    def __init__(self, served: Served, attester: Attester | None = None) -> None:
        """Make fresh keys."""
        self.served = served
        self.attester = served.attester() if attester is None else attester
        self.instance = f"run-{next(_RUNS)}"
        self.hpke = HPKEPrivateKey.generate()
        self.csr = TLSKey.generate().request()

    def request(self, policy: bytes, nonce: bytes, **changes: object) -> ReleaseRequest:
        """Ask for what a policy grants `serve`; evidence binds all of it, changes too."""
        parts: dict[str, object] = {
            "service": self.served.domain.identity.raw,
            "nonce": nonce,
            "policy": policy,
            "workload": "serve",
            "instance": self.instance,
            "hpke_key": self.hpke.public.raw,
            "certificate_request": self.csr,
            "measurement": MEASUREMENT,
        }
        blank = ReleaseRequest(**(parts | changes), evidence=Evidence("a/b", b""))
        evidence = self.attester.collect(blank.report_data())
        return dataclasses.replace(blank, evidence=evidence)


def attack(served: Served, request: ReleaseRequest, path: str = RELEASE_PATH) -> tuple[str, object]:
    """Post a request; returns the signed code and what the log gained."""
    codes: list[str] = []
    gained = served.logged(lambda: codes.append(served.refused(path, request.to_bytes())))
    return codes[0], gained


def refused_and_logged(code: str, operation: str = "release") -> tuple[str, object]:
    """What `attack` returns for a decision that the log keeps."""
    return code, [(operation, code)]


def test_the_same_request_without_an_attack_is_granted(served: Served, policy: bytes) -> None:
    """The control: what the attacks below change is what they are refused for."""
    requester = Requester(served)
    request = requester.request(policy, served.challenge())
    answer = served.send(RELEASE_PATH, request.to_bytes())
    assert isinstance(answer, Reply)
    info = bundle_info(
        service=served.domain.identity.raw, nonce=request.nonce, request=request.to_bytes()
    )
    wrong = IdentityError("not for us", code="identity.keyservice")
    bundle = Bundle.from_bytes(requester.hpke.open(answer.result, info=info, error=wrong))
    assert bundle.volumes["/data"].keys.newest == DATA_KEY
    assert found_in(bundle.to_bytes(), served.secrets) == ["data key", "code key"]
    assert found_in(served.exchanges[-1].answer, served.secrets) == []
    last = served.entries()[-1]
    assert (last.operation, last.granted, last.instance) == ("release", True, requester.instance)


# -- who asks


@pytest.mark.spec("KR-24")
def test_genuine_evidence_of_a_second_machine(
    served: Served, policy: bytes, tmp_path: Path
) -> None:
    """Same image, same version, healthy; but its anchor is not the policy's."""
    second = SimPlatform.create(tmp_path / "second", svn=1, debug=False)
    requester = Requester(served, SimAttester(second, image=served.attester().measurement))
    found = attack(served, requester.request(policy, served.challenge()))
    assert found == refused_and_logged("endorsement.anchor")


@pytest.mark.spec("KR-26")
def test_a_debug_platform(served: Served, policy: bytes, tmp_path: Path) -> None:
    """Signed by the very key that the policy names, and it says that it can be inspected."""
    platform = served.platform_like(tmp_path / "debug", debug=True)
    requester = Requester(served, SimAttester(platform, image=served.attester().measurement))
    found = attack(served, requester.request(policy, served.challenge()))
    assert found == refused_and_logged("appraisal.debug")


@pytest.mark.spec("KR-26")
def test_a_platform_that_is_out_of_date(served: Served, policy: bytes, tmp_path: Path) -> None:
    """Below the policy's minimum."""
    platform = served.platform_like(tmp_path / "old", svn=0)
    requester = Requester(served, SimAttester(platform, image=served.attester().measurement))
    found = attack(served, requester.request(policy, served.challenge()))
    assert found == refused_and_logged("appraisal.svn")


@pytest.mark.spec("KR-26")
def test_a_platform_that_a_newer_policy_calls_out_of_date(served: Served, strict: bytes) -> None:
    """What was good enough for one policy is not for another."""
    found = attack(served, Requester(served).request(strict, served.challenge()))
    assert found == refused_and_logged("appraisal.svn")


@pytest.mark.spec("KR-26")
def test_another_image(served: Served, policy: bytes) -> None:
    """A genuine platform runs something else."""
    requester = Requester(served, SimAttester(served.platform, image=b"x" * 32))
    found = attack(served, requester.request(policy, served.challenge()))
    assert found == refused_and_logged("appraisal.measurement")


# -- when


@pytest.mark.spec("KR-12")
def test_a_stale_nonce(served: Served, policy: bytes) -> None:
    """A request that was held back longer than its challenge lives."""
    request = Requester(served).request(policy, served.challenge())
    served.clock.move(61)
    assert attack(served, request) == ("evidence.expired", [])


@pytest.mark.spec("KR-12")
def test_a_nonce_that_the_service_never_gave_out(
    served: Served, policy: bytes, other: Served
) -> None:
    """Of the attacker's own, and another genuine service's."""
    for nonce in (b"n" * 32, other.challenge()):
        found = attack(served, Requester(served).request(policy, nonce))
        assert found == ("evidence.expired", [])


@pytest.mark.spec("KR-11")
def test_a_replay(served: Served, policy: bytes) -> None:
    """The recorded bytes of a granted request: at once, and after the process was killed."""
    request = Requester(served).request(policy, served.challenge())
    assert isinstance(served.send(RELEASE_PATH, request.to_bytes()), Reply)
    assert attack(served, request) == ("evidence.replayed", [])
    served.restart()
    assert attack(served, request) == ("evidence.replayed", [])


@pytest.mark.spec("KR-25")
def test_a_replay_of_evidence_under_a_fresh_nonce(served: Served, policy: bytes) -> None:
    """The nonce in the request is not the one in the evidence."""
    old = Requester(served).request(policy, served.challenge())
    found = attack(served, dataclasses.replace(old, nonce=served.challenge()))
    assert found == refused_and_logged("evidence.binding")


@pytest.mark.spec("MEM-61")
def test_a_nonce_for_another_purpose(served: Served, policy: bytes) -> None:
    """A challenge for a release is none for a renewal."""
    request = Requester(served).request(policy, served.challenge())
    assert attack(served, request, RENEWAL_PATH) == ("evidence.expired", [])


# -- between two


@pytest.mark.spec("KR-25")
@pytest.mark.parametrize("field", ["hpke_key", "certificate_request", "instance", "measurement"])
def test_a_relay_between_two_genuine_workloads(served: Served, policy: bytes, field: str) -> None:
    """One's evidence in the other's request: everything that the other has of his own is bound."""
    one, two = Requester(served), Requester(served)
    nonce = served.challenge()
    measured = dataclasses.replace(MEASUREMENT, code=b"y" * 32)
    theirs = two.request(policy, nonce, measurement=measured)
    relayed = dataclasses.replace(one.request(policy, nonce), **{field: getattr(theirs, field)})
    assert attack(served, relayed) == refused_and_logged("evidence.binding")


@pytest.mark.spec("KR-25", "KR-33")
def test_a_whole_relayed_request_gives_the_relay_nothing(served: Served, policy: bytes) -> None:
    """It is granted, to the key in the evidence; neither relay nor wire can read it."""
    honest, relay = Requester(served), Requester(served)
    body = honest.request(policy, served.challenge()).to_bytes()
    answer = served.send(RELEASE_PATH, body)
    assert isinstance(answer, Reply)
    nonce = ReleaseRequest.from_bytes(body).nonce
    info = bundle_info(service=served.domain.identity.raw, nonce=nonce, request=body)
    with pytest.raises(IdentityError):
        relay.hpke.open(
            answer.result, info=info, error=IdentityError("closed", code="identity.keyservice")
        )
    assert found_in(served.exchanges[-1].answer, served.secrets) == []


@pytest.mark.spec("KR-25")
def test_a_diversion_to_another_policy(served: Served, policy: bytes, strict: bytes) -> None:
    """Evidence for one policy, in a request for another of the same service."""
    request = Requester(served).request(strict, served.challenge())
    found = attack(served, dataclasses.replace(request, policy=policy))
    assert found == refused_and_logged("evidence.binding")


@pytest.mark.spec("KR-19")
def test_a_diversion_to_another_service(served: Served, policy: bytes, other: Served) -> None:
    """A second genuine service takes no request that was meant for the first, however renamed."""
    request = Requester(served).request(policy, other.challenge())
    assert attack(other, request) == ("evidence.binding", [])
    renamed = dataclasses.replace(request, service=other.domain.identity.raw)
    assert attack(other, renamed) == refused_and_logged("release.policy-unknown")
    theirs = other.owner().status().policies[0]["hash"]
    assert isinstance(theirs, bytes)
    retargeted = dataclasses.replace(
        Requester(served, other.attester()).request(theirs, other.challenge()),
        service=other.domain.identity.raw,
    )
    assert attack(other, retargeted) == refused_and_logged("evidence.binding")


@pytest.mark.spec("KR-4", "KR-2")
def test_a_client_that_is_diverted_to_another_service(
    served: Served, policy: bytes, other: Served
) -> None:
    """It believes no answer, and has told the wrong service nothing but a nonce."""
    before = len(other.requests)
    client = served.release_client()
    client._call = dataclasses.replace(client._call, transport=other)
    with pytest.raises(IdentityError) as e:
        client.release(
            policy=policy,
            workload="serve",
            instance="diverted",
            measurement=MEASUREMENT,
            attester=served.attester(),
        )
    assert e.value.code == "identity.keyservice"
    assert [path for path, _ in other.requests[before:]] == [CHALLENGE_PATH]


@pytest.mark.spec("KR-3")
def test_a_reflection(served: Served, policy: bytes) -> None:
    """A requester gets its own message back, or an answer to another; a service gets its answer."""
    kept: list[bytes] = []

    def own(path: str, request: bytes, answer: bytes) -> bytes:
        kept.append(answer)
        return request if path == RELEASE_PATH else answer

    def another(path: str, request: bytes, answer: bytes) -> bytes:
        return kept[1] if path == RELEASE_PATH else answer

    for tap in (own, another):
        served.tap = tap
        with pytest.raises(IdentityError) as e:
            served.release_client().release(
                policy=policy,
                workload="serve",
                instance="reflected",
                measurement=MEASUREMENT,
                attester=served.attester(),
            )
        assert e.value.code == "identity.keyservice"
    served.tap = None
    assert served.refused(RELEASE_PATH, kept[1]) == "message.malformed"
    assert served.refused(CHALLENGE_PATH, kept[0]) == "message.malformed"
    question = ChallengeRequest(b"q" * 32).to_bytes()
    assert served.refused(RELEASE_PATH, question) == "message.malformed"


# -- what is over


@pytest.mark.spec("MEM-62")
def test_a_member_whose_certificate_has_expired(served: Served, policy: bytes) -> None:
    """It is no member any more: no roster, no token, no renewal, not as itself."""
    client = served.release_client()
    facts = {"policy": policy, "workload": "serve", "instance": "late", "measurement": MEASUREMENT}
    member = served.member(client.release(**facts, attester=served.attester()).bundle)
    assert "late" in [each.instance for each in member.roster().members]
    served.clock.move(LIFETIME_S + 1)
    for ask in (member.roster, lambda: member.token(audience="a", nonce=b"n" * 16)):
        with pytest.raises(CloisterError) as e:
            ask()
        assert e.value.code == "release.not-member"
        served.require_nothing_released(served.exchanges[-1])
    with pytest.raises(CloisterError) as e:
        client.renew(**facts, attester=served.attester())
    assert e.value.code == "release.not-member"
    served.require_nothing_released(served.exchanges[-1])
    last = served.entries()[-1]
    assert (last.operation, last.code, last.instance) == ("renew", "release.not-member", "late")


@pytest.mark.spec("SRV-31")
def test_an_expired_certificate_in_tls(served: Served, policy: bytes) -> None:
    """The service issued it; a client of the workload does not take it once it is over."""
    before = served.clock.offset
    served.clock.set(-before - 2 * LIFETIME_S)
    client = served.release_client()
    release = client.release(
        policy=policy,
        workload="serve",
        instance="expired",
        measurement=MEASUREMENT,
        attester=served.attester(),
    )
    served.clock.set(before + 2 * LIFETIME_S)
    bundle, issued_at = release.bundle, release.entry.at
    context = server_context(
        Credential(bundle.certificate, release.tls_key),
        ca_pem=bundle.ca,
        clients=AnyClient("a test that asks for nobody"),
        clock=lambda: issued_at,
    )
    expecting = client_context(
        ca_pem=bundle.ca,
        expected=Identity("example.test", "lab", "digits", "serve", "*"),
        credential=None,
        clock=lambda: issued_at,
    )
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake(context, expecting)


# -- who looks


def tokens_that_do_not_hold(served: Served, other: Served) -> dict[str, str]:
    """View tokens that are wrong, each in one way."""
    good = served.view_token()
    over = ViewToken(served.domain.identity.raw, "view", served.clock.at)
    far = ViewToken(served.domain.identity.raw, "view", served.clock.at + 1000 * 3600)
    return {
        "none": "",
        "another owner's": served.view_token(signer=SigningKey.generate()),
        "for another service": other.view_token(signer=served.owner_key),
        "another service's": other.view_token(),
        "over": over.signed(served.owner_key),
        "for too long": far.signed(served.owner_key),
        "cut": good[:-1],
        "spelled in another way": good + "=",
    }


LOOKED_AT = [operation for operation in OPERATIONS if operation.scope is not None]


@pytest.mark.spec("KH-22", "KH-23", "KH-24")
@pytest.mark.parametrize("operation", LOOKED_AT, ids=lambda operation: operation.path)
def test_a_view_token_that_does_not_hold(
    served: Served, policy: bytes, other: Served, operation: object
) -> None:
    """Whoever has none that holds sees nothing, and is not told why."""
    path = operation.path.replace("{hash}", digest_to_text(policy))
    path += "?first=0&count=9" if path.endswith("entries") else ""
    assert served.get(path, served.view_token()).status == 200
    answers = set()
    for token in tokens_that_do_not_hold(served, other).values():
        found = served.get(path, token)
        served.require_nothing_released(found)
        assert found.status == 401
        assert b'"code": "identity.viewer"' in found.body
        answers.add(found.body)
    assert len(answers) == 1


@pytest.mark.spec("KH-24")
def test_a_view_token_that_has_expired(served: Served) -> None:
    """It held for its hour."""
    token = served.view_token()
    assert served.get("/v1/volumes", token).status == 200
    served.clock.move(3601)
    found = served.get("/v1/volumes", token)
    assert (found.status, b"identity.viewer" in found.body) == (401, True)


@pytest.mark.spec("KH-11", "KH-24")
def test_a_view_token_for_metrics_shows_nothing_else(served: Served) -> None:
    """The scope is the owner's, and signed."""
    token = served.view_token(scope="metrics")
    assert served.get("/metrics", token).status == 200
    for path in ("/v1/volumes", "/v1/policies", "/v1/log/entries?first=0&count=1"):
        found = served.get(path, token)
        served.require_nothing_released(found)
        assert (found.status, b"identity.scope" in found.body) == (403, True)


@pytest.mark.spec("KH-10", "KH-30")
def test_the_page_shows_nothing_to_who_has_no_token(served: Served, policy: bytes) -> None:
    """Its files are the same for everybody, whatever token comes along, and name nothing."""
    for path in ("/", "/page.js", "/proofs.js", "/page.css", "/openapi.json"):
        bare, with_token = served.get(path), served.get(path, served.view_token())
        assert (bare.status, bare.body) == (200, with_token.body)
        assert found_in(bare.body, served.secrets) == []
        assert policy.hex().encode() not in bare.body
        assert b"digits" not in bare.body
