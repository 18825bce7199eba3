"""The operations on view tokens: issue, list, revoke. The token itself is made by who issues it.

Spec: keyservice-http-v1, clauses KH-40 to KH-46.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from cloister.crypto.digest import DIGEST_BYTES
from cloister.errors import ConfigError, MalformedError
from cloister.keyservice.clock import Moment
from cloister.keyservice.namespaces import ROOT, require_namespace
from cloister.keyservice.ownership import OwnerRequest
from cloister.keyservice.scope import Scope
from cloister.keyservice.store import Store
from cloister.keyservice.view_grants import MAX_HOURS, ViewGrant, ViewGrants
from cloister.wire import Fields, Value

__all__ = ["TOKEN_ID_BYTES", "ViewOperations"]

TOKEN_ID_BYTES: Final = 16
_NO_DIGEST: Final = bytes(DIGEST_BYTES)
_SCOPES: Final = ("view", "metrics")


class Note(Protocol):
    """Appends the log entry of a decision, inside a transaction."""

    def __call__(
        self, request: OwnerRequest, moment: Moment, *, subject: str, policy: bytes, code: str
    ) -> None:
        """Append it."""
        ...


class ViewOperations:
    """`view.issue`, `view.list` and `view.revoke` over one store."""

    def __init__(self, store: Store, scope: Scope, *, note: Note) -> None:
        """Share the service's parts."""
        self._store = store
        self._grants = ViewGrants(store)
        self._scope = scope
        self._note = note

    def table(self) -> dict[str, Callable[[Fields, OwnerRequest, Moment], dict[str, Value]]]:
        """Return the operations by name."""
        return {"view.issue": self._issue, "view.list": self._list, "view.revoke": self._revoke}

    def _issue(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        namespace = require_namespace(fields.text("namespace", max_length=255))
        grant = ViewGrant(
            id=fields.octets("id", length=TOKEN_ID_BYTES),
            issuer=request.owner,
            namespace=namespace,
            scope=fields.text("scope", max_length=16),
            expires=fields.integer("expires"),
            at=moment.at,
        )
        fields.end()
        if grant.scope not in _SCOPES or (grant.scope == "metrics" and namespace != ROOT):
            raise MalformedError(
                "a view token is for view, or in the root for metrics", code="message.malformed"
            )
        # One hour more, for clocks that differ.
        if not moment.at < grant.expires <= moment.at + (MAX_HOURS + 1) * 3600:
            raise MalformedError(
                f"a view token lives for at most {MAX_HOURS} hours", code="message.malformed"
            )
        if self._grants.find(grant.id) is not None:
            raise ConfigError("there is a view token of that identity", code="config.exists")
        with self._store.transaction():
            self._grants.put(grant, at=moment.at)
            self._note_token(request, moment, grant.id, namespace)
        return {}

    def _list(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        del request
        namespace = require_namespace(fields.text("namespace", max_length=255))
        fields.end()
        found: list[Value] = [
            {
                "id": grant.id,
                "issuer": grant.issuer,
                "scope": grant.scope,
                "expires": grant.expires,
                "at": grant.at,
            }
            for grant in self._grants.all()
            if grant.namespace == namespace and grant.expires > moment.at
        ]
        return {"tokens": found}

    def _revoke(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        namespace = require_namespace(fields.text("namespace", max_length=255))
        token = fields.octets("id", length=TOKEN_ID_BYTES)
        fields.end()
        approves = request.owner in self._scope.governance(namespace).approvers
        grant = self._grants.find(token)
        ours = grant is not None and grant.namespace == namespace
        if grant is not None and ours and (approves or grant.issuer == request.owner):
            with self._store.transaction():
                self._grants.remove(grant)
                self._note_token(request, moment, token, namespace)
        elif grant is None and approves and namespace == ROOT:
            with self._store.transaction():
                self._grants.revoke_offline(token, at=moment.at)
                self._note_token(request, moment, token, namespace)
        else:
            raise ConfigError(
                "there is no view token of that identity here that this key may revoke",
                code="config.missing",
            )
        return {}

    def _note_token(
        self, request: OwnerRequest, moment: Moment, token: bytes, namespace: str
    ) -> None:
        self._note(
            request, moment, subject=f"{token.hex()}@{namespace}", policy=_NO_DIGEST, code=""
        )
