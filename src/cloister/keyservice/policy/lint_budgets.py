"""What a policy's budgets leave open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.node import join

__all__ = ["findings_of_budgets"]

_Severity = Literal["error", "warning", "note"]


def findings_of_budgets(policy: Policy) -> Iterator[tuple[_Severity, str, str, str]]:
    """Yield severity, code, path and message of each finding."""
    for name, rule in (policy.budgets or {}).items():
        if rule.principals == "any":
            message = (
                "each name that a workload spends in has the limit to itself: who can have several "
                "names has it several times"
            )
            yield "warning", "lint.budget-any", join("budgets", name) + ".principals", message
