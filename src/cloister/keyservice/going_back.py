"""What a state that is gone back to must not say any more, because more has happened since.

Nobody knows what happened in the part that is given up. So whatever was granted for a time ends,
and every number that only grew is raised beyond all that it can have reached.

Spec: keyservice-recovery-v1, clauses BR-17 to BR-19.
"""

from __future__ import annotations

from dataclasses import replace

from cloister.keyservice.budgets import exhaust_budgets
from cloister.keyservice.challenges import end_challenges
from cloister.keyservice.reset import Reset
from cloister.keyservice.state import member_rows
from cloister.keyservice.state.format import upgrade_tables
from cloister.keyservice.state.platform_rows import put_admitted
from cloister.keyservice.state.record import Head
from cloister.keyservice.state.view_rows import GRANTS_TABLE
from cloister.keyservice.store import Store
from cloister.keyservice.upgrading import event

__all__ = ["go_back"]


def go_back(store: Store, statement: Reset) -> Head:
    """Change an open state, in memory, into the one that goes on after a reset.

    Returns:
        The head that it goes on from. The same statement makes the same state each time.
    """
    upgrade_tables(store.tables)
    _end_leases(store, statement.epochs)
    _end_memberships(store, statement.epochs)
    _end_view_tokens(store)
    exhaust_budgets(store, at=statement.at)
    put_admitted(store.tables, None)
    end_challenges(store, statement.subject.hash)
    store.append(
        event(
            "state.reset",
            subject=f"{statement.given_up} to {statement.head.sequence}",
            evidence=statement.subject.hash,
            at=statement.at,
        )
    )
    return statement.next_head


def _end_leases(store: Store, epochs: int) -> None:
    for volume in store.volumes():
        store.put_volume(replace(volume, epoch=volume.epoch + epochs, holder=None))
    for volume_id, _ in list(store.tables.rows("renewals")):
        store.tables.put("renewals", volume_id, None)


def _end_view_tokens(store: Store) -> None:
    for token, _ in list(store.tables.rows(GRANTS_TABLE)):
        store.tables.put(GRANTS_TABLE, token, None)


def _end_memberships(store: Store, epochs: int) -> None:
    for key, row in list(store.tables.rows(member_rows.JOBS_TABLE)):
        job = member_rows.job_from_row(row)
        table = member_rows.members_table(job.namespace, job.name)
        for member, _ in list(store.tables.rows(table)):
            store.tables.put(table, member, None)
        left = replace(job, epoch=job.epoch + epochs, live={}, soonest=None)
        store.tables.put(member_rows.JOBS_TABLE, key, member_rows.job_to_row(left))
