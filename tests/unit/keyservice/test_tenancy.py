"""Charters and policies come into force by enough approvals, and by nothing less."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from cloister.crypto.digest import digest_to_text
from cloister.crypto.signature import SigningKey
from cloister.crypto.x509 import TLSKey, read_peer_certificate
from cloister.errors import CloisterError, MalformedError, ReleaseDeniedError
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.testing.keyservice import DATA_ID, MEASUREMENT, ServiceBench, policy_text

ANN, BEN, CAT = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))


def canonical(bench: ServiceBench, **changes: str) -> bytes:
    """A policy's canonical bytes."""
    return canonical_bytes(parse_policy(policy_text(bench, **changes).encode(), source="p"))


def code_of(attempt: Callable[[], object]) -> str:
    """The code by which an attempt is refused."""
    with pytest.raises(CloisterError) as e:
        attempt()
    return e.value.code


@pytest.fixture
def lab(bench: ServiceBench) -> bytes:
    """The hash of a charter by which two of Ann, Ben and Cat govern `lab`."""
    charter = bench.charter("lab", (ANN, BEN, CAT), threshold=2)
    return bench.owner().propose_charter(charter).hash


@pytest.mark.spec("PA-4", "PA-6", "PA-33", "KR-81")
def test_the_founder_alone_charters_a_namespace(bench: ServiceBench) -> None:
    """Where nobody else governs above; once, and again without a change."""
    charter = bench.charter("lab", (ANN, BEN), threshold=2)
    done = bench.owner().propose_charter(charter)
    assert done.in_force
    size = bench.store.log_size
    assert bench.client(ANN).propose_charter(charter, ()) == done
    assert bench.store.log_size == size


@pytest.mark.spec("PA-30", "PA-33", "PA-34", "KR-72")
@pytest.mark.usefixtures("lab")
def test_two_approvals_in_either_order_bring_a_policy_into_force(bench: ServiceBench) -> None:
    """One is a proposal, which is no error, and says who is missing."""
    for name, first, second in (("one", ANN, BEN), ("two", BEN, ANN)):
        wanted = canonical(bench, name=name)
        waiting = bench.client(first).propose_policy(wanted)
        assert (waiting.in_force, waiting.lacking) == (False, 1)
        assert waiting.approved == (first.public.raw,)
        assert set(waiting.missing) == {second.public.raw, CAT.public.raw}
        assert bench.store.current_policy("lab", name) is None
        assert bench.store.policy(waiting.hash) is None
        assert bench.client(second).propose_policy(wanted).in_force
        assert bench.store.current_policy("lab", name).hash == waiting.hash
    assert bench.client(ANN).pending() == ()


@pytest.mark.spec("PA-34")
@pytest.mark.usefixtures("lab")
def test_carried_approvals_may_all_come_at_once_by_one_hand(bench: ServiceBench) -> None:
    """Whoever may submit brings the others' files, and needs none of his own."""
    wanted = canonical(bench)
    assert bench.client(CAT).propose_policy(wanted, bench.approve(wanted, ANN, BEN)).in_force


@pytest.mark.spec("PA-34")
@pytest.mark.usefixtures("lab")
def test_handing_in_the_same_again_changes_nothing(bench: ServiceBench) -> None:
    """Neither the number of approvals nor the log."""
    wanted = canonical(bench)
    approvals = bench.approve(wanted, ANN)
    first = bench.client(ANN).propose_policy(wanted, approvals)
    size = bench.store.log_size
    assert bench.client(BEN).propose_policy(wanted, approvals) == first
    assert bench.client(CAT).propose_policy(wanted, ()) == first
    assert bench.store.log_size == size


@pytest.mark.spec("PA-32")
@pytest.mark.usefixtures("lab")
def test_an_approval_that_does_not_count_refuses_the_whole_submission(bench: ServiceBench) -> None:
    """By its code, and nothing is kept."""
    wanted, other = canonical(bench), canonical(bench, name="other")
    good = bench.approve(wanted, ANN)
    client = bench.client(CAT)
    cases = {
        "approval.invalid": bench.approve(other, BEN),
        "approval.not-approver": bench.approve(wanted, SigningKey.generate()),
        "approval.expired": bench.approve(wanted, BEN, expires_at=bench.clock.at - 1),
        "approval.repeated": good,
    }
    for code, bad in cases.items():
        assert code_of(lambda bad=bad: client.propose_policy(wanted, good + bad)) == code
    assert bench.client(ANN).pending() == ()


