"""Rows of what was spent, and of each membership's last demand. Pure.

Each job has tables of its own for both, so that asking about one job reads no other's rows.
"""

from __future__ import annotations

from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, framed, sha256
from cloister.keyservice.budget_records import LastDemand, Spent
from cloister.keyservice.member_records import Member
from cloister.wire import Fields, encode

__all__ = [
    "demand_from_row",
    "demand_key",
    "demand_to_row",
    "demands_table",
    "floor_key",
    "spent_from_row",
    "spent_key",
    "spent_table",
    "spent_to_row",
]

_MAX_ROW: Final = 1024


def spent_table(namespace: str, name: str) -> str:
    """Return the table of what was spent in one job, across its versions."""
    return f"budgets/{namespace}/{name}"


def spent_key(budget: str, principal: str) -> bytes:
    """Return the key of a counter's row."""
    return encode([budget, principal])


def floor_key(budget: str) -> bytes:
    """Return the key of the row for what counts as spent in every name; its principal is empty."""
    return encode([budget])


def spent_to_row(spent: Spent) -> bytes:
    """Return a counter's row."""
    return encode(
        {
            "budget": spent.budget,
            "principal": spent.principal,
            "amount": spent.amount,
            "at": spent.at,
        }
    )


def spent_from_row(data: bytes) -> Spent:
    """Read a counter's row."""
    fields = Fields.decode(data, what="budget row", max_bytes=_MAX_ROW)
    spent = Spent(
        budget=fields.text("budget"),
        principal=fields.text("principal"),
        amount=fields.integer("amount"),
        at=fields.integer("at"),
    )
    fields.end()
    return spent


def demands_table(namespace: str, name: str) -> str:
    """Return the table of the last demands of one job's members."""
    return f"demands/{namespace}/{name}"


def demand_key(member: Member) -> bytes:
    """Return the key of a membership's row: the policy's hash, then what its secret is made of."""
    names = (member.role.encode(), member.instance.encode())
    return member.policy + sha256(framed(*names, member.key_digest))


def demand_to_row(last: LastDemand) -> bytes:
    """Return the row of a last demand."""
    return encode(
        {"number": last.number, "request": last.request, "left": last.left, "code": last.code}
    )


def demand_from_row(data: bytes) -> LastDemand:
    """Read the row of a last demand."""
    fields = Fields.decode(data, what="demand row", max_bytes=_MAX_ROW)
    last = LastDemand(
        number=fields.integer("number", minimum=1),
        request=fields.octets("request", length=DIGEST_BYTES),
        left=fields.integer("left"),
        code=fields.text("code"),
    )
    fields.end()
    return last
