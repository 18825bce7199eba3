"""Rows of charters and proposals read back, and nothing else does."""

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import MalformedError
from cloister.keyservice.approvals import NO_PREDECESSOR, Approval, Subject
from cloister.keyservice.state import tenancy_rows as rows
from cloister.keyservice.tenancy_records import CharterRecord, Proposal
from cloister.wire import decode, encode

SUBJECT = Subject(b"s" * 32, "policy", "lab/a", b"h" * 32, NO_PREDECESSOR)
APPROVAL = Approval.make(SUBJECT, key=SigningKey(b"k" * 32), expires_at=9)


def test_rows_read_back() -> None:
    """A charter with and without an authority, a proposal with and without approvals."""
    for ca in (b"", b"secret"):
        record = CharterRecord("lab", b"h" * 32, b"canonical", 5, ca, ca)
        assert rows.charter_from_row("lab", rows.charter_to_row(record)) == record
        assert "secret" not in repr(record)
    for approvals in ((), (APPROVAL,)):
        proposal = Proposal(SUBJECT, "digits", b"c" * 100_000, b"a" * 32, 7, approvals)
        assert rows.proposal_from_row(rows.proposal_to_row(proposal)) == proposal


def test_a_row_with_anything_else_is_refused() -> None:
    """Fields are exact, and approvals are approvals."""
    row = rows.proposal_to_row(Proposal(SUBJECT, "digits", b"c", b"a" * 32, 7, ()))
    good = decode(row, max_bytes=4096)
    assert isinstance(good, dict)
    for change in ({"more": 1}, {"approvals": [1]}, {"approvals": [b"x" * 2000]}, {"kind": "x"}):
        with pytest.raises(MalformedError):
            rows.proposal_from_row(encode(good | change))


def test_proposals_of_different_places_have_different_keys() -> None:
    """Kind, namespace, name and hash."""
    other = Subject(b"s" * 32, "policy", "lab", b"h" * 32, NO_PREDECESSOR)
    keys = {rows.proposal_key(SUBJECT, "a"), rows.proposal_key(SUBJECT, "b")}
    assert len(keys | {rows.proposal_key(other, "a")}) == 3
