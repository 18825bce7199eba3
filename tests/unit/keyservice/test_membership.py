"""The rules of membership: what changes the epoch, and who is let in."""

import dataclasses

import pytest

from cloister.errors import ReleaseDeniedError
from cloister.keyservice.member_records import Job, Member
from cloister.keyservice.membership import (
    MAX_MEMBERS,
    admit,
    displaced,
    has_lapses,
    lapse,
    new_job,
    part,
)

POLICY = b"p" * 32
NEWER = b"q" * 32
EMPTY = new_job("lab", "digits", policy=POLICY)


def member(instance: str, *, key: bytes = b"k", expires: int = 100, role: str = "train") -> Member:
    """Somebody whom the policy admits."""
    uri = f"spiffe://example.test/lab/digits/{role}/{instance}"
    return Member(role, instance, uri, POLICY, b"e" * 32, b"r" * 32, key * 32, 10, 10, expires)


def join(job: Job, candidate: Member, **changes: object) -> Job:
    """Admit somebody who is not there yet."""
    arguments = {"present": None, "gone": (), "expelled": False, "maximum": None} | changes
    return admit(job, candidate, **arguments).job


def refused(job: Job, candidate: Member, **changes: object) -> str:
    """Admit, expecting a refusal."""
    with pytest.raises(ReleaseDeniedError) as e:
        join(job, candidate, **changes)
    return e.value.code


@pytest.mark.spec("MEM-1", "MEM-2")
def test_a_join_raises_the_epoch() -> None:
    """By one, from none."""
    assert EMPTY.epoch == 0
    first = join(EMPTY, member("a"))
    second = join(first, member("b", key=b"l", expires=50))
    assert (first.epoch, second.epoch) == (1, 2)
    assert second.live == {"train": 2}
    assert (first.soonest, second.soonest) == (100, 50)


@pytest.mark.spec("MEM-3")
def test_a_renewal_leaves_the_epoch() -> None:
    """New evidence and times, and the day of joining stays."""
    job = join(EMPTY, member("a"))
    again = dataclasses.replace(member("a", expires=300), since=90, renewed=90, evidence=b"f" * 32)
    admission = admit(job, again, present=member("a"), gone=(), expelled=False, maximum=1)
    assert admission.job == job
    assert admission.member == dataclasses.replace(again, since=10)


@pytest.mark.spec("MEM-11")
def test_a_live_members_name_is_taken() -> None:
    """Another key under the same role and instance."""
    job = join(EMPTY, member("a"))
    assert refused(job, member("a", key=b"l"), present=member("a")) == "release.instance-taken"


@pytest.mark.spec("MEM-10")
def test_an_expelled_key_is_refused_before_all_else() -> None:
    """Also where its name is taken and the job is full."""
    job = join(EMPTY, member("a"))
    stranger = member("a", key=b"l")
    code = refused(job, stranger, present=member("a"), expelled=True, maximum=1)
    assert code == "release.expelled"


@pytest.mark.spec("MEM-12")
def test_a_role_has_as_many_members_as_its_policy_allows() -> None:
    """And another role's members do not count."""
    job = join(join(EMPTY, member("s", role="serve")), member("a"), maximum=1)
    assert refused(job, member("b", key=b"l"), maximum=1) == "release.too-many"
    assert join(job, member("b", key=b"l"), maximum=2).live == {"serve": 1, "train": 2}


@pytest.mark.spec("MEM-13")
def test_a_job_holds_so_many_members_and_no_more() -> None:
    """Whatever the policy says, over all roles."""
    job = dataclasses.replace(EMPTY, live={"serve": 1, "train": MAX_MEMBERS - 1}, epoch=7)
    assert refused(job, member("b")) == "release.too-many"


