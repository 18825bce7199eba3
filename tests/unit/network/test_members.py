"""A certificate says who somebody is; the roster says whether he is in the job now."""

import dataclasses

import pytest

from cloister.crypto.x509 import Identity, PeerCertificate
from cloister.errors import EvidenceError, IdentityError
from cloister.network.addresses import Task
from cloister.network.members import Members, task_of

POLICY = bytes(range(32))
OWN = Identity("d.example", "lab/a", "digits", "worker", "0.00aa11bb")
PEER = Identity("d.example", "lab/a", "digits", "ps", "3.22cc33dd")
CERTIFICATE = PeerCertificate(
    identity=PEER,
    policy_hash=POLICY,
    hardware_rooted=False,
    not_before=0,
    not_after=10_000,
    spki_digest=bytes(32),
)
NOBODY = Members.nobody(OWN, POLICY)
MEMBERS = NOBODY.renewed({OWN.uri: 500, PEER.uri: 600}, epoch=4, fetched=1000.0)


def refusal(members: Members, *, at: int = 100, now: float = 1001.0, **changes: object) -> str:
    """The code with which a peer is refused."""
    identity = dataclasses.replace(PEER, **{k: v for k, v in changes.items() if k != "policy_hash"})
    policy_hash = changes.get("policy_hash", POLICY)
    assert isinstance(policy_hash, bytes)
    peer = dataclasses.replace(CERTIFICATE, identity=identity, policy_hash=policy_hash)
    with pytest.raises(IdentityError) as caught:
        members.judge(peer, at=at, now=now)
    return caught.value.code


@pytest.mark.spec("RLY-3", "RLY-5")
def test_a_member_is_the_task_that_its_name_says() -> None:
    """While the roster is young and has not ended for it."""
    assert MEMBERS.judge(CERTIFICATE, at=599, now=1120.0) == Task("ps", 3)


@pytest.mark.spec("RLY-3")
@pytest.mark.parametrize(
    "changes",
    [
        {"trust_domain": "e.example"},
        {"namespace": "lab"},
        {"policy": "letters"},
        {"policy_hash": bytes(32)},
        {"role": "worker", "instance": "0.00aa11bb"},
        {"instance": "run-3"},
    ],
)
def test_another_job_or_policy_is_no_peer(changes: dict[str, object]) -> None:
    """Nor are we ourselves, nor somebody without a number."""
    assert refusal(MEMBERS, **changes) == "identity.peer"


@pytest.mark.spec("RLY-5")
@pytest.mark.parametrize(
    ("at", "now"), [(600, 1001.0), (100, 1120.001), (100, 999.9), (100, float("inf"))]
)
def test_time_ends_membership(at: int, now: float) -> None:
    """The member's own, or that of the roster; a clock that went back counts for nothing too."""
    assert refusal(MEMBERS, at=at, now=now) == "identity.member"


@pytest.mark.spec("RLY-5")
def test_who_is_not_on_the_roster_is_not_a_member() -> None:
    """Another instance of the same index, or anybody before the first roster."""
    assert refusal(MEMBERS, instance="3.00000000") == "identity.member"
    assert refusal(NOBODY, now=0.0) == "identity.member"
    assert refusal(NOBODY, now=float("-inf")) == "identity.member"


@pytest.mark.spec("RLY-5")
def test_of_two_with_one_index_neither_is() -> None:
    """Others stay."""
    twin = dataclasses.replace(PEER, instance="3.00000000")
    other = dataclasses.replace(PEER, instance="4.00000000")
    nameless = dataclasses.replace(PEER, instance="run-3")
    expires = dict(MEMBERS.expires) | {each.uri: 600 for each in (twin, other, nameless)}
    doubled = MEMBERS.renewed({**expires, "not a name": 600}, epoch=5, fetched=1001.0)
    assert refusal(doubled) == "identity.member"
    assert refusal(doubled, instance=twin.instance) == "identity.member"
    good = dataclasses.replace(CERTIFICATE, identity=other)
    assert doubled.judge(good, at=100, now=1001.0) == Task("ps", 4)


def test_neither_epoch_nor_time_goes_back() -> None:
    """The same epoch is fine, and makes the roster young again."""
    with pytest.raises(EvidenceError, match="epoch 3"):
        MEMBERS.renewed({}, epoch=3, fetched=2000.0)
    with pytest.raises(EvidenceError):
        MEMBERS.renewed({}, epoch=5, fetched=999.0)
    younger = MEMBERS.renewed(MEMBERS.expires, epoch=4, fetched=1100.0)
    younger.require_live(PEER, at=100, now=1220.0)


@pytest.mark.spec("RLY-4")
@pytest.mark.parametrize("index", [0, 7, 42, 999])
def test_an_index_is_read(index: int) -> None:
    """Each below a thousand."""
    found = task_of(dataclasses.replace(PEER, instance=f"{index}.{'0' * 32}"))
    assert found == Task("ps", index)
