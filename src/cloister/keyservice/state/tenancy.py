"""Charters, proposals, and the keys that what is in force names, as rows of the state's tables.

Changes are made inside a transaction of the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cloister.errors import TamperedError
from cloister.keyservice.approvals import Approval, Subject
from cloister.keyservice.namespaces import ROOT, lineage
from cloister.keyservice.state import tenancy_rows as rows
from cloister.keyservice.state.tables import Tables
from cloister.keyservice.tenancy_records import CharterRecord, Proposal
from cloister.wire import decode, encode

__all__ = ["TenancyTables"]

_MAX_APPROVED: Final = 1 << 20


class TenancyTables:
    """Typed rows of who decides."""

    def __init__(self, tables: Tables) -> None:
        """Look at these tables."""
        self._tables = tables

    def charter(self, namespace: str) -> CharterRecord | None:
        """Return the charter of exactly this namespace."""
        data = self._tables.get("charters", namespace.encode())
        return None if data is None else rows.charter_from_row(namespace, data)

    def charters(self) -> list[CharterRecord]:
        """Return every charter in force."""
        found = sorted(self._tables.rows("charters"))
        return [rows.charter_from_row(key.decode(), data) for key, data in found]

    def charter_names(self, *, below: str) -> list[str]:
        """Return the namespaces below this one that have a charter."""
        prefix = "" if below == ROOT else below + "/"
        names = (key.decode() for key, _ in self._tables.rows("charters"))
        return [name for name in names if name != ROOT and name.startswith(prefix)]

    def governor(self, namespace: str) -> str:
        """Return the namespace whose charter governs this one; `/` for the root."""
        path = lineage(namespace)
        return next(
            (name for name in path if self._tables.get("charters", name.encode()) is not None), ROOT
        )

    def put_charter(self, record: CharterRecord) -> None:
        """Bring a charter into force."""
        self._tables.put("charters", record.namespace.encode(), rows.charter_to_row(record))

    def proposal(self, subject: Subject, name: str) -> Proposal | None:
        """Return the proposal of exactly this subject."""
        data = self._tables.get("proposals", rows.proposal_key(subject, name))
        return None if data is None else rows.proposal_from_row(data)

    def proposals(self) -> list[Proposal]:
        """Return every proposal, whether its deadline has passed or not."""
        return [rows.proposal_from_row(data) for _, data in self._tables.rows("proposals")]

    def put_proposal(self, proposal: Proposal) -> None:
        """Add or replace a proposal."""
        key = rows.proposal_key(proposal.subject, proposal.name)
        self._tables.put("proposals", key, rows.proposal_to_row(proposal))

    def drop_proposal(self, proposal: Proposal) -> None:
        """Take a proposal away."""
        key = rows.proposal_key(proposal.subject, proposal.name)
        self._tables.put("proposals", key, None)

    def approved_by(self, digest: bytes) -> tuple[Approval, ...]:
        """Return the approvals by which a policy or charter came into force."""
        data = self._tables.get("approved", digest)
        found = [] if data is None else decode(data, max_bytes=_MAX_APPROVED)
        if not isinstance(found, list):
            raise TamperedError("the state's rows cannot be read", code="state.tampered")
        return tuple(Approval.from_bytes(item) for item in found if isinstance(item, bytes))

    def put_approved(self, digest: bytes, approvals: Iterable[Approval]) -> None:
        """Keep the approvals by which something came into force."""
        self._tables.put("approved", digest, encode([item.to_bytes() for item in approvals]))

    def is_named(self, key: bytes) -> bool:
        """Tell whether a charter or policy in force names this key as reader or approver."""
        return self._tables.get("named-keys", key) is not None

    def rename(self, before: frozenset[bytes], after: frozenset[bytes]) -> None:
        """Count the keys that what comes into force names, in place of its predecessor's."""
        for key, step in ((key, -1) for key in before - after):
            self._count(key, step)
        for key in after - before:
            self._count(key, 1)

    def _count(self, key: bytes, step: int) -> None:
        data = self._tables.get("named-keys", key)
        number = (0 if data is None else int.from_bytes(data, "big")) + step
        self._tables.put("named-keys", key, number.to_bytes(8, "big") if number > 0 else None)
