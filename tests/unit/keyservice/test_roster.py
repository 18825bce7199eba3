"""The roster and its check offline."""

import dataclasses

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, MalformedError
from cloister.keyservice.member_records import Job, Member
from cloister.keyservice.roster import Expected, Roster, SignedRoster, make_roster

KEY = SigningKey(b"\x01" * 32)
POLICY = b"p" * 32
JOB = Job("lab", "digits", POLICY, 4, {"train": 2, "serve": 1}, 150)


def member(role: str, instance: str, **changes: object) -> Member:
    """A member of the job."""
    uri = f"spiffe://example.test/lab/digits/{role}/{instance}"
    facts = Member(role, instance, uri, POLICY, b"e" * 32, b"r" * 32, b"k" * 32, 10, 20, 150)
    return dataclasses.replace(facts, **changes)


MEMBERS = [member("train", "b"), member("train", "a"), member("serve", "z")]
EXPECTED = Expected(
    service=KEY.public,
    domain="example.test",
    namespace="lab",
    name="digits",
    of="",
    epoch=4,
    at=100,
    max_age_s=60,
)


def roster(of: str = "") -> Roster:
    """The job's roster at 100."""
    return make_roster(JOB, MEMBERS, domain="example.test", of=of, epoch_at=100)


@pytest.mark.spec("MEM-30", "MEM-31", "MEM-32")
def test_a_roster_round_trips_in_order() -> None:
    """By role, then instance; one role alone where it was asked for."""
    signed = roster().signed(KEY)
    found = SignedRoster.from_bytes(signed.to_bytes()).verify(EXPECTED)
    assert [each.instance for each in found.members] == ["z", "a", "b"]
    assert (found.epoch, found.policy) == (4, POLICY)
    part = roster("serve").signed(KEY).verify(dataclasses.replace(EXPECTED, of="serve"))
    assert [each.instance for each in part.members] == ["z"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(
            {"service": SigningKey(b"\x02" * 32).public},
            "identity.keyservice",
            marks=pytest.mark.spec("MEM-35"),
        ),
        pytest.param({"domain": "other.test"}, "roster.foreign", marks=pytest.mark.spec("MEM-36")),
        ({"namespace": "ward"}, "roster.foreign"),
        ({"name": "letters"}, "roster.foreign"),
        ({"of": "train"}, "roster.foreign"),
        pytest.param({"epoch": 5}, "roster.stale", marks=pytest.mark.spec("MEM-37")),
        pytest.param({"at": 161}, "roster.stale", marks=pytest.mark.spec("MEM-38")),
        ({"at": -201}, "roster.stale"),
    ],
)
def test_another_roster_than_is_meant_is_refused(change: dict[str, object], code: str) -> None:
    """Signer, domain, job, role, epoch and age, each by its code."""
    with pytest.raises(CloisterError) as e:
        roster().signed(KEY).verify(dataclasses.replace(EXPECTED, **change))
    assert e.value.code == code


@pytest.mark.spec("MEM-32")
@pytest.mark.parametrize(
    "members",
    [
        (member("train", "b"), member("train", "a")),
        (member("train", "a"), member("train", "a")),
        (member("train", "a", expires=100),),
        (member("train", "a", identity="spiffe://example.test/lab/digits/train/b"),),
        (member("train", "a", policy=b"q" * 32),),
        tuple(member("train", f"{number:04}") for number in range(1001)),
    ],
)
def test_a_roster_that_contradicts_itself_does_not_exist(members: tuple[Member, ...]) -> None:
    """Order, repetition, lapsed members, borrowed names, another version, too many."""
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(roster(), members=members)
    assert e.value.code == "message.malformed"


def test_a_roster_shows_the_role_that_it_says() -> None:
    """Members of other roles have no place there."""
    with pytest.raises(MalformedError):
        dataclasses.replace(roster(), of="train")
