"""Members' operations through the whole service, and what a release makes of its requester."""

import dataclasses
import ssl

import pytest

from cloister.attestation.ear import verify_ear
from cloister.crypto.digest import digest_to_text, sha256
from cloister.crypto.jose import KeySet
from cloister.crypto.signature import SigningKey
from cloister.crypto.x509 import read_peer_certificate
from cloister.errors import CloisterError, StorageFullError, UnavailableError
from cloister.keyservice.budgets import Budgets
from cloister.keyservice.client import Release, ReleaseClient
from cloister.keyservice.jobs import Jobs
from cloister.keyservice.log import LogEntry
from cloister.keyservice.member_client import fetch_token_keys
from cloister.keyservice.member_records import Member
from cloister.keyservice.member_service import MemberService
from cloister.keyservice.messages import RELEASE_PATH, ReleaseRequest
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.refusals import Refusals
from cloister.keyservice.roster import Roster
from cloister.testing.keyservice import DATA_ID, MEASUREMENT, ServiceBench, policy_text


def ask(
    bench: ServiceBench,
    policy: bytes,
    instance: str = "run-1",
    *,
    workload: str = "serve",
    client: ReleaseClient | None = None,
) -> Release:
    """Release to a reader, which needs no lease."""
    return (client or bench.release_client()).release(
        policy=policy,
        workload=workload,
        instance=instance,
        measurement=MEASUREMENT,
        attester=bench.attester(),
    )


def refused(bench: ServiceBench, policy: bytes, instance: str = "run-1", **changes: object) -> str:
    """Release, expecting a refusal."""
    with pytest.raises(CloisterError) as e:
        ask(bench, policy, instance, **changes)
    return e.value.code


@pytest.mark.spec("MEM-2", "MEM-9", "MEM-16", "MEM-23")
def test_a_release_makes_a_member(bench: ServiceBench, policy: bytes) -> None:
    """With the facts of its request, as long as its certificate lasts."""
    bundle = ask(bench, policy).bundle
    assert bundle.member is not None
    assert (bundle.member.namespace, bundle.member.name) == ("lab", "digits")
    assert (bundle.member.domain, bundle.member.epoch) == ("example.test", 1)
    request = ReleaseRequest.from_bytes(
        next(body for path, body in reversed(bench.requests) if path == RELEASE_PATH)
    )
    roster = bench.member(bundle).roster()
    assert (roster.policy, roster.epoch, roster.at) == (policy, 1, bench.clock.at)
    (found,) = roster.members
    assert (found.role, found.instance, found.identity) == ("serve", "run-1", bundle.identity)
    assert found.evidence == sha256(request.evidence.to_bytes())
    assert found.key_digest == sha256(request.hpke_key)
    assert (found.since, found.renewed) == (bench.clock.at, bench.clock.at)
    assert found.expires == bundle.member.expires == bench.clock.at + 86400


@pytest.mark.spec("CERT-5", "MEM-9", "POL-18")
def test_the_policy_decides_how_long_certificates_last(bench: ServiceBench) -> None:
    """And the membership ends with the certificate."""
    policy = bench.apply(policy_text(bench, lifetime="certificate_lifetime: 600"))
    bundle = ask(bench, policy).bundle
    assert bundle.member is not None
    assert bundle.member.expires == bench.clock.at + 600
    leaf = ssl.PEM_cert_to_DER_cert(bundle.certificate.decode())
    peer = read_peer_certificate(leaf, ca_pem=bundle.ca, at=bench.clock.at)
    assert (peer.not_before, peer.not_after) == (bench.clock.at - 300, bench.clock.at + 600)


@pytest.mark.spec("MEM-3")
def test_a_fresh_attestation_with_the_same_key_renews(bench: ServiceBench, policy: bytes) -> None:
    """The epoch stays, the secret too, and the certificate is new."""
    client = bench.release_client()
    first = ask(bench, policy, client=client).bundle
    bench.clock.move(1000)
    second = ask(bench, policy, client=client).bundle
    assert first.member is not None
    assert second.member is not None
    assert (second.member.epoch, second.member.secret) == (1, first.member.secret)
    assert second.certificate != first.certificate
    (found,) = bench.member(second).roster().members
    assert (found.since, found.renewed) == (bench.clock.at - 1000, bench.clock.at)
    assert found.expires == bench.clock.at + 86400


@pytest.mark.spec("MEM-4", "MEM-21", "MEM-23")
def test_a_member_leaves_and_frees_its_name(bench: ServiceBench, policy: bytes) -> None:
    """Leaving twice is leaving once."""
    client = bench.member(ask(bench, policy).bundle)
    client.leave()
    assert client.epoch == 2
    client.leave()
    other = bench.member(ask(bench, policy).bundle)
    assert other.epoch == 3


