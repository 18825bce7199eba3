"""The operator owns the wire and the machines; a member is who the service says, and nobody else.

Expelled members that come back, old rosters, borrowed secrets and names, stale nonces, replicas
that race for the last place, and answers that are lost after the commit.
"""

import dataclasses
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.attestation.ear import verify_ear
from cloister.crypto.digest import digest_to_text
from cloister.crypto.jose import KeySet
from cloister.crypto.x509 import read_peer_certificate
from cloister.errors import CloisterError, EvidenceError, IdentityError, UnavailableError
from cloister.keyservice.bundle import Bundle
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.member_client import fetch_token_keys
from cloister.keyservice.member_messages import MEMBER_PATH, MemberRequest, SealedMemberRequest
from cloister.keyservice.messages import RELEASE_PATH, Failure, Reply, SignedReply
from cloister.keyservice.roster import Expected
from cloister.keyservice.service import KeyService
from cloister.keyservice.store import Store
from cloister.testing.keyservice import MEASUREMENT, ServiceBench, policy_text
from cloister.testing.state import MemoryBackend, MemoryFreshness

LIFETIME = "certificate_lifetime: 600"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServiceBench]:
    """A domain with two volumes."""
    bench = ServiceBench.create(tmp_path)
    bench.register_volumes()
    yield bench
    bench.close()


@pytest.fixture
def policy(bench: ServiceBench) -> bytes:
    """A policy with two places for each role."""
    text = policy_text(bench, lifetime=LIFETIME, instances="instances: {maximum: 2}")
    return bench.apply(text)


def ask(
    bench: ServiceBench,
    policy: bytes,
    instance: str = "run-1",
    *,
    client: ReleaseClient | None = None,
) -> Bundle:
    """Attest as one instance of `serve`."""
    return (
        (client or bench.release_client())
        .release(
            policy=policy,
            workload="serve",
            instance=instance,
            measurement=MEASUREMENT,
            attester=bench.attester(),
        )
        .bundle
    )


def refused(bench: ServiceBench, policy: bytes, instance: str, client: ReleaseClient | None) -> str:
    """Attest, expecting a refusal."""
    with pytest.raises(CloisterError) as e:
        ask(bench, policy, instance, client=client)
    return e.value.code


def expected(bench: ServiceBench, *, epoch: int) -> Expected:
    """What somebody knows who only pinned the service."""
    return Expected(
        service=bench.domain.identity,
        domain="example.test",
        namespace="lab",
        name="digits",
        of="",
        epoch=epoch,
        at=bench.clock.at,
        max_age_s=300,
    )


def send(bench: ServiceBench, body: bytes) -> Reply | Failure:
    """Post a member request as the attacker."""
    data = bench.service.handle(MEMBER_PATH, body, bench.clock()).body
    return SignedReply.from_bytes(data).open(
        path=MEMBER_PATH, request=body, service=bench.domain.identity
    )


def code(answer: Reply | Failure) -> str:
    """The code of a refusal."""
    assert isinstance(answer, Failure)
    return answer.code


@pytest.mark.spec("MEM-10")
def test_an_expelled_member_attests_again(bench: ServiceBench, policy: bytes) -> None:
    """Under its own name or another, after its certificate has ended, after a restart."""
    client = bench.release_client()
    bundle = ask(bench, policy, client=client)
    bench.owner().expel("lab", "digits", role="serve", instance="run-1")
    assert refused(bench, policy, "run-1", client) == "release.expelled"
    assert refused(bench, policy, "run-2", client) == "release.expelled"
    bench.clock.move(1000)
    bench.restart()
    assert refused(bench, policy, "run-1", client) == "release.expelled"
    with pytest.raises(CloisterError) as e:
        bench.member(bundle).roster()
    assert e.value.code == "release.not-member"


@pytest.mark.spec("MEM-22")
def test_an_expelled_members_secret_answers_nothing(bench: ServiceBench, policy: bytes) -> None:
    """Neither the roster nor leaving; and no lapse brings it back."""
    member = bench.member(ask(bench, policy))
    bench.owner().expel("lab", "digits", role="serve", instance="run-1")
    epoch = bench.owner().job_status("lab", "digits").epoch
    with pytest.raises(CloisterError) as e:
        member.roster()
    assert e.value.code == "release.not-member"
    member.leave()  # told that it is over, whoever ended it
    assert bench.owner().job_status("lab", "digits").epoch == epoch


