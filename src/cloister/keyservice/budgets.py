"""The budgets of one store: what was spent, and what a member may spend now.

Counters belong to the job, not to a version of its policy nor to a run, and are never taken away:
what was spent stays spent. Every demand that is decided appends its log entry in the same
transaction, yes or no.

Spec: membership-v1, clauses MEM-74 to MEM-79.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from cloister.crypto.digest import same_bytes
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.budget_messages import SpendDemand, SpendOutcome
from cloister.keyservice.budget_records import BudgetStatus, LastDemand, Spent
from cloister.keyservice.jobs import Jobs
from cloister.keyservice.member_records import Member
from cloister.keyservice.policy.budget_rules import BudgetRule
from cloister.keyservice.policy.canonical import policy_from_canonical
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.spending import left_after, require_rule
from cloister.keyservice.state import budget_rows
from cloister.keyservice.store import Store

__all__ = ["Budgets", "exhaust_budgets"]

_RULES_KEPT: Final = 16
_Rules = Mapping[str, BudgetRule]


class Budgets:
    """Counters and demands over one store."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        """Use an open store."""
        self._store = store
        self._jobs = jobs
        self._rules: dict[bytes, _Rules] = {}  # by the policy's hash, which never means another

    def spend(
        self,
        policy: PolicyRecord,
        member: Member,
        demand: SpendDemand,
        *,
        request: bytes,
        at: int,
    ) -> SpendOutcome:
        """Decide a demand, durably where it is a new one; outside a transaction.

        Args:
            policy: The current version, which admitted the member.
            member: Live, and proved to be who sent the request.
            demand: What it wants.
            request: SHA-256 of the request; the same again gets the same answer.
            at: Now.
        """
        # MEM-74, MEM-75. What was decided is not decided again, nor what somebody kept back.
        last = self._last(policy, member)
        if last is not None and demand.number <= last.number:
            if demand.number == last.number and same_bytes(last.request, request):
                return SpendOutcome(last.left, last.code)
            return SpendOutcome(0, "budget.order")
        with self._store.transaction():
            outcome = self._decide(policy, member, demand, at)
            self._remember(
                policy, member, LastDemand(demand.number, request, outcome.left, outcome.code)
            )
            said = f"{member.role} {demand.budget} {demand.amount} {demand.principal}"
            self._jobs.note(member, "budget.spend", at=at, code=outcome.code, subject=said)
        return outcome

    def status(self, policy: PolicyRecord, *, of: str) -> tuple[BudgetStatus, ...]:
        """Return every budget that the current version has, or that was ever spent of, by name.

        Args:
            policy: The current version.
            of: Whose counters are wanted as well; empty for none.
        """
        rules = self._rules_of(policy)
        by_name: dict[str, list[Spent]] = {name: [] for name in rules}
        floors: dict[str, int] = {}
        for spent in self._all(policy.namespace, policy.name):
            found = by_name.setdefault(spent.budget, [])
            if spent.principal:
                found.append(spent)
            else:
                floors[spent.budget] = spent.amount
        return tuple(
            BudgetStatus(
                name,
                rules[name].limit if name in rules else None,
                floors.get(name, 0),
                len(found),
                sum(spent.amount for spent in found),
                tuple(sorted(found, key=lambda spent: spent.principal)) if name == of else (),
            )
            for name, found in sorted(by_name.items())
        )

    # -- inside

    def _decide(
        self, policy: PolicyRecord, member: Member, demand: SpendDemand, at: int
    ) -> SpendOutcome:
        namespace, name = policy.namespace, policy.name
        before = self._get(namespace, name, budget_rows.spent_key(demand.budget, demand.principal))
        floor = self._get(namespace, name, budget_rows.floor_key(demand.budget))
        # MEM-80. Whatever is less than what a reset left has been spent, for all that is known.
        spent = max(0 if each is None else each.amount for each in (before, floor))
        rule: BudgetRule | None = None
        try:
            rule = require_rule(self._rules_of(policy), demand, role=member.role)
            left = left_after(
                rule,
                demand,
                spent=spent,
                known=0 if before is not None else self._known(namespace, name, demand.budget),
            )
        except ReleaseDeniedError as e:
            return SpendOutcome(0 if rule is None else max(rule.limit - spent, 0), e.code)
        counted = Spent(demand.budget, demand.principal, spent + demand.amount, at)
        row = budget_rows.spent_to_row(counted)
        key = budget_rows.spent_key(demand.budget, demand.principal)
        self._store.tables.put(budget_rows.spent_table(namespace, name), key, row)
        return SpendOutcome(left)

    def _rules_of(self, policy: PolicyRecord) -> _Rules:
        found = self._rules.get(policy.hash)
        if found is None:
            found = policy_from_canonical(policy.canonical).budgets or {}
            if len(self._rules) >= _RULES_KEPT:
                self._rules.clear()
            self._rules[policy.hash] = found
        return found

    def _get(self, namespace: str, name: str, key: bytes) -> Spent | None:
        row = self._store.tables.get(budget_rows.spent_table(namespace, name), key)
        return None if row is None else budget_rows.spent_from_row(row)

    def _all(self, namespace: str, name: str) -> Iterator[Spent]:
        for _, row in self._store.tables.rows(budget_rows.spent_table(namespace, name)):
            yield budget_rows.spent_from_row(row)

    def _known(self, namespace: str, name: str, budget: str) -> int:
        found = self._all(namespace, name)
        return sum(spent.budget == budget and spent.principal != "" for spent in found)

    def _last(self, policy: PolicyRecord, member: Member) -> LastDemand | None:
        table = budget_rows.demands_table(policy.namespace, policy.name)
        row = self._store.tables.get(table, budget_rows.demand_key(member))
        return None if row is None else budget_rows.demand_from_row(row)

    def _remember(self, policy: PolicyRecord, member: Member, last: LastDemand) -> None:
        table = budget_rows.demands_table(policy.namespace, policy.name)
        key = budget_rows.demand_key(member)
        if self._store.tables.get(table, key) is None:
            # Secrets of older versions are over (MEM-24), and with them what could be repeated.
            for old, _ in list(self._store.tables.rows(table)):
                if not old.startswith(policy.hash):
                    self._store.tables.put(table, old, None)
        self._store.tables.put(table, key, budget_rows.demand_to_row(last))


def exhaust_budgets(store: Store, *, at: int) -> None:
    """MEM-80. Count every budget of a state as spent, in every name, up to its highest limit.

    For a state that is gone back to: nobody knows what was spent in the part that is given up.
    """
    highest: dict[tuple[str, str, str], int] = {}
    for record in store.policies():
        for budget, rule in (policy_from_canonical(record.canonical).budgets or {}).items():
            place = (record.namespace, record.name, budget)
            highest[place] = max(highest.get(place, 0), rule.limit)
    for (namespace, name, budget), limit in highest.items():
        row = budget_rows.spent_to_row(Spent(budget, "", limit, at))
        table, key = budget_rows.spent_table(namespace, name), budget_rows.floor_key(budget)
        store.tables.put(table, key, row)
