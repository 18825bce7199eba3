"""Who governs a namespace: the nearest charter above it, or the key that founded the domain. Pure.

Spec: policy-approval-v1, clauses PA-3 to PA-6.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final, Protocol

from cloister.crypto.signature import VerifyingKey
from cloister.keyservice.namespaces import ROOT, lineage
from cloister.keyservice.policy import policy_from_canonical
from cloister.keyservice.policy.charter import charter_from_canonical
from cloister.keyservice.policy.model import Board, Charter, Policy, Quotas
from cloister.keyservice.proposals import Panel, keys_of
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.tenancy_records import CharterRecord

__all__ = [
    "FOUNDER_TIMEOUT_S",
    "Charters",
    "Governance",
    "asks_for_more",
    "charter_panel",
    "governing",
    "parsed_policy",
    "policy_panel",
]

FOUNDER_TIMEOUT_S: Final = 7 * 86400


class Charters(Protocol):
    """Looks up charters in force."""

    def charter(self, namespace: str) -> CharterRecord | None:
        """Return the charter of exactly this namespace."""
        ...


@dataclass(frozen=True, slots=True)
class Governance:
    """Who decides in a namespace.

    Attributes:
        namespace: The one whose charter it is; `/` also where the founder governs.
        board: Who approves.
        readers: Who else may read.
        quotas: How much there may be; None where no charter limits it.
    """

    namespace: str
    board: Board
    readers: frozenset[bytes]
    quotas: Quotas | None

    @property
    def approvers(self) -> frozenset[bytes]:
        """The approvers' public keys."""
        return keys_of(self.board.approvers)


def governing(namespace: str, charters: Charters, *, founder: bytes) -> Governance:
    """Return who governs a namespace."""
    for name in lineage(namespace):
        record = charters.charter(name)
        if record is not None:
            charter = _parsed_charter(record.canonical)
            return Governance(name, charter.board, keys_of(charter.readers), charter.quotas)
    key = VerifyingKey(founder).text
    board = Board(approvers=(key,), threshold=1, timeout=FOUNDER_TIMEOUT_S)
    return Governance(ROOT, board, frozenset(), None)


def charter_panel(charter: Charter, charters: Charters, *, founder: bytes) -> Panel:
    """Return who must approve a charter.

    The first of a namespace needs the board above; a later one the board that it replaces, and the
    board above too where it raises a quota: nobody gives himself more.
    """
    above = lineage(charter.namespace)[:2][-1]
    parent = governing(above, charters, founder=founder)
    record = charters.charter(charter.namespace)
    if record is None:
        return Panel((parent.board,))
    board = _parsed_charter(record.canonical).board
    return Panel((board, parent.board) if asks_for_more(record, charter) else (board,))


def asks_for_more(present: CharterRecord | None, charter: Charter) -> bool:
    """Tell whether a charter asks for more of anything than the one in force; the first does."""
    if present is None:
        return True
    before = _parsed_charter(present.canonical).quotas
    names = (field.name for field in fields(Quotas))
    return any(getattr(charter.quotas, name) > getattr(before, name) for name in names)


def policy_panel(present: PolicyRecord | None, governance: Governance) -> Panel:
    """Return who must approve the successor of `present`, or the first policy of a name."""
    own = None if present is None else parsed_policy(present.canonical).approval
    return Panel((governance.board if own is None else own,))


@lru_cache(maxsize=64)
def parsed_policy(canonical: bytes) -> Policy:
    """Return a policy that is in the service's state."""
    return policy_from_canonical(canonical)


@lru_cache(maxsize=4096)
def _parsed_charter(canonical: bytes) -> Charter:
    return charter_from_canonical(canonical)
