"""Fields of a leakage report, each with its type and bounds.

Spec: leakage-report-v1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from cloister.errors import MalformedError
from cloister.wire import Fields

__all__ = [
    "CODE",
    "MAX_COUNT",
    "MAX_NAME",
    "WHAT",
    "count",
    "digest",
    "duration",
    "fields_of",
    "label",
    "malformed",
    "number",
    "share",
    "size",
    "word",
]

WHAT: Final = "leakage report"
CODE: Final = "report.malformed"
MAX_NAME: Final = 512
MAX_COUNT: Final = 2**48
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def count(fields: Fields, name: str) -> int:
    """Take a number of things, or a position."""
    return fields.integer(name, maximum=MAX_COUNT)


def size(value: object) -> int:
    """Return a value that must be a size of a tensor's axis."""
    if type(value) is not int or not 1 <= value <= MAX_COUNT:
        raise malformed("a shape has something that is no size")
    return value


def number(fields: Fields, name: str) -> float:
    """Take a number; the reader of JSON has seen to it that it is finite."""
    value: object = fields.anything(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise malformed(f"{name} is no number")
    return float(value)


def duration(fields: Fields, name: str) -> float:
    """Take a time in milliseconds."""
    value = number(fields, name)
    if value < 0:
        raise malformed(f"{name} is negative")
    return value


def share(fields: Fields, name: str) -> float:
    """Take a number from 0 to 1."""
    value = number(fields, name)
    if not 0 <= value <= 1:
        raise malformed(f"{name} is not between 0 and 1")
    return value


def label(fields: Fields, name: str) -> str:
    """Take a text that is not empty."""
    value = fields.text(name, max_length=MAX_NAME)
    if not value:
        raise malformed(f"{name} is empty")
    return value


def word(fields: Fields, name: str, words: Sequence[str]) -> str:
    """Take one of several words."""
    value = fields.text(name, max_length=MAX_NAME)
    if value not in words:
        raise malformed(f"{name} is not one of {', '.join(words)}")
    return value


def digest(fields: Fields, name: str) -> bytes:
    """Take a SHA-256 in hex."""
    text = fields.text(name, max_length=64)
    if _DIGEST.fullmatch(text) is None:
        raise malformed(f"{name} is not 64 lower-case hex digits")
    return bytes.fromhex(text)


def fields_of(value: Any, what: str) -> Fields:
    """Return an object's fields, to be read with its own `end`."""
    return Fields(value, what=what, code=CODE)


def malformed(problem: str) -> MalformedError:
    """Return the error of a report that is none."""
    return MalformedError(f"{WHAT}: {problem}", code=CODE)