@pytest.mark.spec("MEM-37")
def test_a_roster_from_before_an_expulsion_is_shown_again(
    bench: ServiceBench, policy: bytes
) -> None:
    """Whoever has seen the newer epoch refuses the older roster, though it is genuine and fresh."""
    ask(bench, policy, "run-1")
    ask(bench, policy, "run-2")
    old = bench.owner().members("lab", "digits")
    bench.owner().expel("lab", "digits", role="serve", instance="run-1")
    newest = bench.owner().members("lab", "digits").verify(expected(bench, epoch=0))
    assert [each.instance for each in newest.members] == ["run-2"]
    with pytest.raises(EvidenceError) as e:
        old.verify(expected(bench, epoch=newest.epoch))
    assert e.value.code == "roster.stale"


@pytest.mark.spec("MEM-38")
def test_an_old_roster_is_shown_to_somebody_who_saw_none(
    bench: ServiceBench, policy: bytes
) -> None:
    """Its time bounds what it is good for."""
    ask(bench, policy)
    old = bench.owner().members("lab", "digits")
    bench.clock.move(301)
    with pytest.raises(EvidenceError) as e:
        old.verify(expected(bench, epoch=0))
    assert e.value.code == "roster.stale"


@pytest.mark.spec("MEM-35")
def test_a_roster_of_another_service_is_shown(
    bench: ServiceBench, policy: bytes, tmp_path: Path
) -> None:
    """A genuine service of another domain with a job of the same name."""
    other = ServiceBench.create(tmp_path, "other.test")
    other.register_volumes()
    other.apply(policy_text(other))
    roster = other.owner().members("lab", "digits")
    with pytest.raises(IdentityError) as e:
        roster.verify(expected(bench, epoch=0))
    assert e.value.code == "identity.keyservice"
    other.close()


@pytest.mark.spec("MEM-22", "MEM-24")
def test_a_member_asks_with_another_members_secret(bench: ServiceBench, policy: bytes) -> None:
    """In its own name with the other's secret, and in the other's name with its own."""
    mine, yours = ask(bench, policy, "run-1"), ask(bench, policy, "run-2")
    assert mine.member is not None
    assert yours.member is not None
    for bundle in (
        dataclasses.replace(mine, member=yours.member),
        dataclasses.replace(yours, member=mine.member),
    ):
        with pytest.raises(CloisterError) as e:
            bench.member(bundle).roster()
        assert e.value.code == "release.not-member"
        bench.member(bundle).leave()
    assert bench.owner().job_status("lab", "digits").roles["serve"] == (2, 2)


@pytest.mark.spec("MEM-22")
def test_a_lapsed_member_asks(bench: ServiceBench, policy: bytes) -> None:
    """Its certificate has ended for its peers, and its membership for the service."""
    bundle = ask(bench, policy)
    member = bench.member(bundle)
    bench.clock.move(600)
    with pytest.raises(CloisterError) as e:
        member.roster()
    assert e.value.code == "release.not-member"
    leaf = ssl.PEM_cert_to_DER_cert(bundle.certificate.decode())
    with pytest.raises(IdentityError) as late:
        read_peer_certificate(leaf, ca_pem=bundle.ca, at=bench.clock.at + 1)
    assert late.value.code == "identity.clock"


@pytest.mark.spec("MEM-11")
def test_a_second_machine_uses_a_live_members_name(bench: ServiceBench, policy: bytes) -> None:
    """Its evidence is good, its key another: it waits until the name is free."""
    first = bench.member(ask(bench, policy, "run-1"))
    assert refused(bench, policy, "run-1", None) == "release.instance-taken"
    assert len(first.roster().members) == 1
    bench.clock.move(600)
    second = bench.member(ask(bench, policy, "run-1"))
    assert second.epoch == 3
    with pytest.raises(CloisterError) as e:
        first.roster()
    assert e.value.code == "release.not-member"


@pytest.mark.spec("MEM-21")
def test_a_recorded_leave_is_sent_again(bench: ServiceBench, policy: bytes) -> None:
    """The member has come back with the same key, so its secret is the same; the nonce is spent."""
    client = bench.release_client()
    bench.member(ask(bench, policy, client=client)).leave()
    recorded = next(body for path, body in reversed(bench.requests) if path == MEMBER_PATH)
    member = bench.member(ask(bench, policy, client=client))
    assert code(send(bench, recorded)) == "evidence.replayed"
    bench.clock.move(130)
    bench.restart()
    assert code(send(bench, recorded)) == "evidence.replayed"  # for as long as it is remembered
    assert len(member.roster().members) == 1


