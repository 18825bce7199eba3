"""A change of the state key: what is signed, and each reason for which it is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.approvals import Approval
from cloister.keyservice.governance import Governance
from cloister.keyservice.policy.model import Board
from cloister.keyservice.rekey import Rekey, require_rekey, require_since_change
from cloister.keyservice.reset import Reset
from cloister.keyservice.state.key_rows import KeyChange
from cloister.keyservice.state.record import Head

KEYS = [SigningKey(bytes([n]) * 32) for n in range(1, 5)]
SERVICE, PLATFORM, OTHER = (SigningKey(bytes([n]) * 32).public for n in (10, 11, 12))
STATEMENT = Rekey(SERVICE, PLATFORM, 1_800_000_000)
BOARD = Board(approvers=tuple(key.public.text for key in KEYS[:3]), threshold=2, timeout=3600)
GOVERNANCE = Governance("/", BOARD, frozenset(), None)
NOW = STATEMENT.at + 1
LATER = replace(STATEMENT, at=STATEMENT.at + 1)


def approvals(*keys: SigningKey, statement: Rekey = STATEMENT) -> list[Approval]:
    """Signatures over a statement."""
    return [Approval.make(statement.subject, key=key, expires_at=NOW) for key in keys]


def judge(given: list[Approval], statement: Rekey = STATEMENT, **changes: object) -> bool:
    """Ask, on the platform of the statement, whose key was never changed."""
    facts: dict[str, object] = {
        "service": SERVICE, "platform": PLATFORM, "newest": None, "at": NOW,
    }  # fmt: skip
    return require_rekey(statement, given, governance=GOVERNANCE, **(facts | changes))


def refused(given: list[Approval], statement: Rekey = STATEMENT, **changes: object) -> str:
    """The code of the refusal."""
    with pytest.raises(ReleaseDeniedError) as e:
        judge(given, statement, **changes)
    return e.value.code


def changed_by(statement: Rekey) -> KeyChange:
    """What the state says when a statement was carried out."""
    return KeyChange(b"n" * 32, statement.subject.hash, statement.at)


@pytest.mark.spec("BR-10", "BR-11", "BR-50")
def test_a_statement_is_read_back() -> None:
    """From the file that approvers read, and signed as what it is."""
    assert Rekey.from_text(STATEMENT.to_text()) == STATEMENT
    assert STATEMENT.subject.kind == "rekey"
    assert LATER.subject != STATEMENT.subject
    with pytest.raises(MalformedError):
        Rekey.from_text(STATEMENT.to_text().replace(b'"at"', b'"more": 1, "at"'))
    with pytest.raises(MalformedError):
        Rekey.from_text(Reset(SERVICE, PLATFORM, 1, Head(1, bytes(32)), 1).to_text())


@pytest.mark.spec("BR-51")
def test_enough_approvals_of_exactly_this_are_needed() -> None:
    """Of another service, platform or moment, or of somebody else, they do not count."""
    two = approvals(*KEYS[:2])
    assert judge(two)
    assert refused([]) == "approval.pending"
    assert refused(two[:1]) == "approval.pending"
    assert refused([two[0], two[0]]) == "approval.repeated"
    assert refused([two[0], *approvals(KEYS[3])]) == "approval.not-approver"
    assert refused(two, LATER) == "approval.invalid"
    assert refused(two, at=NOW + 1) == "approval.expired"
    assert refused(two, service=OTHER) == "approval.invalid"
    assert refused(two, platform=OTHER) == "approval.invalid"


@pytest.mark.spec("BR-52")
def test_a_change_is_made_once() -> None:
    """The newest again is nothing to do; an earlier one, or one of the future, is refused."""
    two = approvals(*KEYS[:2])
    assert not judge(two, newest=changed_by(STATEMENT))
    assert judge(approvals(*KEYS[:2], statement=LATER), LATER, newest=changed_by(STATEMENT))
    assert refused(two, newest=changed_by(LATER)) == "approval.invalid"
    assert judge(two, at=STATEMENT.at - 300)
    assert refused(two, at=STATEMENT.at - 301) == "approval.invalid"
    same = replace(changed_by(STATEMENT), statement=b"o" * 32)
    assert refused(two, newest=same) == "approval.invalid"


@pytest.mark.spec("BR-53")
def test_what_was_proposed_before_a_change_does_not_give_the_new_key_away() -> None:
    """A plan or an admission from before names people and platforms of before."""
    newest = changed_by(STATEMENT)
    require_since_change(None, 0)
    require_since_change(newest, STATEMENT.at)
    with pytest.raises(ReleaseDeniedError) as e:
        require_since_change(newest, STATEMENT.at - 1)
    assert e.value.code == "approval.invalid"