@pytest.mark.spec("MEM-5", "MEM-7")
def test_who_lapses_goes_in_one_step() -> None:
    """A certificate that ends now has ended; the job knows when to look again."""
    members = [member("a", expires=100), member("b", expires=101), member("c", expires=90)]
    job = dataclasses.replace(EMPTY, live={"train": 3}, epoch=3, soonest=90)
    assert not has_lapses(job, policy=POLICY, at=89)
    assert has_lapses(job, policy=POLICY, at=90)
    departure = lapse(job, members, policy=POLICY, at=100)
    assert [each.instance for each in departure.gone] == ["a", "c"]
    assert (departure.job.epoch, departure.job.live) == (4, {"train": 1})
    assert departure.job.soonest == 101


@pytest.mark.spec("MEM-6")
def test_a_new_version_of_the_policy_takes_everybody_out() -> None:
    """At once, whatever their certificates say."""
    job = join(EMPTY, member("a"))
    assert has_lapses(job, policy=NEWER, at=11)
    departure = lapse(job, [member("a")], policy=NEWER, at=11)
    assert [each.instance for each in departure.gone] == ["a"]
    assert departure.job == Job("lab", "digits", NEWER, 2, {}, None)


def test_looking_too_early_changes_no_epoch() -> None:
    """The time that a job remembers may be that of a member that has renewed since."""
    job = dataclasses.replace(join(EMPTY, member("a")), soonest=50)
    departure = lapse(job, [member("a")], policy=POLICY, at=60)
    assert departure.gone == ()
    assert (departure.job.epoch, departure.job.soonest) == (1, 100)


@pytest.mark.spec("MEM-4")
def test_who_leaves_is_gone_and_the_epoch_rises() -> None:
    """Several at once are one step; none is no step."""
    job = join(join(EMPTY, member("a")), member("b", key=b"l"))
    left = part(job, [member("a")]).job
    assert (left.epoch, left.live, left.soonest) == (3, {"train": 1}, 100)
    nobody = part(job, [member("a"), member("b")]).job
    assert (nobody.epoch, nobody.live, nobody.soonest) == (3, {}, None)
    assert part(job, []).job.epoch == job.epoch


ZERO, OTHER_ZERO, ONE = (f"{index}.{digit * 16}" for index, digit in ((0, "a"), (0, "b"), (1, "c")))


@pytest.mark.spec("MEM-18")
def test_a_newcomer_displaces_whoever_has_its_index() -> None:
    """Of its own role, under another name; nobody where instances are not numbered."""
    others = [member(ZERO), member(ONE, key=b"l"), member(OTHER_ZERO, role="serve"), member("0")]
    newcomer = member(OTHER_ZERO, key=b"n")
    assert displaced(others, newcomer, index=0) == (others[0],)
    assert displaced(others, newcomer, index=None) == ()
    assert displaced(others, member(ZERO, key=b"n"), index=0) == ()
    assert displaced(others, member(f"2.{'d' * 16}"), index=2) == ()


@pytest.mark.spec("MEM-18")
def test_taking_a_place_needs_no_free_one() -> None:
    """One is out and one is in: two steps of the epoch, and as many members as before."""
    job = join(EMPTY, member(ZERO))
    newcomer = member(OTHER_ZERO, key=b"n", expires=200)
    admission = admit(job, newcomer, present=None, gone=(member(ZERO),), expelled=False, maximum=1)
    assert (admission.job.epoch, admission.job.live) == (job.epoch + 2, {"train": 1})
    assert (admission.gone, admission.member) == ((member(ZERO),), newcomer)
    assert admission.job.soonest == 200
    assert refused(job, newcomer, maximum=1) == "release.too-many"


@pytest.mark.spec("MEM-10", "MEM-11", "MEM-18")
def test_whoever_is_refused_displaces_nobody() -> None:
    """An expelled key, and another key under the live member's own name."""
    job = join(EMPTY, member(ZERO))
    gone = (member(ZERO),)
    newcomer = member(OTHER_ZERO, key=b"n")
    assert refused(job, newcomer, gone=gone, expelled=True) == "release.expelled"
    same_name = member(ZERO, key=b"n")
    assert refused(job, same_name, present=member(ZERO)) == "release.instance-taken"
