"""Statements that Intel signs as JSON text: read member by member, counted at an instant.

Members that this version does not know are passed over: Intel adds some without a new version, and
signs them all the same.

Spec: intel-evidence-v1, clauses INTEL-20 to INTEL-22.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final

from cloister.errors import MalformedError, UnavailableError
from cloister.wire.strict_json import read_json

__all__ = ["MAX_STATEMENT_BYTES", "Statement", "require_current"]

MAX_STATEMENT_BYTES: Final = 262144
_MAX_DEPTH: Final = 8
_MAX_ITEMS: Final = 256
_MAX_TEXT: Final = 128
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Statement:
    """One JSON object of a statement; what is asked for must be there, in its form."""

    __slots__ = ("_members", "_what")

    def __init__(self, members: Any, what: str) -> None:
        """Take a parsed value that must be an object."""
        self._what = what
        if not isinstance(members, dict):
            raise self._malformed("not an object")
        self._members: dict[str, Any] = members

    @classmethod
    def from_text(cls, text: bytes, what: str) -> Statement:
        """Read the text that was signed.

        Raises:
            MalformedError: It is no strict JSON object of at most 262 144 bytes.
        """
        value = read_json(
            text,
            what=what,
            max_bytes=MAX_STATEMENT_BYTES,
            max_depth=_MAX_DEPTH,
            code="endorsement.malformed",
        )
        return cls(value, what)

    def has(self, name: str) -> bool:
        """Tell whether a member is there."""
        return name in self._members

    def integer(self, name: str, maximum: int) -> int:
        """Return a number from 0 to `maximum`."""
        value = self._members.get(name)
        if type(value) is not int or not 0 <= value <= maximum:
            raise self._malformed(name)
        return value

    def text(self, name: str) -> str:
        """Return a text of at most 128 characters."""
        value = self._members.get(name)
        if not isinstance(value, str) or len(value) > _MAX_TEXT:
            raise self._malformed(name)
        return value

    def octets(self, name: str, length: int) -> bytes:
        """Return hexadecimal text as bytes."""
        value = self.text(name)
        try:
            found = bytes.fromhex(value)
        except ValueError as e:
            raise self._malformed(name) from e
        if len(found) != length or len(value) != 2 * length:
            raise self._malformed(name)
        return found

    def instant(self, name: str) -> int:
        """Return seconds since the epoch of a UTC instant such as `2024-03-13T00:00:00Z`."""
        value = self.text(name)
        try:
            if _INSTANT.fullmatch(value):
                return int(dt.datetime.fromisoformat(value).timestamp())
        except ValueError:
            pass
        raise self._malformed(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts; none where the member is missing."""
        values = self._members.get(name, [])
        if not isinstance(values, list) or len(values) > _MAX_ITEMS:
            raise self._malformed(name)
        if any(not isinstance(each, str) or len(each) > _MAX_TEXT for each in values):
            raise self._malformed(name)
        return tuple(values)

    def inner(self, name: str) -> Statement:
        """Return an object within."""
        return Statement(self._members.get(name), f"{self._what}: {name}")

    def each(self, name: str) -> list[Statement]:
        """Return a list of at most 256 objects."""
        values = self._members.get(name)
        if not isinstance(values, list) or len(values) > _MAX_ITEMS:
            raise self._malformed(name)
        return [Statement(each, f"{self._what}: {name}") for each in values]

    def _malformed(self, name: str) -> MalformedError:
        return MalformedError(
            f"{self._what} does not have the known form",
            code="endorsement.malformed",
            detail=f"{self._what}: {name}",
        )


def require_current(what: str, issued: int, next_update: int, *, at: int) -> None:
    """Check that a statement counts at an instant, both ends included.

    Raises:
        UnavailableError: It is from later, or too old (`endorsement.stale`).
    """
    if not issued <= at <= next_update:
        raise UnavailableError(
            f"{what} does not count at that time",
            code="endorsement.stale",
            detail=f"{issued} to {next_update}, not {at}",
            hint="fetch endorsements again",
        )
