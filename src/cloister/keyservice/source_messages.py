"""Sources in the owner's messages: the seal around a token, and what a list tells.

Spec: external-secret-v1, clauses EXT-20 to EXT-28; secret-export-v1, clauses EXP-50 to EXP-54.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, framed, sha256
from cloister.crypto.signature import PUBLIC_BYTES, VerifyingKey
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.genuine import ServiceReference
from cloister.wire import Fields, Value

__all__ = [
    "MAX_CA_BYTES",
    "MAX_TOKEN_BYTES",
    "SOURCE_LABEL",
    "ServiceFact",
    "SourceFact",
    "Trouble",
    "read_address",
    "reference_from_fields",
    "reference_to_value",
    "require_allowed",
    "require_source_name",
    "require_token",
    "require_trust_domain",
    "source_token_info",
]

SOURCE_LABEL: Final = b"cloister/external-secret/v1/token"
MAX_CA_BYTES: Final = 16_384
MAX_TOKEN_BYTES: Final = 1_024
_MAX_PORT: Final = 65_535
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ADDRESS: Final = re.compile(rf"((?=.{{1,253}}:)(?:{_LABEL})(?:\.{_LABEL})*):([1-9][0-9]{{0,4}})")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,60}[a-z0-9])?")
_MAX_PINNED: Final = 64
_MAX_SVN: Final = 65_535
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


def require_allowed(address: str, allowed: frozenset[str]) -> None:
    """Raise unless whoever runs this service allows an address; compared as texts.

    Raises:
        ReleaseDeniedError: It is not allowed (`source.address`).

    Spec: EXT-35.
    """
    if address not in allowed:
        raise ReleaseDeniedError(
            f"whoever runs the key service does not let it reach {address}", code="source.address"
        )


def require_trust_domain(text: str) -> str:
    """Return a trust domain's name.

    Raises:
        MalformedError: It is none (`message.malformed`).
    """
    if _TRUST_DOMAIN.fullmatch(text) is None:
        raise MalformedError("not the name of a trust domain", code="message.malformed")
    return text


def reference_to_value(reference: ServiceReference) -> dict[str, Value]:
    """Return what a key service must prove, as part of a message or a row."""
    return {
        "root_of_trust": reference.root_of_trust,
        "anchors": [key.raw for key in reference.anchors],
        "measurement": list(reference.measurements),
        "minimum_svn": reference.minimum_svn,
        "debug": reference.debug,
    }


def reference_from_fields(fields: Fields) -> ServiceReference:
    """Read it, strictly: every field is there, and `sim` is the only root of trust so far.

    Raises:
        MalformedError: It is none (`message.malformed`).
    """
    fields.constant("root_of_trust", "sim")
    anchors = _digests(fields, "anchors")
    reference = ServiceReference(
        root_of_trust="sim",
        anchors=tuple(VerifyingKey(raw) for raw in anchors),
        measurements=_digests(fields, "measurement"),
        minimum_svn=fields.integer("minimum_svn", maximum=_MAX_SVN),
        debug=fields.boolean("debug"),
    )
    fields.end()
    return reference


def _digests(fields: Fields, name: str) -> tuple[bytes, ...]:
    """Keys and digests have the same length."""
    found = fields.array(name, max_items=_MAX_PINNED)
    each = tuple(item for item in found if isinstance(item, bytes) and len(item) == DIGEST_BYTES)
    if len(each) != len(found) or not each:
        raise MalformedError(f"{name}: a list of 1 to 64 of 32 bytes", code="message.malformed")
    return each


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
            "waiting": _waiting_to_value(self.waiting),
        }

    @classmethod
    def from_value(cls, value: Value) -> SourceFact:
        """Read it from a list."""
        fields = Fields(value, what="source")
        fact = cls(
            name=fields.text("name", max_length=63),
            address=fields.text("address", max_length=300),
            ca=fields.octets("ca", length=DIGEST_BYTES),
            at=fields.integer("at"),
            waiting=_waiting_from(fields),
        )
        fields.end()
        return fact


@dataclass(frozen=True, slots=True)
class ServiceFact:
    """What may be said of a source that is a key service; nothing of it is secret.

    Attributes:
        name: In its namespace.
        address: `HOST:PORT`.
        service: Its identity.
        trust_domain: Its trust domain's name.
        reference: What it must prove to run.
        at: When it was registered.
        waiting: Values that are wanted from it and not there, or that it refused to give again.
    """

    name: str
    address: str
    service: bytes
    trust_domain: str
    reference: ServiceReference
    at: int
    waiting: tuple[Trouble, ...]

    def to_value(self) -> dict[str, Value]:
        """Return it as part of a list."""
        return {
            "name": self.name,
            "address": self.address,
            "service": self.service,
            "trust_domain": self.trust_domain,
            "reference": reference_to_value(self.reference),
            "at": self.at,
            "waiting": _waiting_to_value(self.waiting),
        }

    @classmethod
    def from_value(cls, value: Value) -> ServiceFact:
        """Read it from a list."""
        fields = Fields(value, what="source")
        fact = cls(
            name=fields.text("name", max_length=63),
            address=fields.text("address", max_length=300),
            service=fields.octets("service", length=PUBLIC_BYTES),
            trust_domain=require_trust_domain(fields.text("trust_domain", max_length=62)),
            reference=reference_from_fields(fields.submap("reference")),
            at=fields.integer("at"),
            waiting=_waiting_from(fields),
        )
        fields.end()
        return fact


def _waiting_to_value(waiting: tuple[Trouble, ...]) -> list[Value]:
    return [{"secret": each.secret, "code": each.code, "message": each.message} for each in waiting]


def _waiting_from(fields: Fields) -> tuple[Trouble, ...]:
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
    return tuple(waiting)