@pytest.mark.spec("MEM-12")
def test_a_place_is_freed_by_leaving_lapsing_and_expelling(bench: ServiceBench) -> None:
    """Two places; the third comes when one is free, with nobody at a keyboard."""
    policy = bench.apply(
        policy_text(
            bench, lifetime="certificate_lifetime: 600", instances="instances: {maximum: 2}"
        )
    )
    first = bench.member(ask(bench, policy, "run-1").bundle)
    ask(bench, policy, "run-2")
    assert refused(bench, policy, "run-3") == "release.too-many"
    first.leave()
    ask(bench, policy, "run-3")
    assert refused(bench, policy, "run-4") == "release.too-many"
    bench.owner().expel("lab", "digits", role="serve", instance="run-2")
    ask(bench, policy, "run-4")
    bench.clock.move(600)
    ask(bench, policy, "run-5")
    ask(bench, policy, "run-6")
    assert refused(bench, policy, "run-7") == "release.too-many"


def test_refused_admissions_are_logged(bench: ServiceBench) -> None:
    """Like every refusal of a release."""
    policy = bench.apply(policy_text(bench, instances="instances: {maximum: 1}"))
    ask(bench, policy)
    assert refused(bench, policy) == "release.instance-taken"
    assert refused(bench, policy, "run-2") == "release.too-many"
    entries, _ = bench.owner().read_log(first=0, count=100, old=None)
    codes = [entry.code for entry in entries if entry.operation == "release"]
    assert codes == ["", "release.instance-taken", "release.too-many"]


@pytest.mark.spec("MEM-32")
def test_a_roster_of_one_role_shows_that_role(bench: ServiceBench, policy: bytes) -> None:
    """And all, where none is named."""
    client = bench.member(ask(bench, policy).bundle)
    ask(bench, policy, "run-2", workload="train")
    assert [each.role for each in client.roster().members] == ["serve", "train"]
    assert [each.role for each in client.roster("train").members] == ["train"]
    assert client.roster("nobody").members == ()


@pytest.mark.spec("MEM-6", "MEM-22")
def test_a_replaced_policy_ends_its_members_at_once(bench: ServiceBench, policy: bytes) -> None:
    """Their secrets answer no more, they cannot renew, and the new version admits them anew."""
    asker = bench.release_client()
    client = bench.member(ask(bench, policy, client=asker).bundle)
    newer = bench.apply(policy_text(bench, predecessor=digest_to_text(policy), svn="0"))
    with pytest.raises(CloisterError) as e:
        client.roster()
    assert e.value.code == "release.not-member"
    assert bench.owner().job_status("lab", "digits").roles["serve"] == (0, None)
    assert refused(bench, policy, client=asker) == "release.policy-changed"
    again = bench.member(ask(bench, newer, client=asker).bundle)
    assert [each.policy for each in again.roster().members] == [newer]


@pytest.mark.spec("MEM-15")
def test_expelling_ends_the_keys_leases(bench: ServiceBench, policy: bytes) -> None:
    """An expelled writer is fenced, and the next one need not wait."""
    bundle = ask(bench, policy, workload="train").bundle
    anchor = bench.anchor(DATA_ID, bundle.volumes["/data"].lease)
    anchor.renew()
    bench.owner().expel("lab", "digits", role="train", instance="run-1")
    with pytest.raises(CloisterError) as e:
        anchor.renew()
    assert e.value.code == "release.fenced"
    ask(bench, policy, "run-2", workload="train")


def test_an_unknown_job_answers_like_any_stranger(bench: ServiceBench, policy: bytes) -> None:
    """The service does not say which jobs it has."""
    bundle = ask(bench, policy).bundle
    assert bundle.member is not None
    elsewhere = dataclasses.replace(bundle.member, name="letters")
    with pytest.raises(CloisterError) as e:
        bench.member(dataclasses.replace(bundle, member=elsewhere)).roster()
    assert e.value.code == "release.not-member"


def test_a_service_that_is_down_is_unavailable(bench: ServiceBench, policy: bytes) -> None:
    """A member may ask again."""
    client = bench.member(ask(bench, policy).bundle)
    bench.down = True
    with pytest.raises(UnavailableError):
        client.roster()


@pytest.mark.spec("MEM-52", "MEM-53", "MEM-54")
def test_a_member_gets_a_token_that_a_relying_party_can_judge(
    bench: ServiceBench, policy: bytes
) -> None:
    """For its audience and nonce, under the key that the pinned service publishes."""
    bundle = ask(bench, policy).bundle
    token = bench.member(bundle).token(audience="https://rp.example", nonce=b"n" * 16)
    jwks = fetch_token_keys(bench, bench.pinned, clock=bench.clock, deadline_s=0.0)
    ear = verify_ear(
        token,
        jwks=KeySet.from_bytes(jwks),
        audience="https://rp.example",
        nonce=b"n" * 16,
        at=bench.clock.at,
        accept_simulated=True,
        at_least="warning",
    )
    assert (ear.issuer, ear.status) == ("example.test/cloister-keyservice", "warning")
    assert not ear.hardware_rooted
    assert ear.expires_at == bench.clock.at + 300
    (appraisal,) = ear.appraisals
    assert (appraisal.label, appraisal.policies) == ("serve", (digest_to_text(policy),))
    entries, _ = bench.owner().read_log(first=0, count=100, old=None)
    assert isinstance(entries[-1], LogEntry)
    assert (entries[-1].operation, entries[-1].instance) == ("member.token", "run-1")
    bench.restart()
    again = fetch_token_keys(bench, bench.pinned, clock=bench.clock, deadline_s=0.0)
    assert again == jwks
    assert bench.domain.identity.raw not in jwks


