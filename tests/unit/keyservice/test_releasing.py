"""Releases through the whole service: what is granted, and every refusal by its code."""

import dataclasses

import pytest

from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import digest_to_text
from cloister.crypto.signature import SigningKey
from cloister.errors import (
    AppraisalError,
    CloisterError,
    EndorsementError,
    EvidenceError,
    IdentityError,
    MalformedError,
    ReleaseDeniedError,
    StorageFullError,
    UnavailableError,
)
from cloister.keyservice import releasing
from cloister.keyservice.client import Release, ReleaseClient
from cloister.testing.keyservice import (
    CODE_ID,
    CODE_KEY,
    CODE_ROOT,
    DATA_ID,
    DATA_KEY,
    MEASUREMENT,
    ServiceBench,
    policy_text,
)


def ask(bench: ServiceBench, policy: bytes, **changes: object) -> Release:
    """Release with one thing changed."""
    client = changes.pop("client", None) or bench.release_client()
    assert isinstance(client, ReleaseClient)
    arguments = {
        "policy": policy,
        "workload": "train",
        "instance": "run-1",
        "measurement": MEASUREMENT,
        "attester": bench.attester(),
    } | changes
    return client.release(**arguments)


def refused(bench: ServiceBench, policy: bytes, **changes: object) -> CloisterError:
    """Release, expecting a refusal."""
    with pytest.raises(CloisterError) as e:
        ask(bench, policy, **changes)
    return e.value


