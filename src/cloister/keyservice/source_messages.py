"""Sources in the owner's messages: the seal around a token, and what a list tells.

Spec: external-secret-v1, clauses EXT-20 to EXT-28.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, framed, sha256
from cloister.errors import MalformedError
from cloister.wire import Fields, Value

__all__ = [
    "MAX_CA_BYTES",
    "MAX_TOKEN_BYTES",
    "SOURCE_LABEL",
    "SourceFact",
    "Trouble",
    "read_address",
    "require_source_name",
    "require_token",
    "source_token_info",
]

SOURCE_LABEL: Final = b"cloister/external-secret/v1/token"
MAX_CA_BYTES: Final = 16_384
MAX_TOKEN_BYTES: Final = 1_024
_MAX_PORT: Final = 65_535
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ADDRESS: Final = re.compile(rf"((?=.{{1,253}}:)(?:{_LABEL})(?:\.{_LABEL})*):([1-9][0-9]{{0,4}})")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_TOKEN: Final = re.compile(rb"[!-~]+")


def read_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, in its one spelling.

    Raises:
        MalformedError: It is none (`message.malformed`).

    Spec: EXT-20.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[2]) > _MAX_PORT:
        raise MalformedError(
            "the address of a source is HOST:PORT, in lower case, without a scheme",
            code="message.malformed",
        )
    return found[1], int(found[2])


def require_source_name(text: str) -> str:
    """Return a source's name, of the form that policies write.

    Raises:
        MalformedError: It is none (`message.malformed`).
    """
    if _NAME.fullmatch(text) is None:
        raise MalformedError("not the name of a source", code="message.malformed")
    return text


def require_token(token: bytes) -> bytes:
    """Return a token that can stand in one field of an HTTP head.

    Raises:
        MalformedError: It cannot (`message.malformed`).

    Spec: EXT-21.
    """
    if len(token) > MAX_TOKEN_BYTES or _TOKEN.fullmatch(token) is None:
        raise MalformedError(
            f"a source's token has 1 to {MAX_TOKEN_BYTES} visible ASCII characters",
            code="message.malformed",
        )
    return token


def source_token_info(
    *, service: bytes, namespace: str, name: str, address: str, ca: bytes
) -> bytes:
    """Return the HPKE `info` under which an owner seals a source's token to the service.

    It names where the token is shown: sealed for one address and authority, it opens for no other.
    """
    return framed(
        SOURCE_LABEL, service, namespace.encode(), name.encode(), address.encode(), sha256(ca)
    )


@dataclass(frozen=True, slots=True)
class Trouble:
    """A value that is wanted and not there yet, and why the newest try failed; empty before one."""

    secret: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class SourceFact:
    """What may be said of a source; nothing of it is secret.

    Attributes:
        name: In its namespace.
        address: `HOST:PORT`.
        ca: SHA-256 of the pinned authorities' PEM.
        at: When it was registered.
        waiting: Values that are wanted from it.
    """

    name: str
    address: str
    ca: bytes
    at: int
    waiting: tuple[Trouble, ...]

    def to_value(self) -> dict[str, Value]:
        """Return it as part of a list."""
        return {
            "name": self.name,
            "address": self.address,
            "ca": self.ca,
            "at": self.at,
            "waiting": [
                {"secret": each.secret, "code": each.code, "message": each.message}
                for each in self.waiting
            ],
        }

    @classmethod
    def from_value(cls, value: Value) -> SourceFact:
        """Read it from a list."""
        fields = Fields(value, what="source")
        waiting = []
        for item in fields.array("waiting"):
            each = Fields(item, what="wanted secret")
            waiting.append(
                Trouble(
                    each.text("secret"),
                    each.text("code", max_length=64),
                    each.text("message", max_length=500),
                )
            )
            each.end()
        fact = cls(
            name=fields.text("name", max_length=63),
            address=fields.text("address", max_length=300),
            ca=fields.octets("ca", length=DIGEST_BYTES),
            at=fields.integer("at"),
            waiting=tuple(waiting),
        )
        fields.end()
        return fact