@pytest.mark.spec("MEM-52")
def test_a_token_does_not_outlive_the_membership(bench: ServiceBench) -> None:
    """Its time ends with the certificate's."""
    policy = bench.apply(policy_text(bench, lifetime="certificate_lifetime: 600"))
    member = bench.member(ask(bench, policy).bundle)
    bench.clock.move(590)
    token = member.token(audience="rp", nonce=b"n" * 16)
    jwks = fetch_token_keys(bench, bench.pinned, clock=bench.clock, deadline_s=0.0)
    with pytest.raises(CloisterError) as e:
        verify_ear(
            token,
            jwks=KeySet.from_bytes(jwks),
            audience="rp",
            nonce=b"n" * 16,
            at=bench.clock.at + 10,
            accept_simulated=True,
            at_least="warning",
        )
    assert e.value.code == "token.expired"


@pytest.mark.spec("MEM-51")
def test_a_token_tells_the_members_own_result_only(bench: ServiceBench, policy: bytes) -> None:
    """Another workload's result, or a changed one, is refused."""
    bundle = ask(bench, policy).bundle
    other = ask(bench, policy, "run-2", workload="train").bundle
    for result in (other.result, bundle.result + b"x", b""):
        member = bench.member(dataclasses.replace(bundle, result=result))
        with pytest.raises(CloisterError) as e:
            member.token(audience="rp", nonce=b"n" * 16)
        assert e.value.code == "evidence.binding"


def test_a_token_that_cannot_be_read_is_not_made(bench: ServiceBench, policy: bytes) -> None:
    """The reply is read strictly; so are the keys."""
    member = bench.member(ask(bench, policy).bundle)

    def flip(path: str, request: bytes, answer: bytes) -> bytes:
        del path, request
        return answer[:-1] + bytes([answer[-1] ^ 1])

    bench.tap = flip
    for attempt in (
        lambda: member.token(audience="rp", nonce=b"n" * 16),
        lambda: fetch_token_keys(bench, bench.pinned, clock=bench.clock, deadline_s=0.0),
    ):
        with pytest.raises(CloisterError) as e:
            attempt()
        assert e.value.code == "identity.keyservice"


@pytest.mark.spec("MEM-23", "MEM-31")
def test_a_roster_is_signed_once_in_a_second_for_all_who_ask(
    bench: ServiceBench, policy: bytes
) -> None:
    """For the very members that there are: a renewal in that second is seen by who asks next."""
    client = bench.release_client()
    first = bench.member(ask(bench, policy, client=client).bundle)
    second = bench.member(ask(bench, policy, "run-2").bundle)
    _, signed = first.signed_roster()
    assert second.signed_roster()[1] == signed
    assert second.signed_roster("serve")[1] != signed
    ask(bench, policy, client=client)
    renewed, again = second.signed_roster()
    assert again != signed
    assert renewed.epoch == first.roster().epoch
    bench.clock.move(1)
    later, _ = second.signed_roster()
    assert (later.at, later.members) == (renewed.at + 1, renewed.members)


def test_a_roster_of_members_that_never_came_to_be_is_not_given_again(bench: ServiceBench) -> None:
    """Of two who join in one second at one epoch, the one whose transaction failed is not shown."""
    policy = PolicyRecord(b"p" * 32, b"", "lab", "digits", current=True, at=0)
    jobs = Jobs(bench.store)
    service = MemberService(
        store=bench.store,
        jobs=jobs,
        refusals=Refusals(bench.store),
        budgets=Budgets(bench.store, jobs),
        key=SigningKey.generate(),
        secret=b"s" * 32,
        trust_domain="example.test",
    )

    def shown(instance: str, *, fails: bool) -> list[str]:
        uri = f"spiffe://example.test/lab/digits/train/{instance}"
        member = Member("train", instance, uri, policy.hash, *[b"d" * 32] * 3, 10, 10, 100)
        with bench.store.transaction():
            job = jobs.admit(policy, member, index=None, maximum=None, at=10).job
            assert job.epoch == 1
            roster = Roster.from_bytes(service.roster(job, of="", at=10).body)
            if fails:
                raise StorageFullError("full", code="storage.full")
        return [each.instance for each in roster.members]

    with pytest.raises(StorageFullError):
        shown("a", fails=True)
    assert shown("b", fails=False) == ["b"]
