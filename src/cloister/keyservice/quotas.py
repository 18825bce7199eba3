"""How much one charter's namespaces may hold. Pure.

A charter's quotas are its own and those of the charters below it together: what a charter below was
granted is no longer there for its own namespaces. So nobody multiplies a quota by making charters.

Spec: policy-approval-v1, clauses PA-50 to PA-53.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from cloister.errors import ReleaseDeniedError
from cloister.keyservice.policy.model import Quotas

__all__ = ["require_grant", "require_room", "share"]


def share(quotas: Quotas, granted: Iterable[Quotas], what: str) -> int:
    """Return how much of `what` is left for a charter's own namespaces.

    Args:
        quotas: The charter's.
        granted: Those of the charters right below it.
        what: A field of `Quotas`.
    """
    left: int = getattr(quotas, what) - sum(getattr(other, what) for other in granted)
    return max(left, 0)


def require_room(quotas: Quotas, granted: Iterable[Quotas], what: str, *, present: int) -> None:
    """Raise unless one more fits beside those that are present.

    Raises:
        ReleaseDeniedError: Code `quota.exceeded`.
    """
    limit = share(quotas, granted, what)
    if present >= limit:
        raise _exceeded(what, limit)


def require_grant(quotas: Quotas, granted: Iterable[Quotas], wanted: Quotas) -> None:
    """Raise unless a charter may be granted `wanted` out of `quotas`, beside what is granted.

    Raises:
        ReleaseDeniedError: Code `quota.exceeded`.
    """
    others = tuple(granted)
    for field in fields(Quotas):
        left = share(quotas, others, field.name)
        if getattr(wanted, field.name) > left:
            raise _exceeded(field.name, left)


def _exceeded(what: str, limit: int) -> ReleaseDeniedError:
    return ReleaseDeniedError(
        f"the charter that governs here allows no more {what.replace('_', ' ')}: {limit}",
        code="quota.exceeded",
        hint="a charter with a higher quota needs the approvals of those above too",
    )
