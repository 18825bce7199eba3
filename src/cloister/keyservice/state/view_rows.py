"""Rows of view tokens, and the records that they stand for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.wire import Fields, encode

__all__ = ["GRANTS_TABLE", "REVOKED_TABLE", "ViewGrant", "grant_from_row", "grant_to_row"]

GRANTS_TABLE: Final = "view-tokens"
REVOKED_TABLE: Final = "revoked-view-tokens"
_MAX_ROW: Final = 1024


@dataclass(frozen=True, slots=True)
class ViewGrant:
    """An issued view token as the service knows it; nothing of it is secret.

    Attributes:
        id: 16 bytes.
        issuer: Public key of whoever made it: its holder sees what that key may read, and no more.
        namespace: Nothing outside of it is shown.
        scope: `view` or `metrics`.
        expires: The first second at which it is over.
        at: When it was issued.
    """

    id: bytes
    issuer: bytes
    namespace: str
    scope: str
    expires: int
    at: int


def grant_to_row(grant: ViewGrant) -> bytes:
    """Return the row; its key is the token's identity."""
    return encode(
        {
            "issuer": grant.issuer,
            "namespace": grant.namespace,
            "scope": grant.scope,
            "expires": grant.expires,
            "at": grant.at,
        }
    )


def grant_from_row(token: bytes, data: bytes) -> ViewGrant:
    """Read a row."""
    fields = Fields.decode(data, what="view token row", max_bytes=_MAX_ROW)
    grant = ViewGrant(
        id=token,
        issuer=fields.octets("issuer"),
        namespace=fields.text("namespace"),
        scope=fields.text("scope"),
        expires=fields.integer("expires"),
        at=fields.integer("at"),
    )
    fields.end()
    return grant
