"""A reset: what is signed, and each reason for which it is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.approvals import Approval
from cloister.keyservice.governance import Governance
from cloister.keyservice.policy.model import Board
from cloister.keyservice.reset import Reset, require_reset
from cloister.keyservice.state.record import Head

KEYS = [SigningKey(bytes([n]) * 32) for n in range(1, 5)]
SERVICE, PLATFORM, OTHER = (SigningKey(bytes([n]) * 32).public for n in (10, 11, 12))
HEAD = Head(100, b"h" * 32)
STATEMENT = Reset(SERVICE, PLATFORM, 120, HEAD, 1_800_000_000)
BOARD = Board(approvers=tuple(key.public.text for key in KEYS[:3]), threshold=2, timeout=3600)
GOVERNANCE = Governance("/", BOARD, frozenset(), None)


def approvals(*keys: SigningKey, statement: Reset = STATEMENT, until: int = 50) -> list[Approval]:
    """Signatures over a statement."""
    return [Approval.make(statement.subject, key=key, expires_at=until) for key in keys]


def judge(given: list[Approval], statement: Reset = STATEMENT, **changes: object) -> None:
    """Ask, on the platform of the statement, which has seen what is given up."""
    facts: dict[str, object] = {
        "service": SERVICE, "platform": PLATFORM, "head": HEAD, "seen": 120, "taken": 0, "at": 50,
    }  # fmt: skip
    require_reset(statement, given, governance=GOVERNANCE, **(facts | changes))


def refused(given: list[Approval], statement: Reset = STATEMENT, **changes: object) -> str:
    """The code of the refusal."""
    with pytest.raises(ReleaseDeniedError) as e:
        judge(given, statement, **changes)
    return e.value.code


@pytest.mark.spec("BR-10", "BR-11")
def test_a_statement_is_read_back() -> None:
    """From the file that approvers read."""
    assert Reset.from_text(STATEMENT.to_text()) == STATEMENT
    with pytest.raises(MalformedError):
        Reset.from_text(STATEMENT.to_text().replace(b"given_up", b"given"))
    with pytest.raises(MalformedError):
        Reset.from_text(STATEMENT.to_text().replace(b'"at"', b'"more": 1, "at"'))


@pytest.mark.spec("BR-16")
def test_enough_approvals_are_enough() -> None:
    """Any two of the three, or all."""
    judge(approvals(*KEYS[:2]))
    judge(approvals(*KEYS[1:3]))
    judge(approvals(*KEYS[:3]))


@pytest.mark.spec("BR-16")
def test_one_too_few_is_refused() -> None:
    """As is none, and one twice."""
    assert refused([]) == "approval.pending"
    assert refused(approvals(KEYS[0])) == "approval.pending"
    assert refused(approvals(KEYS[0], KEYS[0])) == "approval.repeated"


@pytest.mark.spec("BR-16")
def test_an_approval_that_does_not_count_refuses_all() -> None:
    """By somebody else, forged, over, or of another kind."""
    assert refused(approvals(KEYS[0], KEYS[3])) == "approval.not-approver"
    forged = replace(approvals(KEYS[0])[0], approver=KEYS[1].public.raw)
    assert refused([*approvals(KEYS[2]), forged]) == "approval.invalid"
    assert refused(approvals(*KEYS[:2], until=49)) == "approval.expired"
    subject = replace(STATEMENT.subject, kind="charter")
    other = [Approval.make(subject, key=key, expires_at=50) for key in KEYS[:2]]
    assert refused(other) == "approval.invalid"


@pytest.mark.spec("BR-14")
@pytest.mark.parametrize(
    "change",
    [
        {"service": OTHER},
        {"platform": OTHER},
        {"head": Head(99, b"h" * 32)},
        {"head": Head(100, b"i" * 32)},
    ],
)
def test_another_step_is_refused(change: dict[str, object]) -> None:
    """Whether the statement says so, or the machine is another one than it says."""
    assert refused(approvals(*KEYS[:2]), **change) == "approval.invalid"
    statement = replace(STATEMENT, **change)
    assert refused(approvals(*KEYS[:2], statement=statement), statement) == "approval.invalid"


@pytest.mark.spec("BR-14")
def test_signatures_over_another_statement_do_not_count() -> None:
    """Though it differs in one number only."""
    assert refused(approvals(*KEYS[:2], statement=replace(STATEMENT, given_up=119))) == (
        "approval.invalid"
    )


@pytest.mark.spec("BR-15")
def test_it_is_used_once() -> None:
    """The counter is beyond it afterwards; only what was cut off goes on."""
    assert refused(approvals(*KEYS[:2]), seen=121) == "approval.invalid"
    assert refused(approvals(*KEYS[:2]), seen=122, taken=121) == "approval.invalid"
    assert refused(approvals(*KEYS[:2]), seen=121, taken=120) == "approval.invalid"
    judge(approvals(*KEYS[:2]), seen=121, taken=121)


@pytest.mark.spec("BR-15")
def test_no_more_is_lost_than_was_approved() -> None:
    """Also where the backup is newer than the number that is given up."""
    statement = replace(STATEMENT, given_up=99)
    given = approvals(*KEYS[:2], statement=statement)
    assert refused(given, statement, seen=5) == "approval.invalid"


@pytest.mark.spec("BR-18", "BR-19")
def test_the_state_goes_on_where_nothing_was() -> None:
    """After all that is given up, the same for the same step, and beyond every epoch."""
    assert STATEMENT.next_head.sequence == 121
    assert STATEMENT.next_head == replace(STATEMENT).next_head
    assert STATEMENT.next_head != replace(STATEMENT, at=1).next_head
    assert STATEMENT.epochs == 21 * 1024
