"""View tokens that a reader or approver issues through the service, which can revoke them. Pure.

Like a token that the founder makes offline it is a signed statement; this one names who signs, the
namespace that it is for, and an identity that the service has to know. Neither it nor its text has
a `repr`, and nothing logs one.

Spec: keyservice-http-v1, clauses KH-41 to KH-44.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final, Protocol

from cloister.attestation.binding import SERVICE_BYTES
from cloister.crypto.digest import same_bytes
from cloister.crypto.signature import PUBLIC_BYTES, SigningKey, VerifyingKey
from cloister.errors import MalformedError
from cloister.keyservice.view.token import VIEW_LABEL, split_token, wrong_token
from cloister.keyservice.view_grants import ViewGrant
from cloister.keyservice.view_operations import TOKEN_ID_BYTES
from cloister.wire import Fields, encode

__all__ = ["Grants", "IssuedToken"]

_VERSION: Final = 2
_MAX_TEXT: Final = 512
_MAX_NAMESPACE: Final = 255


class Grants(Protocol):
    """Knows the tokens that were issued and not revoked."""

    def find(self, token: bytes) -> ViewGrant | None:
        """Return what is known of a token."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class IssuedToken:
    """What its issuer says; the service's own record decides what it is good for."""

    service: bytes
    id: bytes
    issuer: bytes
    namespace: str
    scope: str
    expires: int

    def signed(self, issuer: SigningKey) -> str:
        """Return the token's text."""
        body = encode(
            {
                "version": _VERSION,
                "service": self.service,
                "id": self.id,
                "issuer": self.issuer,
                "namespace": self.namespace,
                "scope": self.scope,
                "expires": self.expires,
            }
        )
        whole = encode({"body": body, "signature": issuer.sign(VIEW_LABEL, body)})
        return base64.urlsafe_b64encode(whole).decode().rstrip("=")

    @classmethod
    def from_text(cls, text: str, *, service: VerifyingKey, grants: Grants, at: int) -> ViewGrant:
        """Return what the service knows of the token, if it holds at `at`.

        What its issuer may see at that moment is not settled by this.

        Raises:
            IdentityError: Anything else. The message never says which part was wrong.

        Spec: KH-42, KH-43.
        """
        try:
            body, signature = split_token(text)
            token = cls._from_bytes(body)
        except MalformedError as e:
            raise wrong_token("form") from e
        key = VerifyingKey(token.issuer)
        key.verify(VIEW_LABEL, body, signature, error=wrong_token("signature"))
        if not same_bytes(token.service, service.raw):
            raise wrong_token("service")
        grant = grants.find(token.id)
        said = (token.issuer, token.namespace, token.scope, token.expires)
        if grant is None or said != (grant.issuer, grant.namespace, grant.scope, grant.expires):
            raise wrong_token("revoked, or never issued")
        if at >= grant.expires:
            raise wrong_token("expiry")
        return grant

    @classmethod
    def _from_bytes(cls, data: bytes) -> IssuedToken:
        fields = Fields.decode(data, what="view token", max_bytes=_MAX_TEXT)
        fields.constant("version", _VERSION)
        token = cls(
            service=fields.octets("service", length=SERVICE_BYTES),
            id=fields.octets("id", length=TOKEN_ID_BYTES),
            issuer=fields.octets("issuer", length=PUBLIC_BYTES),
            namespace=fields.text("namespace", max_length=_MAX_NAMESPACE),
            scope=fields.text("scope", max_length=16),
            expires=fields.integer("expires"),
        )
        fields.end()
        return token
