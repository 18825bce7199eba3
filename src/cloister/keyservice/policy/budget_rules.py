"""What a policy says of budgets: how much may be spent in whose name, and by which workloads.

Frozen; made by the policy's readers only. What holds between budgets and the rest of a policy is in
`budgets`.

Spec: release-policy-v1, clauses POL-87 to POL-89.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["BudgetRule", "Principals"]

# `any`, or the names that are meant.
Principals = Literal["any"] | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRule:
    """A counter that the key service keeps for each principal, across runs and versions.

    Attributes:
        limit: How much may be spent in one principal's name, ever.
        principals: In whose names; with `any`, in whatever names the workload uses.
        roles: Workloads that may spend.
    """

    limit: int
    principals: Principals
    roles: tuple[str, ...]