@pytest.mark.spec("PA-35", "PA-25")
@pytest.mark.usefixtures("lab")
def test_time_ends_proposals_and_approvals(bench: ServiceBench) -> None:
    """After the deadline the next submission is the first; what ended does not count."""
    wanted = canonical(bench)
    waiting = bench.client(ANN).propose_policy(wanted)
    assert waiting.deadline == bench.clock.at + 3600
    bench.clock.move(3601)
    again = bench.client(BEN).propose_policy(wanted)
    assert again.approved == (BEN.public.raw,)
    assert again.deadline == bench.clock.at + 3600
    other = canonical(bench, name="other")
    brief = bench.approve(other, ANN, expires_at=bench.clock.at + 10)
    bench.client(ANN).propose_policy(other, brief)
    bench.clock.move(11)
    assert bench.client(BEN).propose_policy(other).approved == (BEN.public.raw,)


@pytest.mark.spec("PA-31", "PA-36")
@pytest.mark.usefixtures("lab")
def test_updates_are_neither_lost_nor_forked(bench: ServiceBench) -> None:
    """Two successors of one policy: the first in force ends the other's proposal and approvals."""
    first = bench.client(CAT)
    base = canonical(bench)
    digest = first.propose_policy(base, bench.approve(base, ANN, BEN)).hash
    left = canonical(bench, predecessor=digest_to_text(digest), svn="2")
    right = canonical(bench, predecessor=digest_to_text(digest), svn="3")
    first.propose_policy(right, bench.approve(right, ANN))
    assert first.propose_policy(left, bench.approve(left, ANN, BEN)).in_force
    assert first.pending() == ()
    both = bench.approve(right, ANN, BEN)
    assert code_of(lambda: first.propose_policy(right, both)) == "release.predecessor"
    replayed = bench.approve(base, ANN, BEN)
    assert code_of(lambda: first.propose_policy(base, replayed)) == "release.predecessor"


@pytest.mark.spec("PA-33")
def test_a_removed_approver_counts_no_more(bench: ServiceBench, lab: bytes) -> None:
    """What he approved before is judged again by the charter that is in force when it matters."""
    wanted = canonical(bench)
    bench.client(ANN).propose_policy(wanted)
    charter = bench.charter("lab", (BEN, CAT), predecessor=digest_to_text(lab))
    assert bench.client(BEN).propose_charter(charter, bench.approve(charter, BEN, CAT)).in_force
    assert bench.client(BEN).propose_policy(wanted).approved == (BEN.public.raw,)
    assert code_of(lambda: bench.client(ANN).propose_policy(wanted)) == "release.not-owner"


@pytest.mark.spec("PA-6", "PA-7")
def test_a_charter_changes_by_its_own_approvers(bench: ServiceBench, lab: bytes) -> None:
    """Not by those above; and a higher quota needs those above as well."""
    wanted = bench.charter("lab", (ANN, BEN), predecessor=digest_to_text(lab))
    assert code_of(lambda: bench.owner().propose_charter(wanted)) == "release.not-owner"
    done = bench.client(ANN).propose_charter(wanted, bench.approve(wanted, ANN, CAT))
    assert done.in_force
    greedy = bench.charter("lab", (ANN, BEN), predecessor=digest_to_text(done.hash), volumes=101)
    own = bench.approve(greedy, ANN, BEN)
    waiting = bench.client(ANN).propose_charter(greedy, own)
    assert (waiting.in_force, waiting.missing) == (False, (bench.owner_key.public.raw,))
    granted = bench.approve(greedy, bench.owner_key)
    assert bench.client(BEN).propose_charter(greedy, granted).in_force


@pytest.mark.spec("PA-30", "POL-17")
def test_a_policys_own_board_decides_about_its_successor(bench: ServiceBench, lab: bytes) -> None:
    """The charter's approvers put it into force, and then have no say in its successor."""
    del lab
    dan = SigningKey(b"\x04" * 32)
    board = f'approval: {{approvers: ["{dan.public.text}"], threshold: 1, timeout: 60}}'
    base = canonical(bench, more=board)
    assert code_of(lambda: bench.client(dan).propose_policy(base)) == "release.not-owner"
    digest = bench.client(ANN).propose_policy(base, bench.approve(base, ANN, BEN)).hash
    newer = canonical(bench, more=board, predecessor=digest_to_text(digest), svn="2")
    theirs = bench.approve(newer, ANN, BEN)
    refused = code_of(lambda: bench.client(ANN).propose_policy(newer, theirs))
    assert refused == "approval.not-approver"
    assert bench.client(dan).propose_policy(newer).in_force
    assert bench.client(dan).read_policy(digest) == base


@pytest.mark.spec("PA-37")
@pytest.mark.usefixtures("lab")
def test_one_key_fills_nobody_elses_table(bench: ServiceBench) -> None:
    """Eight proposals wait for each submitter."""
    for number in range(8):
        bench.client(ANN).propose_policy(canonical(bench, name=f"p{number}"))
    full = canonical(bench, name="more")
    assert code_of(lambda: bench.client(ANN).propose_policy(full)) == "quota.exceeded"
    assert bench.client(BEN).propose_policy(full).lacking == 1


