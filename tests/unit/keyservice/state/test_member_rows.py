"""Rows of jobs and members."""

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.member_records import Job, Member
from cloister.keyservice.state import member_rows
from cloister.wire import encode

JOB = Job("lab", "digits", b"p" * 32, 3, {"train": 2}, 100)
MEMBER = Member("train", "a", "spiffe://x", b"p" * 32, b"e" * 32, b"r" * 32, b"k" * 32, 1, 2, 3)


@pytest.mark.parametrize("job", [JOB, Job("lab", "digits", b"p" * 32, 4, {}, None)])
def test_jobs_round_trip(job: Job) -> None:
    """What is written is read."""
    assert member_rows.job_from_row(member_rows.job_to_row(job)) == job


def test_members_round_trip() -> None:
    """What is written is read."""
    assert member_rows.member_from_row(member_rows.member_to_row(MEMBER)) == MEMBER


def test_an_unknown_field_is_refused() -> None:
    """A row of another version is not guessed at."""
    with pytest.raises(MalformedError) as e:
        member_rows.job_from_row(encode({"namespace": "lab"}))
    assert e.value.code == "message.malformed"


def test_no_two_names_share_a_row() -> None:
    """Keys keep their parts apart."""
    assert member_rows.member_key("a", "bc") != member_rows.member_key("ab", "c")
    assert member_rows.job_key("a", "bc") != member_rows.job_key("ab", "c")
    assert member_rows.members_table("lab", "a") != member_rows.members_table("la", "ba")
    assert len(member_rows.expelled_key(b"p" * 32, b"k" * 32)) == 64
