"""Renewing a certificate by a fresh attestation, through the whole service."""

import dataclasses
import ssl

import pytest

from cloister.crypto.digest import digest_to_text
from cloister.crypto.x509 import read_peer_certificate
from cloister.errors import CloisterError, IdentityError
from cloister.keyservice import releasing
from cloister.keyservice.client import Release, ReleaseClient
from cloister.keyservice.log import LogEntry, Receipt
from cloister.keyservice.member_messages import MemberGrant
from cloister.keyservice.messages import RELEASE_PATH, Failure, Reply, SignedReply
from cloister.keyservice.renewal import (
    RENEWAL_CHALLENGE_PATH,
    RENEWAL_PATH,
    Renewal,
)
from cloister.testing.keyservice import DATA_ID, MEASUREMENT, ServiceBench, policy_text


def facts(bench: ServiceBench, policy: bytes) -> dict[str, object]:
    """Of one writer."""
    return {
        "policy": policy,
        "workload": "train",
        "instance": "run-1",
        "measurement": MEASUREMENT,
        "attester": bench.attester(),
    }


def join(bench: ServiceBench, policy: bytes, client: ReleaseClient) -> Release:
    """A release."""
    return client.release(**facts(bench, policy))


def refused(bench: ServiceBench, policy: bytes, client: ReleaseClient) -> str:
    """Renew, expecting a refusal."""
    with pytest.raises(CloisterError) as e:
        client.renew(**facts(bench, policy))
    return e.value.code


def test_a_renewal_round_trips_and_shows_no_secret() -> None:
    """What is written is read."""
    member = MemberGrant("example.test", "lab", "digits", 3, 100, b"x" * 32)
    renewal = Renewal(b"pem", b"result", Receipt(b"e", 1, (b"p" * 32,), "note"), member)
    assert Renewal.from_bytes(renewal.to_bytes()) == renewal
    assert repr(b"x" * 4)[2:-1] not in repr(renewal)


@pytest.mark.spec("MEM-60", "MEM-62", "MEM-63")
def test_a_renewal_gives_a_new_certificate_and_fences_nobody(
    bench: ServiceBench, policy: bytes
) -> None:
    """The writer goes on under its lease; the epoch of the job stays."""
    client = bench.release_client()
    release = join(bench, policy, client)
    anchor = bench.anchor(DATA_ID, release.bundle.volumes["/data"].lease)
    bench.clock.move(50_000)
    renewal = client.renew(**facts(bench, policy))
    anchor.renew()
    assert renewal.member.epoch == 1
    assert renewal.member.expires == bench.clock.at + 86400
    assert release.bundle.member is not None
    assert renewal.member.secret == release.bundle.member.secret
    old, new = (
        read_peer_certificate(
            ssl.PEM_cert_to_DER_cert(pem.decode()), ca_pem=bench.domain.ca, at=bench.clock.at
        )
        for pem in (release.bundle.certificate, renewal.certificate)
    )
    assert (new.identity, new.spki_digest) == (old.identity, old.spki_digest)
    assert new.not_after == old.not_after + 50_000
    entries, _ = bench.owner().read_log(first=0, count=100, old=None)
    assert [entry.operation for entry in entries if isinstance(entry, LogEntry)][-1] == "renew"


@pytest.mark.spec("MEM-62")
def test_who_is_no_member_does_not_renew(bench: ServiceBench, policy: bytes) -> None:
    """Never a member, another key, left, lapsed, expelled: one refusal, and it is logged."""
    stranger, client = bench.release_client(), bench.release_client()
    assert refused(bench, policy, stranger) == "release.not-member"
    bundle = join(bench, policy, client).bundle
    assert refused(bench, policy, stranger) == "release.not-member"
    bench.member(bundle).leave()
    assert refused(bench, policy, client) == "release.not-member"
    join(bench, policy, client)
    bench.clock.move(86400)
    assert refused(bench, policy, client) == "release.not-member"
    join(bench, policy, client)
    bench.owner().expel("lab", "digits", role="train", instance="run-1")
    assert refused(bench, policy, client) == "release.not-member"
    entries, _ = bench.owner().read_log(first=0, count=100, old=None)
    assert isinstance(entries[-1], LogEntry)
    assert (entries[-1].operation, entries[-1].code) == ("renew", "release.not-member")


