"""Whether an amount may be spent. Pure.

Invariants:
    1. What was spent in a principal's name never becomes less, whatever the policy says later.
    2. It is never more than the highest limit that a policy in force had.

Spec: membership-v1, clauses MEM-76 to MEM-79.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cloister.errors import ReleaseDeniedError
from cloister.keyservice.budget_messages import SpendDemand
from cloister.keyservice.policy.budget_rules import BudgetRule

__all__ = ["MAX_PRINCIPALS", "left_after", "require_rule"]

MAX_PRINCIPALS: Final = 1024


def require_rule(
    budgets: Mapping[str, BudgetRule] | None, demand: SpendDemand, *, role: str
) -> BudgetRule:
    """Return the rule by which a member of a role may spend in that name.

    Raises:
        ReleaseDeniedError: There is no such budget for the role (`budget.unknown`), or none for
            the principal (`budget.principal`).
    """
    rule = (budgets or {}).get(demand.budget)
    if rule is None or role not in rule.roles:
        raise ReleaseDeniedError("no such budget", code="budget.unknown")
    if rule.principals != "any" and demand.principal not in rule.principals:
        raise ReleaseDeniedError("not in that name", code="budget.principal")
    return rule


def left_after(rule: BudgetRule, demand: SpendDemand, *, spent: int, known: int) -> int:
    """Return what the principal has left when the amount has been spent.

    Args:
        rule: Of the policy in force.
        demand: What is to be spent.
        spent: What counts as spent in that name.
        known: How many other names are counted, where this one is not; 0 where it is.

    Raises:
        ReleaseDeniedError: There is not so much left (`budget.spent`), or there are so many names
            that no more are counted (`budget.principal`).
    """
    if known >= MAX_PRINCIPALS:
        raise ReleaseDeniedError("too many names", code="budget.principal")
    left = rule.limit - spent - demand.amount
    if left < 0:
        raise ReleaseDeniedError("spent", code="budget.spent")
    return left