@pytest.mark.spec("MEM-20", "MEM-22")
def test_a_request_is_turned_into_another(bench: ServiceBench, policy: bytes) -> None:
    """The code covers every field."""
    bench.member(ask(bench, policy)).roster()
    recorded = next(body for path, body in reversed(bench.requests) if path == MEMBER_PATH)
    sealed = SealedMemberRequest.from_bytes(recorded)
    request = MemberRequest.from_bytes(sealed.body)
    changes: list[dict[str, object]] = [
        {"nonce": b"x" * 32},
        {"of": "serve"},
        {"instance": "run-2"},
        {"role": "train"},
    ]
    for change in changes:
        body = dataclasses.replace(request, **change).to_bytes()
        assert code(send(bench, SealedMemberRequest(body, sealed.mac).to_bytes())) == (
            "release.not-member"
        )


@pytest.mark.spec("MEM-21")
def test_a_request_for_another_service_is_refused(bench: ServiceBench, policy: bytes) -> None:
    """Diverted here by whoever owns the network."""
    bench.member(ask(bench, policy)).roster()
    recorded = next(body for path, body in reversed(bench.requests) if path == MEMBER_PATH)
    sealed = SealedMemberRequest.from_bytes(recorded)
    request = dataclasses.replace(MemberRequest.from_bytes(sealed.body), service=b"x" * 32)
    body = SealedMemberRequest(request.to_bytes(), sealed.mac).to_bytes()
    assert code(send(bench, body)) == "evidence.binding"


def test_no_secret_crosses_the_wire(bench: ServiceBench, policy: bytes) -> None:
    """Not in a release, a roster or a leave."""
    wire: list[bytes] = []

    def record(path: str, request: bytes, answer: bytes) -> bytes:
        del path
        wire.extend((request, answer))
        return answer

    bench.tap = record
    bundle = ask(bench, policy)
    member = bench.member(bundle)
    member.roster()
    member.leave()
    assert bundle.member is not None
    assert bundle.member.secret not in b"".join(wire)


@pytest.mark.spec("MEM-3", "MEM-12")
@pytest.mark.parametrize("restart", [False, True])
def test_an_answer_is_lost_after_the_commit(
    bench: ServiceBench, policy: bytes, *, restart: bool
) -> None:
    """The member is in, knows nothing of it, asks again, and takes no second place."""

    def lose(path: str, request: bytes, answer: bytes) -> bytes:
        if path != RELEASE_PATH:
            return answer
        if restart:
            bench.restart()
        raise UnavailableError("lost", code="keyservice.unreachable")

    client = bench.release_client()
    ask(bench, policy, "run-0")
    bench.tap = lose
    assert refused(bench, policy, "run-1", client) == "keyservice.unreachable"
    bench.tap = None
    member = bench.member(ask(bench, policy, "run-1", client=client))
    assert member.epoch == 2
    assert [each.instance for each in member.roster().members] == ["run-0", "run-1"]
    assert refused(bench, policy, "run-2", None) == "release.too-many"


@dataclasses.dataclass
class Replica:
    """One of several services over one database, as a transport."""

    bench: ServiceBench
    service: KeyService

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """Answer."""
        del timeout_s
        return self.service.handle(path, body, self.bench.clock()).body


@pytest.mark.spec("MEM-12")
def test_two_replicas_give_the_last_place_once(bench: ServiceBench, policy: bytes) -> None:
    """Both decide on the same state; the slower one decides again, and refuses."""
    backend, freshness = MemoryBackend(), MemoryFreshness()
    Store.found(backend, bench.platform, freshness, bench.store.secrets())
    stores = [Store.load(backend, bench.platform, freshness) for _ in range(2)]
    for change in ("policies", "current", "volumes"):
        with stores[0].transaction():
            for key, value in bench.store.tables.rows(change):
                stores[0].tables.put(change, key, value)
    stores[1].refresh()
    replicas = [
        Replica(
            bench,
            KeyService(store, moment=bench.clock(), attester=bench.attester(), witnesses=None),
        )
        for store in stores
    ]

    def release(replica: Replica, instance: str) -> Bundle:
        client = ReleaseClient(replica, bench.pinned, clock=bench.clock, deadline_s=0.0)
        return ask(bench, policy, instance, client=client)

    release(replicas[0], "run-1")
    raced: list[str] = []

    def race() -> None:
        backend.before_append = None
        raced.append(release(replicas[0], "run-2").instance)

    backend.before_append = race
    with pytest.raises(CloisterError) as e:
        release(replicas[1], "run-3")
    assert raced == ["run-2"]
    assert e.value.code == "release.too-many"


