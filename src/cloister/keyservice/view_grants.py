"""View tokens that the service knows of: who made each, for what, and which are revoked.

Of a token that was issued through the service there is a row while it is good; revoking takes the
row away. Of one that the founder's key made offline there is none; revoking notes its identity
until no such token can be good any more.

Every change happens inside a transaction of the caller's, with its log entry.

Spec: keyservice-http-v1, clauses KH-40 to KH-46.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cloister.errors import ReleaseDeniedError
from cloister.keyservice.state.view_rows import (
    GRANTS_TABLE,
    REVOKED_TABLE,
    ViewGrant,
    grant_from_row,
    grant_to_row,
)
from cloister.keyservice.store import Store

__all__ = ["MAX_GRANTS", "MAX_HOURS", "ViewGrant", "ViewGrants"]

MAX_HOURS: Final = 720
MAX_GRANTS: Final = 64
_MAX_REVOKED: Final = 4096
_LONGEST_S: Final = (MAX_HOURS + 1) * 3600
_TIME_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class ViewGrants:
    """The rows of two tables."""

    store: Store

    def find(self, token: bytes) -> ViewGrant | None:
        """Return what is known of an issued token, whether its time is over or not."""
        data = self.store.tables.get(GRANTS_TABLE, token)
        return None if data is None else grant_from_row(token, data)

    def all(self) -> Iterator[ViewGrant]:
        """Return every issued token that was not revoked."""
        rows = self.store.tables.rows(GRANTS_TABLE)
        return (grant_from_row(token, data) for token, data in rows)

    def is_revoked(self, token: bytes) -> bool:
        """Tell whether a token that was made offline was revoked."""
        return self.store.tables.get(REVOKED_TABLE, token) is not None

    def put(self, grant: ViewGrant, *, at: int) -> None:
        """Add a token, and forget those whose time is over.

        Raises:
            ReleaseDeniedError: Its issuer has too many (`quota.exceeded`).
        """
        for other in list(self.all()):
            if other.expires <= at:
                self.remove(other)
        if sum(other.issuer == grant.issuer for other in self.all()) >= MAX_GRANTS:
            raise ReleaseDeniedError(
                f"{MAX_GRANTS} view tokens of this key are good already", code="quota.exceeded"
            )
        self.store.tables.put(GRANTS_TABLE, grant.id, grant_to_row(grant))

    def remove(self, grant: ViewGrant) -> None:
        """Revoke an issued token."""
        self.store.tables.put(GRANTS_TABLE, grant.id, None)

    def revoke_offline(self, token: bytes, *, at: int) -> None:
        """Note that a token that was made offline is revoked, and forget what is over by now.

        Raises:
            ReleaseDeniedError: Too many are noted (`quota.exceeded`).
        """
        rows = self.store.tables
        for other, until in list(rows.rows(REVOKED_TABLE)):
            if int.from_bytes(until, "big") <= at:
                rows.put(REVOKED_TABLE, other, None)
        if rows.count(REVOKED_TABLE) >= _MAX_REVOKED:
            raise ReleaseDeniedError(
                "too many view tokens that were made offline are revoked", code="quota.exceeded"
            )
        rows.put(REVOKED_TABLE, token, (at + _LONGEST_S).to_bytes(_TIME_BYTES, "big"))
