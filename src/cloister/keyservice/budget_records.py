"""What the service remembers of budgets: what was spent in whose name, and each member's last."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BudgetStatus", "LastDemand", "Spent"]


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent of one budget in one principal's name, by every run together.

    Attributes:
        budget: Its name in the policy.
        principal: In whose name.
        amount: How much; never less than before.
        at: When it last changed, in seconds since the epoch.
    """

    budget: str
    principal: str
    amount: int
    at: int


@dataclass(frozen=True, slots=True)
class LastDemand:
    """The last demand of one membership, so that the same request again changes nothing.

    Attributes:
        number: Of the demand.
        request: SHA-256 of the request that brought it.
        left: What was answered.
        code: What was answered.
    """

    number: int
    request: bytes
    left: int
    code: str


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """A budget as its owners see it: the rule of the policy in force, and what was spent.

    Attributes:
        name: Its name.
        limit: How much each principal may spend; None where the policy in force has no such budget.
        floor: What counts as spent in every name, since a reset; 0 where there was none.
        names: In how many names something was spent.
        total: How much, in all names together.
        spent: The counters, by principal, where they were asked for.
    """

    name: str
    limit: int | None
    floor: int
    names: int
    total: int
    spent: tuple[Spent, ...]