@pytest.mark.spec("KR-32")
def test_a_lease_without_its_log_entry_does_not_exist(
    bench: ServiceBench, policy: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the entry cannot be written, nothing was granted and nobody is locked out."""

    def full(entry: bytes) -> object:
        raise StorageFullError("full", code="storage.full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "append", full)
        assert refused(bench, policy).code == "storage.full"
    bench.restart()
    assert ask(bench, policy).bundle.volumes["/data"].lease.epoch == 1


@pytest.mark.spec("KR-34")
@pytest.mark.parametrize("change", [{"subject": "serve"}, {"code": "x"}, {"evidence": b"e" * 32}])
def test_a_receipt_for_another_decision_is_refused(
    bench: ServiceBench, policy: bytes, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    """The log's entry must be about this very request, though the service signed it."""
    real = releasing._entry
    monkeypatch.setattr(
        releasing, "_entry", lambda *args, **kw: dataclasses.replace(real(*args, **kw), **change)
    )
    error = refused(bench, policy)
    assert isinstance(error, IdentityError)
    assert error.code == "identity.keyservice"


@pytest.mark.spec("KR-33")
def test_a_granted_release_has_what_the_policy_says(bench: ServiceBench, policy: bytes) -> None:
    """Command, environment, volumes with keys and state, certificate, receipt."""
    release = ask(bench, policy)
    bundle = release.bundle
    assert bundle.command == ("python", "/code/train.py", "--epochs", "3")
    assert bundle.environment == {"SEED": "7"}
    assert bundle.identity == "spiffe://example.test/lab/digits/train/run-1"
    code, data = bundle.volumes["/code"], bundle.volumes["/data"]
    assert (code.id, code.keys.newest, code.access, code.version) == (CODE_ID, CODE_KEY, "read", 3)
    assert (code.root, code.lease.epoch) == (CODE_ROOT, 0)
    assert (data.id, data.keys.newest, data.access, data.version) == (DATA_ID, DATA_KEY, "write", 0)
    assert data.lease.epoch == 1
    assert bundle.logs == "pass"
    assert bundle.ca == bench.domain.ca
    assert b"BEGIN CERTIFICATE" in bundle.certificate
    assert b"BEGIN PRIVATE KEY" in release.tls_key
    assert release.result.hardware_rooted is False
    assert release.entry.granted


def test_a_serving_role_gets_its_listener_and_reads_only(
    bench: ServiceBench, policy: bytes
) -> None:
    """A reader has no lease and may run beside a writer."""
    ask(bench, policy)
    bundle = ask(bench, policy, workload="serve").bundle
    assert bundle.listen["api"].clients == ("spiffe://example.test/lab/clients/ann/*",)
    assert bundle.volumes["/data"].lease.epoch == 0
    assert bundle.logs == "drop"


@pytest.mark.spec("KR-21")
def test_an_unknown_policy_is_refused(bench: ServiceBench, policy: bytes) -> None:
    """Only what the owner applied exists."""
    error = refused(bench, b"?" * 32)
    assert isinstance(error, ReleaseDeniedError)
    assert error.code == "release.policy-unknown"


@pytest.mark.spec("KR-21")
def test_a_replaced_policy_is_refused(bench: ServiceBench, policy: bytes) -> None:
    """The predecessor of the current policy grants nothing."""
    bench.apply(policy_text(bench, predecessor=digest_to_text(policy), svn="0"))
    error = refused(bench, policy)
    assert isinstance(error, ReleaseDeniedError)
    assert error.code == "release.policy-changed"


@pytest.mark.spec("KR-22")
def test_a_workload_that_the_policy_does_not_name_is_refused(
    bench: ServiceBench, policy: bytes
) -> None:
    """Roles are the policy's."""
    error = refused(bench, policy, workload="steal")
    assert isinstance(error, ReleaseDeniedError)
    assert error.code == "release.workload-unknown"


@pytest.mark.spec("KR-23")
def test_a_root_of_trust_that_the_policy_does_not_name_is_refused(bench: ServiceBench) -> None:
    """Evidence of another platform is not accepted because it is genuine."""
    policy = bench.apply(policy_text(bench, anchor=SigningKey.generate().public.text))
    error = refused(bench, policy)
    assert isinstance(error, EndorsementError)
    assert error.code == "endorsement.anchor"


@pytest.mark.spec("KR-23")
def test_evidence_of_an_unknown_kind_is_refused(bench: ServiceBench, policy: bytes) -> None:
    """What no verifier reads is not looked into."""

    class Foreign:
        def collect(self, report_data: object) -> object:
            evidence = bench.attester().collect(report_data)
            return dataclasses.replace(evidence, media_type="application/x")

    error = refused(bench, policy, attester=Foreign())
    assert isinstance(error, EvidenceError)
    assert error.code == "evidence.kind"


@pytest.mark.spec("KR-24")
def test_evidence_with_a_wrong_signature_is_refused(bench: ServiceBench, policy: bytes) -> None:
    """One bit in the signature."""

    class Forger:
        def collect(self, report_data: object) -> object:
            evidence = bench.attester().collect(report_data)
            body = evidence.body[:-1] + bytes([evidence.body[-1] ^ 1])
            return dataclasses.replace(evidence, body=body)

    error = refused(bench, policy, attester=Forger())
    assert isinstance(error, EvidenceError)
    assert error.code == "evidence.signature"


@pytest.mark.spec("KR-24")
def test_evidence_that_does_not_parse_is_refused(bench: ServiceBench, policy: bytes) -> None:
    """Bytes of the right kind and no sense."""

    class Broken:
        def collect(self, report_data: object) -> object:
            return dataclasses.replace(bench.attester().collect(report_data), body=b"\xff")

    assert isinstance(refused(bench, policy, attester=Broken()), MalformedError)


@pytest.mark.spec("KR-26")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"measurement": f'["sha256:{"0" * 64}"]'}, "appraisal.measurement"),
        ({"svn": "2"}, "appraisal.svn"),
        ({"runtime": f'["sha256:{"0" * 64}"]'}, "appraisal.runtime"),
    ],
)
def test_a_rule_that_does_not_hold_refuses_by_its_own_code(
    bench: ServiceBench, change: dict[str, str], code: str
) -> None:
    """Each rule of the policy has its reason."""
    error = refused(bench, bench.apply(policy_text(bench, **change)))
    assert isinstance(error, AppraisalError)
    assert error.code == code


@pytest.mark.spec("KR-26")
def test_changed_code_is_refused(bench: ServiceBench, policy: bytes) -> None:
    """The code digest is the policy's."""
    error = refused(bench, policy, measurement=LaunchMeasurement(b"x" * 32, MEASUREMENT.runtime))
    assert isinstance(error, AppraisalError)
    assert error.code == "appraisal.code"


