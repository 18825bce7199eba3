"""A member's requests, and the secret that proves it."""

import dataclasses

import pytest

from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.member_messages import (
    MemberGrant,
    MemberRequest,
    RefusalNotice,
    SealedMemberRequest,
    TokenDemand,
    member_secret,
)
from cloister.keyservice.member_records import Job, Member
from cloister.wire import Fields

REQUEST = MemberRequest(
    service=b"s" * 32,
    nonce=b"n" * 32,
    namespace="lab",
    name="digits",
    role="train",
    instance="run-1",
    operation="roster",
    of="",
)
DEMAND = TokenDemand("https://rp.example", b"a" * 16, b"result")
GRANT = MemberGrant("example.test", "lab", "digits", 3, 100, b"x" * 32)
JOB = Job("lab", "digits", b"p" * 32, 3, {"train": 2}, 100)
MEMBER = Member("train", "a", "spiffe://x", b"p" * 32, b"e" * 32, b"r" * 32, b"k" * 32, 1, 2, 3)


@pytest.mark.spec("MEM-20")
def test_messages_round_trip() -> None:
    """What was written is read."""
    leave = dataclasses.replace(REQUEST, operation="leave", of=None)
    token = dataclasses.replace(REQUEST, operation="token", of=None, token=DEMAND)
    refusals = dataclasses.replace(REQUEST, operation="refusals", of=None, since=0)
    for request in (REQUEST, leave, token, refusals, dataclasses.replace(REQUEST, of="serve")):
        assert MemberRequest.from_bytes(request.to_bytes()) == request
    sealed = REQUEST.sealed(b"x" * 32)
    assert SealedMemberRequest.from_bytes(sealed.to_bytes()) == sealed
    sealed.require(b"x" * 32)


@pytest.mark.parametrize(
    "change",
    [
        {"service": b""},
        {"nonce": b"n" * 31},
        {"namespace": "a//b"},
        {"namespace": "a/b/c/d/e"},
        {"name": ""},
        {"role": ".."},
        {"instance": "a b"},
        {"operation": "expel"},
        {"operation": "leave"},
        {"of": None},
        {"of": "a/b"},
        {"token": DEMAND},
        {"operation": "token", "of": None},
        {"operation": "refusals", "of": None},
        {"operation": "refusals", "since": 1},
        {"operation": "refusals", "of": None, "since": -1},
        {"since": 1},
    ],
)
def test_invalid_requests_cannot_be_built(change: dict[str, object]) -> None:
    """A message with a wrong part does not exist."""
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(REQUEST, **change)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("MEM-50")
@pytest.mark.parametrize(
    "change",
    [
        {"audience": ""},
        {"audience": "a" * 256},
        {"answers": b"a" * 7},
        {"answers": b"a" * 65},
        {"result": bytes(262145)},
    ],
)
def test_a_token_that_nobody_could_use_cannot_be_asked_for(change: dict[str, object]) -> None:
    """Audience, nonce and result have bounds."""
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(DEMAND, **change)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("MEM-25")
def test_a_notice_has_four_facts_and_no_more() -> None:
    """What a rule wanted would make the list unreadable."""
    notice = RefusalNotice(7, 100, "train", "appraisal.code")
    value = notice.to_value()
    assert RefusalNotice.from_value(value) == notice
    for wrong in ({"expected": "x"}, {"role": "a b"}, {"at": -1}, {"code": "c" * 65}):
        with pytest.raises(MalformedError):
            RefusalNotice.from_value({**value, **wrong})


@pytest.mark.spec("MEM-16")
def test_a_grant_round_trips_and_shows_no_secret() -> None:
    """As part of the bundle."""
    assert MemberGrant.from_fields(Fields(GRANT.to_value(), what="member")) == GRANT
    assert "x" * 4 not in repr(GRANT)
    assert repr(b"x" * 4) not in repr(GRANT)


@pytest.mark.parametrize("change", [{"secret": b"x" * 31}, {"epoch": 0}])
def test_invalid_grants_cannot_be_built(change: dict[str, object]) -> None:
    """A membership has a secret and an epoch."""
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(GRANT, **change)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("MEM-24")
@pytest.mark.parametrize(
    "change",
    [{"role": "serve"}, {"instance": "b"}, {"policy": b"q" * 32}, {"key_digest": b"l" * 32}],
)
def test_each_membership_has_a_secret_of_its_own(change: dict[str, object]) -> None:
    """Another role, name, version or key is another secret; a renewal is none."""
    own = member_secret(b"s" * 32, JOB, MEMBER)
    assert member_secret(b"s" * 32, JOB, dataclasses.replace(MEMBER, **change)) != own
    assert member_secret(b"s" * 32, dataclasses.replace(JOB, name="other"), MEMBER) != own
    renewed = dataclasses.replace(MEMBER, evidence=b"f" * 32, renewed=9, expires=10)
    assert member_secret(b"s" * 32, JOB, renewed) == own


@pytest.mark.spec("MEM-22")
def test_another_secret_is_refused() -> None:
    """With the one refusal that everybody gets."""
    with pytest.raises(ReleaseDeniedError) as e:
        REQUEST.sealed(b"x" * 32).require(b"y" * 32)
    assert e.value.code == "release.not-member"
