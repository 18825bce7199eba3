"""How approvals add up: which boards must agree, who has, who is missing. Pure.

Invariants:
    1. Whatever the order and the number of submissions, a change is carried by the approvals that
       count at one instant, judged by the boards of that instant.
    2. An approval that does not count refuses the submission that brought it, and changes nothing.
    3. After the deadline a proposal counts as never made; its approvals have to be handed in again.

Spec: policy-approval-v1, clauses PA-30 to PA-36.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from cloister.crypto.signature import VerifyingKey
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.approvals import (
    Approval,
    Subject,
    require_approval,
    require_distinct,
)
from cloister.keyservice.policy.model import Board
from cloister.keyservice.tenancy_records import Proposal

__all__ = ["Panel", "Standing", "gather", "keys_of", "standing"]


@lru_cache(maxsize=4096)
def keys_of(texts: tuple[str, ...]) -> frozenset[bytes]:
    """Return public keys as bytes."""
    return frozenset(VerifyingKey.from_text(text).raw for text in texts)


@dataclass(frozen=True, slots=True)
class Panel:
    """The boards that must all agree; one, but for a charter that asks for more than it had."""

    boards: tuple[Board, ...]

    @property
    def approvers(self) -> frozenset[bytes]:
        """Everybody who is asked."""
        return frozenset().union(*(keys_of(board.approvers) for board in self.boards))

    @property
    def timeout(self) -> int:
        """Seconds in which all must have agreed."""
        return min(board.timeout for board in self.boards)

    def lacking(self, yes: frozenset[bytes]) -> int:
        """Return how many more approvals are needed, by the board that lacks most."""
        return max(
            max(0, board.threshold - len(yes & keys_of(board.approvers))) for board in self.boards
        )

    def missing(self, yes: frozenset[bytes]) -> tuple[bytes, ...]:
        """Return who has not approved, of the boards that still lack approvals."""
        asked: set[bytes] = set()
        for board in self.boards:
            keys = keys_of(board.approvers)
            if len(yes & keys) < board.threshold:
                asked |= keys - yes
        return tuple(sorted(asked))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a proposal stands at one instant; carried when nothing is lacking.

    Attributes:
        proposal: With the approvals that count now.
        approved: Who approved.
        missing: Who still may.
        lacking: How many of them must.
    """

    proposal: Proposal
    approved: tuple[bytes, ...]
    missing: tuple[bytes, ...]
    lacking: int


def gather(proposal: Proposal, panel: Panel, fresh: Sequence[Approval], *, at: int) -> Standing:
    """Add approvals to a proposal.

    Args:
        proposal: As it was; its deadline has not passed.
        panel: Who is asked now.
        fresh: Untrusted.
        at: Now.

    Raises:
        ReleaseDeniedError: One of `fresh` does not count, by its code; `approval.expired` also
            where the deadline has passed.
    """
    if at > proposal.deadline:
        raise ReleaseDeniedError("the time for approving this is over", code="approval.expired")
    require_distinct(fresh)
    for approval in fresh:
        require_approval(approval, proposal.subject, approvers=panel.approvers, at=at)
    kept = {approval.approver: approval for approval in _counting(proposal, panel, at=at)}
    for approval in fresh:
        before = kept.get(approval.approver)
        if before is None or before.expires_at < approval.expires_at:
            kept[approval.approver] = approval
    approvals = tuple(kept[approver] for approver in sorted(kept))
    return standing(replace(proposal, approvals=approvals), panel, at=at)


def standing(proposal: Proposal, panel: Panel, *, at: int) -> Standing:
    """Say how a proposal stands, by the approvals that count now."""
    approvals = _counting(proposal, panel, at=at)
    yes = frozenset(approval.approver for approval in approvals)
    return Standing(
        replace(proposal, approvals=approvals),
        tuple(sorted(yes)),
        panel.missing(yes),
        panel.lacking(yes),
    )


def _counting(proposal: Proposal, panel: Panel, *, at: int) -> tuple[Approval, ...]:
    return tuple(
        approval
        for approval in proposal.approvals
        if _counts(approval, proposal.subject, panel.approvers, at=at)
    )


def _counts(approval: Approval, subject: Subject, approvers: frozenset[bytes], *, at: int) -> bool:
    try:
        require_approval(approval, subject, approvers=approvers, at=at)
    except ReleaseDeniedError:
        return False
    return True
