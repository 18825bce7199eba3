"""The owner's operations on jobs, their members and their budgets.

Spec: membership-v1, clauses MEM-40 to MEM-43.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cloister.crypto.hpke import HPKEPublicKey
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.budget_records import BudgetStatus
from cloister.keyservice.budgets import Budgets
from cloister.keyservice.clock import Moment
from cloister.keyservice.jobs import Jobs
from cloister.keyservice.log import LogEntry
from cloister.keyservice.member_messages import not_a_member
from cloister.keyservice.member_service import MemberService
from cloister.keyservice.messages import require_name
from cloister.keyservice.namespaces import require_namespace
from cloister.keyservice.ownership import OwnerRequest
from cloister.keyservice.policy.canonical import policy_from_canonical
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.store import Store
from cloister.wire import Fields, Value

__all__ = ["MemberOperations", "Operation"]

Operation = Callable[[Fields, OwnerRequest, Moment], dict[str, Value]]
_MAX_NAME: Final = 64


class MemberOperations:
    """`job.status`, `member.list`, `member.expel` and `budget.list` over one store."""

    def __init__(
        self, *, store: Store, jobs: Jobs, members: MemberService, budgets: Budgets
    ) -> None:
        """Share the service's parts."""
        self._store = store
        self._jobs = jobs
        self._members = members
        self._budgets = budgets

    def table(self) -> dict[str, Operation]:
        """Return each operation by its name."""
        return {
            "job.status": self._status,
            "member.list": self._list,
            "member.expel": self._expel,
            "budget.list": self._list_budgets,
        }

    def _status(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        del request
        record = self._policy(fields)
        fields.end()
        job = self._jobs.settled(record, at=moment.at)
        policy = policy_from_canonical(record.canonical)
        roles: dict[str, Value] = {}
        for role, workload in policy.workloads.items():
            count: dict[str, Value] = {"live": job.live.get(role, 0)}
            if workload.instances is not None:
                count["maximum"] = workload.instances.maximum
            roles[role] = count
        return {"policy": record.hash, "epoch": job.epoch, "roles": roles}

    def _list(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        del request
        record = self._policy(fields)
        of = fields.text("of", max_length=_MAX_NAME)
        fields.end()
        job = self._jobs.settled(record, at=moment.at)
        if of:
            require_name(of)
        return {"roster": self._members.roster(job, of=of, at=moment.at).to_bytes()}

    def _expel(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        record = self._policy(fields)
        role = require_name(fields.text("role", max_length=_MAX_NAME))
        instance = require_name(fields.text("instance", max_length=_MAX_NAME))
        fields.end()
        job = self._jobs.settled(record, at=moment.at)
        member = self._jobs.member(job, role, instance)
        if member is None:
            raise not_a_member()
        entry = LogEntry(
            at=moment.at,
            operation=request.operation,
            code="",
            policy=record.hash,
            subject=role,
            instance=instance,
            evidence=member.evidence,
            requester=HPKEPublicKey(request.reply_key).identity,
        )
        with self._store.transaction():
            left = self._jobs.expel(job, member, at=moment.at)
            self._store.append(entry.to_bytes())
        return {"epoch": left.epoch}

    def _list_budgets(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        del request, moment
        record = self._policy(fields)
        of = fields.text("of", max_length=_MAX_NAME)
        fields.end()
        if of:
            require_name(of)
        found = self._budgets.status(record, of=of)
        budgets: list[Value] = [_budget_value(each) for each in found]
        return {"policy": record.hash, "budgets": budgets}

    def _policy(self, fields: Fields) -> PolicyRecord:
        namespace = require_namespace(fields.text("namespace", max_length=255))
        name = require_name(fields.text("name", max_length=_MAX_NAME))
        record = self._store.current_policy(namespace, name)
        if record is None:
            raise ReleaseDeniedError(
                f"the key service has no policy {namespace}/{name}", code="release.policy-unknown"
            )
        return record


def _budget_value(status: BudgetStatus) -> dict[str, Value]:
    spent: list[Value] = [
        {"principal": found.principal, "amount": found.amount, "at": found.at}
        for found in status.spent
    ]
    value: dict[str, Value] = {
        "name": status.name,
        "floor": status.floor,
        "names": status.names,
        "total": status.total,
        "spent": spent,
    }
    return value if status.limit is None else {**value, "limit": status.limit}