@pytest.mark.spec("MEM-6")
def test_a_member_of_the_replaced_policy_renews(bench: ServiceBench, policy: bytes) -> None:
    """It is out at once, for its own operations and for a release under the old version."""
    client = bench.release_client()
    member = bench.member(ask(bench, policy, client=client))
    bench.apply(policy_text(bench, predecessor=digest_to_text(policy), svn="0"))
    assert refused(bench, policy, "run-1", client) == "release.policy-changed"
    with pytest.raises(CloisterError) as e:
        member.roster()
    assert e.value.code == "release.not-member"
    assert bench.owner().members("lab", "digits").verify(expected(bench, epoch=0)).members == ()


@pytest.mark.spec("MEM-22")
def test_an_expelled_member_asks_for_a_token(bench: ServiceBench, policy: bytes) -> None:
    """Nobody vouches for it any more."""
    member = bench.member(ask(bench, policy))
    bench.owner().expel("lab", "digits", role="serve", instance="run-1")
    with pytest.raises(CloisterError) as e:
        member.token(audience="rp", nonce=b"n" * 16)
    assert e.value.code == "release.not-member"


@pytest.mark.spec("MEM-54")
def test_a_token_of_another_service_is_shown(
    bench: ServiceBench, policy: bytes, tmp_path: Path
) -> None:
    """A genuine service of the attacker's own, with a job of the same name."""
    other = ServiceBench.create(tmp_path, "other.test")
    other.register_volumes()
    theirs = other.apply(policy_text(other))
    token = other.member(ask(other, theirs)).token(audience="rp", nonce=b"n" * 16)
    jwks = fetch_token_keys(bench, bench.pinned, clock=bench.clock, deadline_s=0.0)
    with pytest.raises(CloisterError) as e:
        verify_ear(
            token,
            jwks=KeySet.from_bytes(jwks),
            audience="rp",
            nonce=b"n" * 16,
            at=bench.clock.at,
            accept_simulated=True,
            at_least="warning",
        )
    assert e.value.code == "token.key-unknown"
    with pytest.raises(IdentityError) as diverted:
        fetch_token_keys(other, bench.pinned, clock=bench.clock, deadline_s=0.0)
    assert diverted.value.code == "identity.keyservice"
    other.close()


@pytest.mark.spec("MEM-22", "MEM-25")
def test_only_live_members_of_a_job_are_told_of_its_refusals(
    bench: ServiceBench, policy: bytes
) -> None:
    """Not one that was expelled, not one of another job, and nobody with a recorded request."""
    member = bench.member(ask(bench, policy, "run-1"))
    assert member.refusals(0) == ()
    with pytest.raises(CloisterError) as e:
        bench.release_client().release(
            policy=policy,
            workload="serve",
            instance="run-2",
            measurement=dataclasses.replace(MEASUREMENT, runtime=b"!" * 32),
            attester=bench.attester(),
        )
    assert e.value.code == "appraisal.runtime"
    assert [each.code for each in member.refusals(0)] == ["appraisal.runtime"]
    recorded = next(body for path, body in reversed(bench.requests) if path == MEMBER_PATH)
    sealed = SealedMemberRequest.from_bytes(recorded)
    request = MemberRequest.from_bytes(sealed.body)
    changes: list[dict[str, object]] = [{"since": 1}, {"instance": "run-2"}, {"nonce": b"x" * 32}]
    for change in changes:
        body = dataclasses.replace(request, **change).to_bytes()
        assert code(send(bench, SealedMemberRequest(body, sealed.mac).to_bytes())) == (
            "release.not-member"
        )
    other = ask(bench, bench.apply(policy_text(bench, name="letters")), "run-1")
    assert other.member is not None
    assert bench.member(other).refusals(0) == ()
    stranger = dataclasses.replace(other, member=dataclasses.replace(other.member, name="digits"))
    bench.owner().expel("lab", "digits", role="serve", instance="run-1")
    for asker in (bench.member(stranger), member):
        with pytest.raises(CloisterError) as e:
            asker.refusals(0)
        assert e.value.code == "release.not-member"
    assert code(send(bench, recorded)) == "release.not-member"
