"""View tokens: the owner lets somebody look at the key service for some hours. Pure.

A token is a statement that the owner's key signed offline; whoever holds it may read what its scope
names, at the one service that it names, until it is over. It changes nothing and shows no key. It
is a secret all the same: neither a token nor its text has a `repr`, and nothing logs one.

Spec: keyservice-http-v1, clauses KH-20 to KH-25.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final, Literal, cast

from cloister.attestation.binding import SERVICE_BYTES
from cloister.crypto.digest import same_bytes
from cloister.crypto.signature import SIGNATURE_BYTES, SigningKey, VerifyingKey
from cloister.errors import ConfigError, IdentityError, MalformedError
from cloister.keyservice.view_grants import MAX_HOURS
from cloister.wire import Fields, encode

__all__ = [
    "MAX_HOURS",
    "VIEW_LABEL",
    "Scope",
    "ViewToken",
    "require_scope",
    "split_token",
    "wrong_token",
]

VIEW_LABEL: Final = b"cloister/keyservice-http/v1/view-token"
Scope = Literal["view", "metrics"]
_SCOPES: Final = ("view", "metrics")
_VERSION: Final = 1
_MAX_TEXT: Final = 512
_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True, repr=False)
class ViewToken:
    """What the owner says.

    Attributes:
        service: The key service that is meant.
        scope: `view` for everything that may be looked at, `metrics` for the metrics alone.
        expires: The first second at which it is over, since the epoch.
    """

    service: bytes
    scope: Scope
    expires: int

    @classmethod
    def make(cls, service: VerifyingKey, *, scope: str, hours: int, at: int) -> ViewToken:
        """Make one that is good for `hours` from `at`.

        Raises:
            ConfigError: An unknown scope, or not 1 to `MAX_HOURS` hours.
        """
        if scope not in _SCOPES:
            raise ConfigError(
                f"{scope!r} is not a scope of a view token; use view or metrics",
                code="config.value",
            )
        if not 1 <= hours <= MAX_HOURS:
            raise ConfigError(f"a view token lives 1 to {MAX_HOURS} hours", code="config.value")
        return cls(service.raw, cast("Scope", scope), at + hours * _HOUR_S)

    def signed(self, owner: SigningKey) -> str:
        """Return the token's text."""
        body = self._to_bytes()
        whole = encode({"body": body, "signature": owner.sign(VIEW_LABEL, body)})
        return base64.urlsafe_b64encode(whole).decode().rstrip("=")

    @classmethod
    def from_text(
        cls, text: str, *, service: VerifyingKey, owner: VerifyingKey, at: int
    ) -> ViewToken:
        """Return what the owner said about this service, if it holds at `at`.

        Raises:
            IdentityError: Anything else. The message never says which part was wrong.
        """
        try:
            body, signature = split_token(text)
            owner.verify(VIEW_LABEL, body, signature, error=wrong_token("signature"))
            token = cls._from_bytes(body)
        except MalformedError as e:
            raise wrong_token("form") from e
        if not same_bytes(token.service, service.raw):
            raise wrong_token("service")
        if not at < token.expires <= at + MAX_HOURS * _HOUR_S + _HOUR_S:
            raise wrong_token("expiry")
        return token

    def require(self, scope: Scope) -> None:
        """Raise unless what needs `scope` may be looked at.

        Raises:
            IdentityError: It is a token for something else (`identity.scope`).
        """
        require_scope(self.scope, scope)

    def _to_bytes(self) -> bytes:
        return encode(
            {
                "version": _VERSION,
                "service": self.service,
                "scope": self.scope,
                "expires": self.expires,
            }
        )

    @classmethod
    def _from_bytes(cls, data: bytes) -> ViewToken:
        fields = Fields.decode(data, what="view token", max_bytes=_MAX_TEXT)
        fields.constant("version", _VERSION)
        service = fields.octets("service", length=SERVICE_BYTES)
        scope = fields.text("scope", max_length=16)
        expires = fields.integer("expires")
        fields.end()
        if scope not in _SCOPES:
            raise MalformedError("not a scope", code="message.malformed")
        return cls(service, cast("Scope", scope), expires)


def require_scope(given: str, wanted: Scope) -> None:
    """Raise unless a token of scope `given` allows what needs `wanted`.

    Raises:
        IdentityError: It is a token for something else (`identity.scope`).
    """
    if given not in {"view", wanted}:
        raise IdentityError("the view token is for something else", code="identity.scope")


def split_token(text: str) -> tuple[bytes, bytes]:
    """Read the text in its one spelling: base64url without padding."""
    wrong = MalformedError("not a view token", code="message.malformed")
    if len(text) > _MAX_TEXT or not text.isascii():
        raise wrong
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as e:
        raise wrong from e
    if base64.urlsafe_b64encode(whole).decode().rstrip("=") != text:
        raise wrong
    fields = Fields.decode(whole, what="signed view token", max_bytes=_MAX_TEXT)
    body = fields.octets("body", max_length=_MAX_TEXT)
    signature = fields.octets("signature", length=SIGNATURE_BYTES)
    fields.end()
    return body, signature


def wrong_token(detail: str) -> IdentityError:
    """Return what every token that does not hold is refused with; `detail` is for our log."""
    return IdentityError(
        "this needs a view token that is good here and now",
        code="identity.viewer",
        detail=detail,
        hint="who may read makes one with: cloister keyservice view-token",
    )