@pytest.mark.spec("KR-26")
def test_a_pinned_root_that_is_not_the_anchored_one_is_refused(bench: ServiceBench) -> None:
    """A volume that moved on is not the one that the policy names."""
    root = digest_to_text(b"x" * 32)
    policy = bench.apply(policy_text(bench, root=root))
    error = refused(bench, policy, measurement=LaunchMeasurement(b"x" * 32, MEASUREMENT.runtime))
    assert isinstance(error, AppraisalError)
    assert error.code == "appraisal.volume-root"


@pytest.mark.spec("KR-27")
def test_an_unregistered_volume_is_refused(bench: ServiceBench) -> None:
    """No key, no release."""
    text = policy_text(bench).replace(DATA_ID.hex(), "ab" * 16)
    error = refused(bench, bench.apply(text))
    assert isinstance(error, ReleaseDeniedError)
    assert error.code == "release.volume-unknown"


@pytest.mark.spec("KR-31", "KR-41")
def test_a_second_writer_is_refused_until_the_lease_lapses(
    bench: ServiceBench, policy: bytes
) -> None:
    """One writer for each volume; a dead one blocks for a lifetime at most."""
    ask(bench, policy)
    error = refused(bench, policy, instance="run-2")
    assert isinstance(error, UnavailableError)
    assert error.code == "volume.leased"
    bench.clock.move(15.1)
    assert ask(bench, policy, instance="run-2").bundle.volumes["/data"].lease.epoch == 2


@pytest.mark.spec("KR-42")
def test_the_same_requester_asks_again_after_a_lost_reply(
    bench: ServiceBench, policy: bytes
) -> None:
    """The key in the evidence names the holder: the same run takes over its own lease."""
    client = bench.release_client()
    assert ask(bench, policy, client=client).bundle.volumes["/data"].lease.epoch == 1
    assert ask(bench, policy, client=client).bundle.volumes["/data"].lease.epoch == 2


@pytest.mark.spec("KR-35")
def test_refusals_are_logged_with_their_code(bench: ServiceBench, policy: bytes) -> None:
    """The log tells yes and no alike, and holds no secret."""
    refused(bench, policy, workload="steal")
    ask(bench, policy)
    entries, checkpoint = bench.owner().read_log(first=0, count=100, old=None)
    releases = [entry for entry in entries if entry.operation == "release"]
    assert [(entry.code, entry.subject) for entry in releases] == [
        ("release.workload-unknown", "steal"),
        ("", "train"),
    ]
    assert checkpoint.size == len(entries)
    secret = b"".join(entry.to_bytes() for entry in entries)
    assert DATA_KEY not in secret
    assert CODE_KEY not in secret


@pytest.mark.spec("KR-5")
@pytest.mark.parametrize("skew", [301, -301])
def test_clocks_that_differ_are_named(bench: ServiceBench, policy: bytes, skew: int) -> None:
    """More than five minutes apart is an error that shows both times."""
    client = bench.release_client()
    real = bench.service.handle

    def late(path: str, body: bytes, moment: object) -> object:
        return real(path, body, dataclasses.replace(moment, at=moment.at + skew))

    bench.service.handle = late
    error = refused(bench, policy, client=client)
    assert isinstance(error, IdentityError)
    assert error.code == "identity.clock"
    assert "2027-01-15 08:00:00 UTC" in error.public


@pytest.mark.spec("KR-5")
def test_clocks_within_the_bound_are_accepted(bench: ServiceBench, policy: bytes) -> None:
    """Five minutes are allowed."""
    real = bench.service.handle

    def late(path: str, body: bytes, moment: object) -> object:
        return real(path, body, dataclasses.replace(moment, at=moment.at + 300))

    bench.service.handle = late
    assert ask(bench, policy).entry.granted


@pytest.mark.spec("KR-30")
def test_a_damaged_certificate_request_is_refused_and_logged(
    bench: ServiceBench, policy: bytes
) -> None:
    """A request that proves no possession gets no certificate."""
    client = bench.release_client()
    client._csr = client._csr[:-1] + bytes([client._csr[-1] ^ 1])
    error = refused(bench, policy, client=client)
    assert isinstance(error, MalformedError)
    assert error.code == "certificate.malformed"
