"""Whom a request to look lets in, and what he sees: by the token, and by the state of the moment.

Spec: keyservice-http-v1, clauses KH-11, KH-22 to KH-24 and KH-41 to KH-45.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cloister.crypto.digest import sha256
from cloister.crypto.signature import VerifyingKey
from cloister.errors import MalformedError
from cloister.keyservice.attribution import within
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.view.issued import IssuedToken
from cloister.keyservice.view.token import Scope, ViewToken, require_scope, split_token, wrong_token
from cloister.keyservice.view_grants import ViewGrants
from cloister.keyservice.view_operations import TOKEN_ID_BYTES
from cloister.wire import Fields

__all__ = ["Access", "Sees", "offline_id"]

_OFFLINE, _ISSUED = 1, 2
_MAX_BODY = 512

Sees = Callable[[str], bool]


def offline_id(text: str) -> bytes:
    """Return the identity under which a token that was made offline is revoked."""
    return sha256(text.encode())[:TOKEN_ID_BYTES]


class Access:
    """Judges tokens for one service."""

    def __init__(
        self,
        grants: ViewGrants,
        *,
        service: VerifyingKey,
        owner: VerifyingKey,
        sees: Callable[[bytes, str], bool],
    ) -> None:
        """Take what tokens are judged by.

        Args:
            grants: The tokens that were issued, and those that were revoked.
            service: The service that a token has to name.
            owner: The key that founded the domain, which makes tokens offline.
            sees: Whether a key may read what lies in a namespace, now.
        """
        self._grants = grants
        self._service = service
        self._owner = owner
        self._sees = sees

    def admit(self, text: str, scope: Scope, *, at: int) -> Sees:
        """Return what the holder of a token sees, if it lets him in at all.

        Raises:
            IdentityError: No token that holds (`identity.viewer`), or one for something else
                (`identity.scope`).
        """
        if _version(text) == _ISSUED:
            grant = IssuedToken.from_text(text, service=self._service, grants=self._grants, at=at)
            # KH-44. Whose right it was has lost it: so has the token.
            if not self._sees(grant.issuer, grant.namespace):
                raise wrong_token("issuer")
            require_scope(grant.scope, scope)
            return partial(self._sees_within, grant.issuer, grant.namespace)
        token = ViewToken.from_text(text, service=self._service, owner=self._owner, at=at)
        if self._grants.is_revoked(offline_id(text)):
            raise wrong_token("revoked")
        token.require(scope)
        return partial(self._sees_within, self._owner.raw, ROOT)

    def _sees_within(self, key: bytes, limit: str, namespace: str) -> bool:
        return within(namespace, limit) and self._sees(key, namespace)


def _version(text: str) -> int:
    """Say which kind of token a text claims to be; whoever reads it as that kind checks it."""
    try:
        body, _ = split_token(text)
        return Fields.decode(body, what="view token", max_bytes=_MAX_BODY).integer("version")
    except MalformedError:
        return _OFFLINE
