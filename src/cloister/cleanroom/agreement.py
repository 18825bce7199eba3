"""Signed terms: what one owner offers, and what both have agreed on.

A signature covers the terms' canonical bytes, so both have signed the same terms or nothing. An
offer and an agreement are different types: only an agreement makes a policy or a room.

Spec: cleanroom-terms-v1, clauses CT-30 to CT-36.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cloister.cleanroom.terms import PARTIES, Party, Terms
from cloister.cleanroom.terms_text import (
    MAX_TERMS_BYTES,
    terms_bytes,
    terms_digest,
    terms_from_canonical,
)
from cloister.crypto.signature import SIGNATURE_BYTES, SigningKey
from cloister.errors import ConfigError, IdentityError, MalformedError
from cloister.wire import Fields, Value, encode

__all__ = [
    "MAX_SIGNED_BYTES",
    "SIGNATURE_LABEL",
    "Offer",
    "Room",
    "SignedTerms",
    "load_room",
    "sign_terms",
]

SIGNATURE_LABEL: Final = b"cloister/cleanroom-signature/v1"
MAX_SIGNED_BYTES: Final = MAX_TERMS_BYTES + 1024
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Offer:
    """Terms with the signatures that they have so far, one or both; each has been checked.

    Attributes:
        terms: The terms.
        signatures: Of each owner who has signed.
    """

    terms: Terms
    signatures: Mapping[Party, bytes]

    @classmethod
    def from_bytes(cls, data: bytes) -> Offer:
        """Read from untrusted bytes, and check every signature.

        Raises:
            MalformedError: They are no signed terms (`terms.malformed`, `terms.invalid`).
            IdentityError: A signature does not hold, or there is none (`terms.signature`).
        """
        terms, signatures = _read(data)
        return cls(terms, _checked(terms, signatures))

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        signatures: dict[str, Value] = {
            party: self.signatures[party] for party in PARTIES if party in self.signatures
        }
        value: dict[str, Value] = {
            "version": _VERSION,
            "terms": terms_bytes(self.terms),
            "signatures": signatures,
        }
        return encode(value)

    @property
    def missing(self) -> tuple[Party, ...]:
        """Who has not signed yet."""
        return tuple(party for party in PARTIES if party not in self.signatures)

    def agreed(self) -> SignedTerms:
        """Return these terms as an agreement.

        Raises:
            IdentityError: Somebody has not signed (`terms.signature`).
        """
        return SignedTerms.from_bytes(self.to_bytes())


@dataclass(frozen=True, slots=True)
class SignedTerms:
    """Terms that both owners signed. Made by `from_bytes` and `verify`, which check.

    Attributes:
        terms: The terms.
        signatures: Of both owners.
        digest: The 32 bytes that name the terms.
    """

    terms: Terms
    signatures: Mapping[Party, bytes]
    digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute the digest, once: every message of a room has it."""
        object.__setattr__(self, "digest", terms_digest(self.terms))

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedTerms:
        """Read from untrusted bytes, and check both signatures.

        Raises:
            MalformedError: They are no signed terms (`terms.malformed`, `terms.invalid`).
            IdentityError: Not both have signed these terms (`terms.signature`).
        """
        terms, signatures = _read(data)
        agreement = cls(terms, MappingProxyType(dict(signatures)))
        agreement.verify()
        return agreement

    def verify(self) -> None:
        """Raise unless both owners signed these terms.

        Raises:
            IdentityError: One has not (`terms.signature`).
        """
        _checked(self.terms, self.signatures)
        absent = [party for party in PARTIES if party not in self.signatures]
        if absent:
            raise IdentityError(
                f"the {absent[0].replace('_', ' ')} has not signed these terms",
                code="terms.signature",
            )

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which lie at /code/terms.cbor."""
        return Offer(self.terms, self.signatures).to_bytes()


@dataclass(frozen=True, slots=True)
class Room:
    """A room, as its programs find it: terms that both owners signed.

    Attributes:
        agreement: The signed terms.
    """

    agreement: SignedTerms

    @property
    def terms(self) -> Terms:
        """The terms."""
        return self.agreement.terms

    @property
    def digest(self) -> bytes:
        """The 32 bytes that name the terms."""
        return self.agreement.digest


def sign_terms(terms: Terms, key: SigningKey, *, before: Offer | None = None) -> Offer:
    """Add an owner's signature.

    Args:
        terms: What is signed.
        key: An owner's.
        before: What the other signed already; of the same terms.

    Raises:
        ConfigError: The key is neither owner's, or `before` is of other terms (`config.value`).
    """
    if before is not None and before.terms != terms:
        raise ConfigError("the other owner signed other terms", code="config.value")
    party = next((one for one in PARTIES if terms.parties.key(one) == key.public), None)
    if party is None:
        raise ConfigError(
            f"{key.public.text} is neither owner's key in these terms", code="config.value"
        )
    signatures = {} if before is None else dict(before.signatures)
    signatures[party] = key.sign(SIGNATURE_LABEL, terms_bytes(terms))
    return Offer(terms, _checked(terms, signatures))


def load_room(path: Path) -> Room:
    """Read a room's signed terms from its file.

    Raises:
        ConfigError: The file cannot be read (`config.file`).
        MalformedError: It holds no signed terms.
        IdentityError: Not both owners signed them.
    """
    return Room(SignedTerms.from_bytes(read_bounded(path, MAX_SIGNED_BYTES)))


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes and one more, which readers then refuse.

    Raises:
        ConfigError: It cannot be read (`config.file`).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read(limit + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e


def _read(data: bytes) -> tuple[Terms, Mapping[Party, bytes]]:
    if len(data) > MAX_SIGNED_BYTES:
        raise MalformedError("signed terms are not so long", code="terms.malformed")
    try:
        outer = Fields.decode(data, what="signed terms", max_bytes=MAX_SIGNED_BYTES)
        outer.constant("version", _VERSION)
        said = outer.octets("terms", max_length=MAX_TERMS_BYTES)
        named = outer.submap("signatures")
        outer.end()
        signatures: dict[Party, bytes] = {
            party: named.octets(party, length=SIGNATURE_BYTES)
            for party in PARTIES
            if named.has(party)
        }
        named.end()
    except MalformedError as e:
        raise MalformedError("the bytes are no signed terms", code="terms.malformed") from e
    return terms_from_canonical(said), signatures


def _checked(terms: Terms, signatures: Mapping[Party, bytes]) -> Mapping[Party, bytes]:
    error = IdentityError("a signature is not the owner's over these terms", code="terms.signature")
    if not signatures:
        raise error
    message = terms_bytes(terms)
    for party, signature in signatures.items():
        terms.parties.key(party).verify(SIGNATURE_LABEL, message, signature, error=error)
    return MappingProxyType(dict(signatures))
