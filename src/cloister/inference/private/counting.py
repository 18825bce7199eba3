"""What a query costs: a unit of the policy's budget where it has one, and a place in a local rate.

The budget is the key service's and outlives the process; the rate is this process's, and begins
anew with it.

Spec: private-query-v1, clauses PQ-44 and PQ-45.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from cloister.errors import UnavailableError

__all__ = ["BudgetCounter", "Counter", "RateCounter"]

Counter = Callable[[str, int], None]
"""Counts one query of an asker at a time in seconds, or raises: then nothing is computed."""

_MOST_ASKERS: Final = 4096
_MINUTE_S: Final = 60


class RateCounter:
    """At most so many queries of one asker in a minute, and no more than that at once."""

    def __init__(self, per_minute: int) -> None:
        """Take the rate."""
        self._per_minute = per_minute
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, int]] = {}

    def __call__(self, asker: str, at: int) -> None:
        """Count one query.

        Raises:
            UnavailableError: There were too many (`server.busy`).
        """
        with self._lock:
            left, since = self._left.get(asker, (float(self._per_minute), at))
            passed = max(at - since, 0)
            left = min(left + passed * self._per_minute / _MINUTE_S, float(self._per_minute))
            if left < 1 or (asker not in self._left and not self._has_room(at)):
                raise UnavailableError(
                    f"more than {self._per_minute} queries in a minute; try again later",
                    code="server.busy",
                )
            self._left[asker] = (left - 1, max(at, since))

    def _has_room(self, at: int) -> bool:
        if len(self._left) < _MOST_ASKERS:
            return True
        full = [name for name, (_, since) in self._left.items() if at - since >= _MINUTE_S]
        for name in full:
            del self._left[name]
        return len(self._left) < _MOST_ASKERS


class BudgetCounter:
    """A unit of a budget of the policy, in the asker's name, for each query."""

    def __init__(self, budget: str, spend: Callable[[str, str, int], int]) -> None:
        """Take the budget's name, and `Desk.spend`."""
        self._budget = budget
        self._spend = spend

    def __call__(self, asker: str, at: int) -> None:  # noqa: ARG002  # the key service has a clock
        """Spend one unit.

        Raises:
            CloisterError: Nothing was spent, or nobody knows; see `Desk.spend`.
        """
        self._spend(self._budget, asker, 1)