@pytest.mark.spec("PA-3", "PA-40", "PA-41", "KR-76", "KR-82")
def test_each_charter_has_an_authority_of_its_own(bench: ServiceBench, lab: bytes) -> None:
    """Made once, kept by its successors, and used for what it governs only."""
    client = bench.client(ANN)
    facts = client.read_namespace("lab/deep")
    assert (facts.namespace, facts.threshold) == ("lab", 2)
    assert facts.ca != bench.domain.ca
    request = TLSKey.generate().request()
    enrolled = client.enroll_client(
        namespace="lab/deep", name="ann", instance="1", certificate_request=request
    )
    assert enrolled.identity == "spiffe://example.test/lab/deep/clients/ann/1"
    assert enrolled.ca == facts.ca
    charter = bench.charter("lab", (ANN, BEN), predecessor=digest_to_text(lab))
    client.propose_charter(charter, bench.approve(charter, ANN, BEN))
    assert client.read_namespace("lab").ca == facts.ca
    assert [record["namespace"] for record in client.namespaces()] == ["lab"]
    assert bench.owner().namespaces() == ()


@pytest.mark.spec("PA-41", "KR-27")
def test_a_bundle_carries_the_authority_of_its_charter_and_foreign_volumes_do_not_cross(
    bench: ServiceBench, lab: bytes
) -> None:
    """A policy of `lab` gets the volumes of `lab`; the root's are as good as absent."""
    del lab
    wanted = canonical(bench)
    client = bench.client(ANN)
    digest = client.propose_policy(wanted, bench.approve(wanted, ANN, BEN)).hash

    def release() -> object:
        return bench.release_client().release(
            policy=digest,
            workload="serve",
            instance="i",
            measurement=MEASUREMENT,
            attester=bench.attester(),
        )

    foreign = code_of(release)
    bench.store.tenancy._tables._tables["volumes"].clear()
    assert code_of(release) == foreign
    bench.register_volumes(client, namespace="lab")
    bundle = release().bundle
    assert bundle.ca == client.read_namespace("lab").ca
    leaf = bundle.certificate
    der = load_pem_x509_certificate(leaf).public_bytes(Encoding.DER)
    read_peer_certificate(der, ca_pem=bundle.ca, at=bench.clock.at)
    with pytest.raises(CloisterError):
        read_peer_certificate(der, ca_pem=bench.domain.ca, at=bench.clock.at)


@pytest.mark.spec("KR-83", "KR-84")
@pytest.mark.usefixtures("lab")
def test_a_volumes_key_is_for_the_approver_who_registered_it(bench: ServiceBench) -> None:
    """Where one approver is not enough, the others do not get it; nobody learns that it is here."""
    bench.register_volumes(bench.client(ANN), namespace="lab", first=b"n")
    volume = b"n" + DATA_ID[1:]
    assert bench.client(ANN).volume_key(volume).keys.newest
    absent = code_of(lambda: bench.client(BEN).volume_key(b"?" * 16))
    for key in (BEN, bench.owner_key):
        for method in ("volume_key", "take_lease", "break_lease"):
            client = bench.client(key)
            assert code_of(lambda c=client, m=method: getattr(c, m)(volume)) == absent
    assert [record["id"] for record in bench.client(BEN).status().volumes] != []
    assert volume not in [record["id"] for record in bench.owner().status().volumes]


@pytest.mark.spec("KR-80")
def test_history_says_who_approved_each_version(bench: ServiceBench, lab: bytes) -> None:
    """Oldest first."""
    del lab
    base = canonical(bench)
    client = bench.client(CAT)
    digest = client.propose_policy(base, bench.approve(base, ANN, BEN)).hash
    versions = client.history("lab", "digits")
    assert [(v["hash"], v["current"]) for v in versions] == [(digest, True)]
    assert set(versions[0]["approved"]) == {ANN.public.raw, BEN.public.raw}
    assert code_of(lambda: client.history("lab", "none")) == "release.policy-unknown"


@pytest.mark.spec("CERT-3")
def test_no_policy_is_called_clients(bench: ServiceBench) -> None:
    """Its workloads would be named like enrolled clients."""
    with pytest.raises(MalformedError) as e:
        bench.apply(policy_text(bench, name="clients"))
    assert e.value.code == "policy.invalid"


def test_applying_alone_says_when_others_must_approve(bench: ServiceBench, lab: bytes) -> None:
    """The client that wants it in force is told; the proposal waits."""
    del lab
    with pytest.raises(ReleaseDeniedError) as e:
        bench.client(ANN).apply_policy(canonical(bench))
    assert e.value.code == "approval.pending"
    assert len(bench.client(BEN).pending()) == 1


def test_proposals_and_charters_survive_a_restart(bench: ServiceBench, lab: bytes) -> None:
    """They are rows of the state."""
    del lab
    wanted = canonical(bench)
    bench.client(ANN).propose_policy(wanted)
    bench.restart()
    assert bench.client(BEN).propose_policy(wanted).in_force
