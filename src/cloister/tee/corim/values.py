"""Parts that every level of a CoRIM has: maps, lists, texts, identifiers, instants. Strict.

Spec: reference-values-v1, clauses REF-1 to REF-4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.errors import EndorsementError, MalformedError
from cloister.wire.foreign_cbor import ForeignValue, Tagged, read_foreign

__all__ = [
    "COMID",
    "COSWID",
    "COTL",
    "MAX_CORIM_BYTES",
    "OID",
    "SIGN1",
    "UNSIGNED",
    "URI",
    "UUID",
    "WRAPPER",
    "Map",
    "Validity",
    "identifier",
    "malformed",
    "read_list",
    "read_map",
    "read_part",
    "shown",
    "text",
    "validity",
    "whole_seconds",
]

MAX_CORIM_BYTES: Final = 1 << 20
WRAPPER, UNSIGNED, SIGN1, COSWID, COMID, COTL = 500, 501, 18, 505, 506, 508
URI, UUID, TIME, OID = 32, 37, 1, 111
_CODE: Final = "corim.malformed"
_MAX_TEXT: Final = 1024
_MAX_SHOWN: Final = 240
_MAX_DEPTH: Final = 12
_UUID_BYTES: Final = 16
# Of the draft, and of profiles upon it; what one means is decided where it stands.
_TAGS: Final = frozenset({TIME, SIGN1, URI, UUID, OID, *range(500, 600)})

Map = Mapping[int | str, ForeignValue]


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when, in seconds since the epoch; None for an end that is open."""

    not_before: int | None
    not_after: int | None

    def require(self, at: int) -> None:
        """Check an instant.

        Raises:
            EndorsementError: It is outside (`corim.validity`).
        """
        early = self.not_before is not None and at < self.not_before
        if early or (self.not_after is not None and at > self.not_after):
            raise EndorsementError(
                "the CoRIM does not count at this instant", code="corim.validity"
            )


def read_part(data: bytes, what: str) -> ForeignValue:
    """Read one value from untrusted bytes: definite, shortest, no key twice, known tags only."""
    return read_foreign(
        data, what=what, max_bytes=MAX_CORIM_BYTES, code=_CODE, tags=_TAGS, max_depth=_MAX_DEPTH
    )


def read_map(value: ForeignValue, what: str) -> Map:
    """Return a map, which is there and not empty."""
    if not isinstance(value, Mapping) or not value:
        raise malformed(f"lacks {what}, or has one of another form")
    return value


def read_list(value: ForeignValue, what: str, *, most: int, exactly: int = 0) -> list[ForeignValue]:
    """Return a list of 1 to `most` values, or of exactly so many."""
    if not isinstance(value, Sequence) or isinstance(value, bytes | str):
        raise malformed(f"lacks {what}, or has one of another form")
    if not 0 < len(value) <= most or (exactly and len(value) != exactly):
        raise malformed(f"has {what} of another length")
    return list(value)


def text(value: ForeignValue) -> str:
    """Return a text of 1 to 1024 printable characters."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT or not value.isprintable():
        raise malformed("has a name that is no text")
    return value


def shown(line: str) -> str:
    """Return words of a file's for people: on one line, and not too long."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return plain if len(plain) <= _MAX_SHOWN else plain[: _MAX_SHOWN - 1] + "…"


def identifier(value: ForeignValue) -> str:
    """Return a text, or a UUID as hex digits."""
    if isinstance(value, Tagged) and value.tag == UUID:
        value = value.value
    if isinstance(value, bytes) and len(value) == _UUID_BYTES:
        return value.hex()
    return text(value)


def validity(value: ForeignValue) -> Validity:
    """Return a validity-map, which has an end; without one nothing is limited."""
    if value is None:
        return Validity(None, None)
    parts = read_map(value, "a validity")
    if set(parts) - {0, 1} or 1 not in parts:
        raise malformed("has a validity of another form")
    return Validity(whole_seconds(parts.get(0)), whole_seconds(parts[1]))


def whole_seconds(value: ForeignValue) -> int | None:
    """Return an instant, with its tag or without; None where there is none."""
    if value is None:
        return None
    number = value.value if isinstance(value, Tagged) and value.tag == TIME else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise malformed("has an instant that is no whole number of seconds")
    return number


def malformed(problem: str) -> MalformedError:
    """Return the refusal of a CoRIM."""
    return MalformedError(f"a CoRIM {problem}", code=_CODE)
