"""Tokens with which others may look at what an owner may read.

Spec: key-release-v1.
"""

from __future__ import annotations

from collections.abc import Mapping

from cloister.crypto.kdf import random_bytes
from cloister.keyservice.owner_call import OwnerCall
from cloister.keyservice.view_operations import TOKEN_ID_BYTES
from cloister.wire import Value

__all__ = ["OwnerViews"]


class OwnerViews:
    """The view tokens of a namespace."""

    def __init__(self, call: OwnerCall) -> None:
        """Ask by this."""
        self._call = call

    def issue(self, namespace: str, *, scope: str, hours: int) -> str:
        """Make a token with which somebody may look at a namespace, and have the service know it.

        Whoever holds it sees what this key may read there, until it is over, revoked, or the key
        has lost the right.

        Raises:
            ReleaseDeniedError: This key may read nothing there, or has too many good tokens.
            MalformedError: An unknown scope, or too many hours.
        """
        from cloister.keyservice.view.issued import IssuedToken  # noqa: PLC0415  # only who issues view tokens loads it

        token = IssuedToken(
            service=self._call.service.identity.raw,
            id=random_bytes(TOKEN_ID_BYTES),
            issuer=self._call.owner.public.raw,
            namespace=namespace,
            scope=scope,
            expires=self._call.now() + hours * 3600,
        )
        arguments: dict[str, Value] = {
            "namespace": namespace,
            "id": token.id,
            "scope": scope,
            "expires": token.expires,
        }
        self._call.do("view.issue", arguments).end()
        return token.signed(self._call.owner)

    def list(self, namespace: str) -> tuple[Mapping[str, Value], ...]:
        """List the tokens for a namespace that are good, as plain records; no token itself."""
        return self._call.records("view.list", {"namespace": namespace}, "tokens")

    def revoke(self, namespace: str, token: bytes) -> None:
        """End a token, by its identity, at once.

        Raises:
            ConfigError: There is none that this key may revoke (`config.missing`).
        """
        self._call.do("view.revoke", {"namespace": namespace, "id": token}).end()
