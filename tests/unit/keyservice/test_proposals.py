"""How approvals add up, without a service."""

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.approvals import NO_PREDECESSOR, Approval, Subject
from cloister.keyservice.policy.model import Board
from cloister.keyservice.proposals import Panel, gather, standing
from cloister.keyservice.tenancy_records import Proposal

KEYS = tuple(SigningKey(bytes([number]) * 32) for number in range(1, 5))
SUBJECT = Subject(b"s" * 32, "charter", "lab", b"h" * 32, NO_PREDECESSOR)
EMPTY = Proposal(SUBJECT, "", b"c", KEYS[0].public.raw, 100, ())


def board(*keys: SigningKey, threshold: int) -> Board:
    """A board of these keys."""
    texts = tuple(key.public.text for key in keys)
    return Board(approvers=texts, threshold=threshold, timeout=60)


def yes(key: SigningKey, expires_at: int = 1000) -> Approval:
    """One approval."""
    return Approval.make(SUBJECT, key=key, expires_at=expires_at)


TWO_OF_THREE = Panel((board(*KEYS[:3], threshold=2),))


@pytest.mark.spec("PA-33", "PA-34")
def test_approvals_of_several_submissions_add_up() -> None:
    """Whoever comes first; each approver once."""
    first = gather(EMPTY, TWO_OF_THREE, (yes(KEYS[2]),), at=50)
    assert (first.lacking, first.approved) == (1, (KEYS[2].public.raw,))
    again = gather(first.proposal, TWO_OF_THREE, (yes(KEYS[2], 2000),), at=50)
    assert again.lacking == 1
    done = gather(again.proposal, TWO_OF_THREE, (yes(KEYS[0]),), at=50)
    assert (done.lacking, done.missing) == (0, ())


@pytest.mark.spec("PA-27")
def test_the_later_of_two_ends_counts() -> None:
    """In either order."""
    for ends in ((60, 90), (90, 60)):
        stands = gather(EMPTY, TWO_OF_THREE, (yes(KEYS[0], ends[0]),), at=50)
        stands = gather(stands.proposal, TWO_OF_THREE, (yes(KEYS[0], ends[1]),), at=50)
        assert standing(stands.proposal, TWO_OF_THREE, at=90).lacking == 1
        assert standing(stands.proposal, TWO_OF_THREE, at=91).lacking == 2


@pytest.mark.spec("PA-7")
def test_two_boards_must_both_agree() -> None:
    """One who sits on both counts on both; who is missing is asked by the board that lacks."""
    panel = Panel((board(*KEYS[:2], threshold=2), board(*KEYS[1:4], threshold=1)))
    stands = gather(EMPTY, panel, (yes(KEYS[1]),), at=50)
    assert (stands.lacking, stands.missing) == (1, (KEYS[0].public.raw,))
    other = gather(EMPTY, panel, (yes(KEYS[3]),), at=50)
    assert other.lacking == 2
    assert gather(stands.proposal, panel, (yes(KEYS[0]),), at=50).lacking == 0


@pytest.mark.spec("PA-33")
def test_whoever_is_no_longer_asked_does_not_count() -> None:
    """Judged by the board of the instant."""
    stands = gather(EMPTY, TWO_OF_THREE, (yes(KEYS[0]),), at=50)
    smaller = Panel((board(*KEYS[1:3], threshold=1),))
    assert standing(stands.proposal, smaller, at=50).lacking == 1


@pytest.mark.spec("PA-35")
def test_after_the_deadline_nothing_is_added() -> None:
    """Not even by those who had not."""
    with pytest.raises(ReleaseDeniedError) as e:
        gather(EMPTY, TWO_OF_THREE, (yes(KEYS[0]),), at=101)
    assert e.value.code == "approval.expired"
