"""Approvals: each refusal by its code, and the file that a person carries."""

import dataclasses

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.approvals import (
    MAX_APPROVAL_BYTES,
    NO_PREDECESSOR,
    Approval,
    Subject,
    require_approval,
    require_distinct,
)
from cloister.wire import decode, encode

KEY = SigningKey(b"a" * 32)
SUBJECT = Subject(b"s" * 32, "policy", "lab/a", b"h" * 32, NO_PREDECESSOR)
APPROVAL = Approval.make(SUBJECT, key=KEY, expires_at=1000)


def refused(approval: Approval, subject: Subject = SUBJECT, at: int = 1000) -> str:
    """The code of the refusal."""
    with pytest.raises(ReleaseDeniedError) as e:
        require_approval(approval, subject, approvers={KEY.public.raw}, at=at)
    return e.value.code


@pytest.mark.spec("PA-20", "PA-21", "PA-23", "PA-24", "PA-25")
def test_a_good_approval_counts_until_its_last_second() -> None:
    """By an approver, for this subject, at this service."""
    require_approval(APPROVAL, SUBJECT, approvers={KEY.public.raw}, at=1000)
    assert refused(APPROVAL, at=1001) == "approval.expired"


@pytest.mark.spec("PA-23")
@pytest.mark.parametrize(
    "change",
    [
        {"service": b"t" * 32},
        {"kind": "charter"},
        {"kind": "reset"},
        {"namespace": "lab"},
        {"hash": b"i" * 32},
        {"predecessor": b"p" * 32},
    ],
)
def test_it_counts_for_nothing_else(change: dict[str, object]) -> None:
    """Another service, kind, namespace, subject or predecessor; changing it breaks the seal."""
    other = dataclasses.replace(SUBJECT, **change)
    assert refused(APPROVAL, other) == "approval.invalid"
    assert refused(dataclasses.replace(APPROVAL, subject=other), other) == "approval.invalid"


@pytest.mark.spec("PA-21", "PA-23")
def test_a_signature_that_does_not_hold_is_refused() -> None:
    """One bit, a longer life, or somebody else's name."""
    flipped = bytes([APPROVAL.signature[0] ^ 1]) + APPROVAL.signature[1:]
    for change in (
        {"signature": flipped},
        {"expires_at": 2000},
        {"approver": SigningKey(b"b" * 32).public.raw},
    ):
        assert refused(dataclasses.replace(APPROVAL, **change)) == "approval.invalid"


@pytest.mark.spec("PA-24")
def test_who_is_not_asked_does_not_count() -> None:
    """However good the signature."""
    stranger = Approval.make(SUBJECT, key=SigningKey(b"b" * 32), expires_at=1000)
    assert refused(stranger) == "approval.not-approver"


@pytest.mark.spec("PA-27")
def test_one_approver_twice_is_refused() -> None:
    """Even with two different ends."""
    with pytest.raises(ReleaseDeniedError) as e:
        require_distinct((APPROVAL, Approval.make(SUBJECT, key=KEY, expires_at=1001)))
    assert e.value.code == "approval.repeated"


@pytest.mark.spec("PA-22")
def test_the_file_reads_back_with_any_systems_line_ends() -> None:
    """And in no other form."""
    text = APPROVAL.to_text().encode()
    assert Approval.from_text(text) == APPROVAL
    assert Approval.from_text(text.replace(b"\n", b"\r\n")) == APPROVAL
    joined = text.replace(b"\n", b"").replace(b"-----BEGIN", b"\n-----BEGIN")
    for bad in (
        b"",
        text[:-40],
        text + text,
        b" " + text,
        joined,
        text.replace(b"APPROVAL", b"CERTIFICATE"),
        text.replace(b"A", b"\xff", 1),
        b"x" * (2 * MAX_APPROVAL_BYTES + 1),
    ):
        with pytest.raises(MalformedError) as e:
            Approval.from_text(bad)
        assert e.value.code == "approval.malformed"


@pytest.mark.spec("PA-20")
def test_bytes_are_read_strictly() -> None:
    """Unknown, missing and wrong fields, another version, what is too long."""
    outer = dict(decode(APPROVAL.to_bytes(), max_bytes=4096))
    body = dict(decode(outer["body"], max_bytes=4096))
    changes = (
        body | {"more": 1},
        body | {"version": 2},
        body | {"kind": "lease"},
        body | {"namespace": "Lab"},
        body | {"service": b"s"},
        body | {"expires_at": 0},
        body | {"expires_at": 2**41},
        {name: value for name, value in body.items() if name != "kind"},
    )
    for changed in changes:
        with pytest.raises(MalformedError) as e:
            Approval.from_bytes(encode(outer | {"body": encode(changed)}))
        assert e.value.code == "approval.malformed"
    for bad in (b"", b"\xa0", APPROVAL.to_bytes() + b"\0", bytes(MAX_APPROVAL_BYTES + 1)):
        with pytest.raises(MalformedError) as e:
            Approval.from_bytes(bad)
        assert e.value.code == "approval.malformed"
