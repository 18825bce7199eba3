"""The owner's operations, and every refusal by its code."""

import dataclasses

import pytest

from cloister.crypto.digest import digest_to_text, sha256
from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.signature import SigningKey
from cloister.crypto.x509 import TLSKey
from cloister.errors import (
    ConfigError,
    EvidenceError,
    MalformedError,
    ReleaseDeniedError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice.log import Checkpoint, verify_extension
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.ownership import volume_key_info
from cloister.testing.keyservice import CODE_ID, DATA_ID, DATA_KEY, ServiceBench, policy_text
from cloister.wire import Fields


@pytest.fixture
def owner(bench: ServiceBench) -> OwnerClient:
    """The owner of the domain."""
    return bench.owner()


@pytest.mark.spec("KR-70")
@pytest.mark.parametrize(
    "operation", ["apply", "read", "register", "key", "take", "break", "enroll", "status", "log"]
)
def test_every_operation_is_refused_for_another_signer(
    bench: ServiceBench, policy: bytes, operation: str
) -> None:
    """Only the key that founded the domain is the owner."""
    thief = OwnerClient(
        bench,
        bench.pinned,
        owner=SigningKey.generate(),
        reference=bench.domain.service,
        clock=bench.clock,
        deadline_s=0.0,
    )
    attempts = {
        "apply": lambda: thief.apply_policy(b"x"),
        "read": lambda: thief.read_policy(policy),
        "register": lambda: thief.register_volume(
            b"n" * 16,
            key=b"k" * 32,
            version=0,
            root=bytes(32),
            kind="data",
            service_hpke=bench.domain.hpke,
        ),
        "key": lambda: thief.volume_key(DATA_ID),
        "take": lambda: thief.take_lease(DATA_ID),
        "break": lambda: thief.break_lease(DATA_ID),
        "enroll": lambda: thief.enroll_client(
            namespace="lab", name="eve", instance="1", certificate_request=b"x"
        ),
        "status": thief.status,
        "log": lambda: thief.read_log(first=0, count=1, old=None),
    }
    with pytest.raises(ReleaseDeniedError) as e:
        attempts[operation]()
    assert e.value.code == "release.not-owner"


@pytest.mark.spec("KR-72")
def test_a_policy_is_applied_read_and_applied_again(
    bench: ServiceBench, owner: OwnerClient, policy: bytes
) -> None:
    """Applying what is current changes nothing."""
    canonical = owner.read_policy(policy)
    size = bench.store.log_size
    assert owner.apply_policy(canonical) == policy
    assert bench.store.log_size == size


@pytest.mark.spec("KR-72")
def test_an_update_names_its_predecessor(bench: ServiceBench, policy: bytes) -> None:
    """The current hash or nothing else; so no update is lost."""
    stale = digest_to_text(sha256(b"another"))
    for predecessor in ("none", stale):
        with pytest.raises(ReleaseDeniedError) as e:
            bench.apply(policy_text(bench, predecessor=predecessor, svn="0"))
        assert e.value.code == "release.predecessor"
        assert digest_to_text(policy) in e.value.public
    newer = bench.apply(policy_text(bench, predecessor=digest_to_text(policy), svn="0"))
    with pytest.raises(ReleaseDeniedError) as again:
        bench.apply(policy_text(bench, predecessor=digest_to_text(policy), debug="accepted"))
    assert again.value.code == "release.predecessor"
    assert bench.store.current_policy("lab", "digits").hash == newer


@pytest.mark.spec("KR-72")
def test_a_first_policy_has_no_predecessor(bench: ServiceBench) -> None:
    """There is nothing to replace."""
    with pytest.raises(ReleaseDeniedError) as e:
        bench.apply(policy_text(bench, predecessor=digest_to_text(b"x" * 32)))
    assert e.value.code == "release.predecessor"


@pytest.mark.parametrize(
    ("data", "code"), [(b"\xff", "policy.malformed"), (b"\xa0", "policy.invalid")]
)
def test_what_is_no_policy_is_refused(owner: OwnerClient, data: bytes, code: str) -> None:
    """By the policy's own codes."""
    with pytest.raises(MalformedError) as e:
        owner.apply_policy(data)
    assert e.value.code == code


@pytest.mark.spec("POL-71")
def test_a_policy_that_undoes_itself_is_refused(bench: ServiceBench) -> None:
    """Valid, yet with an error that lint finds: code from a volume whose state nobody pinned."""
    with pytest.raises(MalformedError) as e:
        bench.apply(policy_text(bench, root="latest"))
    assert e.value.code == "policy.invalid"
    assert "exact root" in e.value.public


def test_an_unknown_policy_is_not_read(owner: OwnerClient) -> None:
    """The hash must be known."""
    with pytest.raises(ReleaseDeniedError) as e:
        owner.read_policy(b"?" * 32)
    assert e.value.code == "release.policy-unknown"


@pytest.mark.spec("KR-73")
def test_registering_again_with_the_same_facts_succeeds(
    bench: ServiceBench, owner: OwnerClient
) -> None:
    """A lost reply costs nothing; other facts are refused."""
    facts = {"key": DATA_KEY, "version": 0, "root": bytes(32), "kind": "data"}
    owner.register_volume(DATA_ID, **facts, service_hpke=bench.domain.hpke)
    for change in ({"key": b"x" * 32}, {"version": 1}, {"root": b"x" * 32}, {"kind": "model"}):
        with pytest.raises(ConfigError) as e:
            owner.register_volume(DATA_ID, **facts | change, service_hpke=bench.domain.hpke)
        assert e.value.code == "config.exists"


@pytest.mark.spec("KR-73")
def test_a_key_sealed_for_another_service_or_volume_is_refused(
    bench: ServiceBench, owner: OwnerClient
) -> None:
    """The seal names both."""
    facts = {"version": 0, "root": bytes(32), "kind": "data"}
    other = HPKEPrivateKey.generate().public
    with pytest.raises(EvidenceError) as refused:
        owner.register_volume(b"n" * 16, key=b"k" * 32, **facts, service_hpke=other)
    assert refused.value.code == "evidence.binding"
    info = volume_key_info(
        service=bench.domain.identity.raw,
        volume=b"n" * 16,
        namespace="/",
        owner=bench.owner_key.public.raw,
    )
    sealed = other.seal(b"k" * 32, info=info)
    with pytest.raises(MalformedError) as e:
        owner.call.do("volume.register", {"id": b"n" * 16, "sealed_key": sealed, **facts})
    assert e.value.code == "message.malformed"
    sealed = bench.domain.hpke.seal(b"k" * 32, info=b"another purpose")
    with pytest.raises(MalformedError):
        owner.call.do("volume.register", {"id": b"n" * 16, "sealed_key": sealed, **facts})


@pytest.mark.parametrize("change", [{"key": b"short"}, {"kind": "Data 1"}])
def test_a_wrong_key_or_kind_is_refused(
    bench: ServiceBench, owner: OwnerClient, change: dict[str, object]
) -> None:
    """32 bytes; a plain word."""
    facts = {"key": b"k" * 32, "version": 0, "root": bytes(32), "kind": "data"} | change
    with pytest.raises(MalformedError) as e:
        owner.register_volume(b"n" * 16, **facts, service_hpke=bench.domain.hpke)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("KR-74")
def test_the_owner_reads_a_volumes_key_and_the_log_knows(
    bench: ServiceBench, owner: OwnerClient
) -> None:
    """D11: every release leaves a trace, the owner's too."""
    found = owner.volume_key(DATA_ID)
    assert (found.keys.newest, found.state.version, found.lease) == (DATA_KEY, 0, None)
    entries, _ = owner.read_log(first=0, count=100, old=None)
    assert (entries[-1].operation, entries[-1].subject) == ("volume.key", DATA_ID.hex())


@pytest.mark.spec("KR-71")
def test_a_volumes_key_never_crosses_the_wire_in_plain(bench: ServiceBench) -> None:
    """Neither going in nor coming out."""
    seen: list[bytes] = []

    def tap(path: str, request: bytes, answer: bytes) -> bytes:
        seen.extend((request, answer))
        return answer

    bench.tap = tap
    owner = bench.owner()
    marker = b"MARKER" + b"m" * 26
    owner.register_volume(
        b"n" * 16,
        key=marker,
        version=0,
        root=bytes(32),
        kind="data",
        service_hpke=bench.domain.hpke,
    )
    assert owner.volume_key(b"n" * 16).keys.newest == marker
    assert not any(b"MARKER" in data for data in seen)


@pytest.mark.parametrize("method", ["volume_key", "take_lease", "break_lease"])
def test_an_unknown_volume_is_refused(owner: OwnerClient, method: str) -> None:
    """By one code everywhere."""
    with pytest.raises(ReleaseDeniedError) as e:
        getattr(owner, method)(b"?" * 16)
    assert e.value.code == "release.volume-unknown"


@pytest.mark.spec("KR-75")
def test_two_owners_sessions_do_not_write_together(bench: ServiceBench) -> None:
    """The second is told to wait; the owner may break the lease instead."""
    first = bench.owner().take_lease(DATA_ID).lease
    with pytest.raises(UnavailableError) as e:
        bench.owner().take_lease(DATA_ID)
    assert e.value.code == "volume.leased"
    bench.owner().break_lease(DATA_ID)
    bench.owner().break_lease(DATA_ID)
    second = bench.owner().take_lease(DATA_ID).lease
    assert first is not None
    assert second is not None
    assert second.epoch == first.epoch + 1


@pytest.mark.spec("KR-76")
def test_a_client_is_enrolled_under_its_own_name(bench: ServiceBench, owner: OwnerClient) -> None:
    """The name is the owner's to give, whatever the request says."""
    client = owner.enroll_client(
        namespace="lab", name="ann", instance="1", certificate_request=TLSKey.generate().request()
    )
    assert client.identity == "spiffe://example.test/lab/clients/ann/1"
    assert client.ca == bench.domain.ca
    assert b"BEGIN CERTIFICATE" in client.certificate


@pytest.mark.parametrize("change", [{"name": "a/b"}, {"namespace": ".."}, {"instance": "*"}])
def test_a_client_has_plain_names(owner: OwnerClient, change: dict[str, str]) -> None:
    """Nothing that reads as another identity."""
    names = {"namespace": "lab", "name": "ann", "instance": "1"} | change
    with pytest.raises(MalformedError):
        owner.enroll_client(**names, certificate_request=TLSKey.generate().request())


@pytest.mark.spec("KR-78")
def test_status_lists_what_there_is(bench: ServiceBench, owner: OwnerClient, policy: bytes) -> None:
    """Policies, volumes with their state and lease, and the log's checkpoint."""
    owner.take_lease(DATA_ID)
    status = owner.status()
    assert [record["hash"] for record in status.policies] == [policy]
    leased = {record["id"]: record["leased"] for record in status.volumes}
    assert leased == {CODE_ID: False, DATA_ID: True}
    assert status.checkpoint.size == bench.store.log_size
    assert all("key" not in record for record in status.volumes)


@pytest.mark.spec("KR-77")
def test_the_log_is_read_and_proved_to_extend(owner: OwnerClient) -> None:
    """An old checkpoint and a new one."""
    _, old = owner.read_log(first=0, count=0, old=None)
    owner.volume_key(DATA_ID)
    entries, new = owner.read_log(first=old.size, count=10, old=old)
    assert new.size == old.size + 1
    assert [entry.operation for entry in entries] == ["volume.key"]


@pytest.mark.spec("KR-64", "KR-77")
def test_a_log_that_forgot_something_is_refused(owner: OwnerClient) -> None:
    """An old checkpoint that the log does not extend."""
    _, old = owner.read_log(first=0, count=0, old=None)
    owner.volume_key(DATA_ID)
    with pytest.raises(TamperedError) as e:
        owner.read_log(first=0, count=0, old=dataclasses.replace(old, root=b"x" * 32))
    assert e.value.code == "log.proof"


@pytest.mark.spec("KR-79")
def test_refusals_of_the_owner_are_logged(bench: ServiceBench, owner: OwnerClient) -> None:
    """With their code."""
    with pytest.raises(ReleaseDeniedError):
        owner.volume_key(b"?" * 16)
    entries, _ = owner.read_log(first=0, count=100, old=None)
    assert entries[-1].code == "release.volume-unknown"


def test_unknown_arguments_are_refused(owner: OwnerClient) -> None:
    """Readers of arguments are strict."""
    with pytest.raises(MalformedError) as e:
        owner.call.do("volume.key", {"id": DATA_ID, "more": 1})
    assert e.value.code == "message.malformed"


def test_the_log_is_read_as_far_as_it_is_durable(bench: ServiceBench, owner: OwnerClient) -> None:
    """What others in the same group have just decided is not shown, and proofs hold."""
    bench.register_volumes()
    _, before = owner.read_log(first=0, count=10, old=None)
    administration = bench.service._administration
    with bench.store.group():
        with bench.store.transaction():
            bench.store.append(b"pending")
        note = administration.checkpoint()
        arguments = {"first": 0, "count": 10, "old_size": before.size}
        found = administration._read_log(Fields(arguments, what="log.read"), None, None)
    assert found["checkpoint"] == note
    assert len(found["entries"]) == before.size
    pinned = bench.pinned
    checkpoint = Checkpoint.from_note(note, service=pinned.identity, origin=pinned.origin)
    verify_extension(before, checkpoint, found["consistency"])
    assert checkpoint.size == before.size
    assert bench.store.durable_size == bench.store.log_size == before.size + 1
    assert bench.store.durable_root() == bench.store.log_root()
