"""Which workloads may spend, and what must hold between budgets and the rest of a policy. Pure.

Spec: release-policy-v1, clauses POL-87 to POL-89.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.node import join, quote

__all__ = ["DESK", "budget_problems", "may_spend"]

DESK: Final = "desk"
"""What the descriptor is called by which a workload spends; so no listener of it is."""

_Problem = tuple[str, str, str]


def may_spend(policy: Policy, role: str) -> bool:
    """Tell whether a workload may spend any of the policy's budgets."""
    return any(role in rule.roles for rule in (policy.budgets or {}).values())


def budget_problems(policy: Policy) -> Iterator[_Problem]:
    """Yield path, sentence and hint of everything that keeps a policy from being one."""
    for name, rule in (policy.budgets or {}).items():
        for index, role in enumerate(rule.roles):
            if role not in policy.workloads:
                place = f"{join('budgets', name)}.roles[{index}]"
                known = "there are " + ", ".join(sorted(policy.workloads)[:16])
                yield place, f"there is no workload {quote(role)}", known
    for role, workload in policy.workloads.items():
        if DESK in workload.listen and may_spend(policy, role):
            place = join(join("workloads", role) + ".listen", DESK)
            message = f"{quote(role)} spends through a descriptor that is called {DESK}"
            yield place, message, "call the listener something else"