@pytest.mark.spec("MEM-6", "MEM-62")
def test_a_replaced_policy_renews_nobody(bench: ServiceBench, policy: bytes) -> None:
    """Replacing it is how certificates are kept from being renewed."""
    client = bench.release_client()
    join(bench, policy, client)
    bench.apply(policy_text(bench, predecessor=digest_to_text(policy), svn="0"))
    assert refused(bench, policy, client) == "release.policy-changed"


@pytest.mark.spec("MEM-61")
@pytest.mark.parametrize("path", [RELEASE_PATH, RENEWAL_PATH])
def test_one_kind_of_request_is_not_turned_into_the_other(
    bench: ServiceBench, policy: bytes, path: str
) -> None:
    """Somebody on the wire diverts it: the nonce is of the other kind, and the lease stays."""
    client = bench.release_client()
    anchor = bench.anchor(DATA_ID, join(bench, policy, client).bundle.volumes["/data"].lease)
    other = RENEWAL_PATH if path == RELEASE_PATH else RELEASE_PATH
    codes: list[str] = []

    class Diverting:
        def post(self, at: str, body: bytes, *, timeout_s: float) -> bytes:
            if at != other:
                return bench.post(at, body, timeout_s=timeout_s)
            data = bench.post(path, body, timeout_s=timeout_s)
            answer = SignedReply.from_bytes(data).open(
                path=path, request=body, service=bench.domain.identity
            )
            assert isinstance(answer, Failure)
            codes.append(answer.code)
            return data

    client._call = dataclasses.replace(client._call, transport=Diverting())
    with pytest.raises(IdentityError) as e:
        (client.renew if path == RELEASE_PATH else client.release)(**facts(bench, policy))
    assert e.value.code == "identity.keyservice"
    assert codes == ["evidence.expired"]
    anchor.renew()


@pytest.mark.spec("MEM-61")
def test_a_recorded_renewal_is_refused(bench: ServiceBench, policy: bytes) -> None:
    """Its challenge is spent."""
    client = bench.release_client()
    join(bench, policy, client)
    client.renew(**facts(bench, policy))
    path, body = bench.requests[-1]
    assert path == RENEWAL_PATH
    data = bench.service.handle(path, body, bench.clock()).body
    answer = SignedReply.from_bytes(data).open(
        path=path, request=body, service=bench.domain.identity
    )
    assert isinstance(answer, Failure)
    assert answer.code == "evidence.replayed"


@pytest.mark.spec("MEM-64")
@pytest.mark.parametrize("change", [{"operation": "release"}, {"evidence": b"e" * 32}])
def test_a_receipt_for_another_decision_is_refused(
    bench: ServiceBench, policy: bytes, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    """The log's entry must be about this very renewal."""
    client = bench.release_client()
    join(bench, policy, client)
    real = releasing._entry
    monkeypatch.setattr(
        releasing, "_entry", lambda *args, **kw: dataclasses.replace(real(*args, **kw), **change)
    )
    assert refused(bench, policy, client) == "identity.keyservice"


def test_a_challenge_for_renewals_is_signed_like_the_other(bench: ServiceBench) -> None:
    """Over its own path."""
    client = bench.release_client()
    nonce = client._call.challenge(timeout_s=1, path=RENEWAL_CHALLENGE_PATH)
    path, body = bench.requests[-1]
    assert (path, len(nonce)) == (RENEWAL_CHALLENGE_PATH, 32)
    data = bench.service.handle(path, body, bench.clock()).body
    assert isinstance(
        SignedReply.from_bytes(data).open(path=path, request=body, service=bench.domain.identity),
        Reply,
    )
